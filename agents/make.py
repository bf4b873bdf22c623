"""From settings to a policy."""

from __future__ import annotations

import hashlib
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


def policy_content(folder: Path, *settings: str | float) -> str:
    """The SHA-256 of a saved policy's files and of the settings it acts with: equal for policies that act the same."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(p for name in ("config.json", "model.safetensors") for p in folder.rglob(name)):
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}".encode())
    return digest.hexdigest()
