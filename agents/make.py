"""From settings to a policy."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.policy import Policy
from episodes.files import sha256_file
from episodes.types import EnvSpec
from networks.checkpoint import load_config


def make_policy(config: Any, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> Policy:
    """Build the policy that `config` (a settings dataclass with a `name`) describes, before any training here.

    Its weights are random, or the published ones where the settings name a checkpoint.
    """
    if config.name == "flow":
        from agents.flow import FlowPolicy

        return FlowPolicy(config, spec, seed, device)
    if config.name == "pi05":
        from agents.pi05 import Pi05Policy

        if config.checkpoint:
            return Pi05Policy.from_pretrained(config, spec, device)
        return Pi05Policy(config, spec, seed, device)
    if config.name == "videovla":
        from agents.videovla import VideoVlaPolicy

        return VideoVlaPolicy(config, spec, seed, device)
    raise ValueError(f"policy {config.name!r}: choose flow, pi05 or videovla")


def load_policy(folder: Path, device: str = "cpu") -> Policy:
    """Load a policy from the folder it was saved in."""
    kind = load_config(folder).get("kind")
    if kind == "flow":
        from agents.flow import FlowPolicy

        return FlowPolicy.load(folder, device)
    if kind == "pi05":
        from agents.pi05 import Pi05Policy

        return Pi05Policy.load(folder, device)
    if kind == "videovla":
        from agents.videovla import VideoVlaPolicy

        return VideoVlaPolicy.load(folder, device)
    raise ValueError(f"policy {folder}: unknown kind {kind!r}; name the folder of a flow, pi05 or videovla policy")


def continued_policy(folder: Path, config: Any, spec: EnvSpec, device: str = "cpu") -> Policy:
    """Load a saved policy to train it further: its own architecture and scales, the optimisation of `config`.

    Errors (ValueError): another kind of policy than `config` names, or one of another EnvSpec.
    """
    policy = load_policy(folder, device)
    if policy.name != config.name:
        raise ValueError(f"policy {folder}: is {policy.name}, policy={config.name}; start from one of the same kind")
    policy.spec.require_same(spec, f"policy {folder}")
    changes = {name: getattr(config, name) for name in ("training", "weighting", "indicator_dropout", "guidance")}
    policy.config = replace(policy.config, **changes)
    policy.guidance, policy.started = config.guidance, True
    return policy


def policy_content(folder: Path, *settings: str | float) -> str:
    """The SHA-256 of a saved policy's files and of the settings it acts with: equal for policies that act the same."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(p for name in ("config.json", "model.safetensors") for p in folder.rglob(name)):
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}".encode())
    return digest.hexdigest()
