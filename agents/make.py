"""From settings to a policy."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.registry import POLICIES
from episodes.files import sha256_file
from episodes.types import EnvSpec
from networks.checkpoint import load_config
from networks.saved import find_policy, found_policy
from networks.starting import require_same_model

if TYPE_CHECKING:
    from agents.policy import Policy


def policy_class(name: str) -> type[Policy]:
    """The class behind a name; one that is no Policy is a ValueError."""
    from agents.policy import Policy  # imports torch

    found: type[Policy] = POLICIES.part(name, Policy)
    return found


def make_policy(config: Any, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> Policy:
    """Build the policy that `config` (a settings dataclass with a `name`) describes, before any training here.

    Its weights are random, those of the saved policy that `config.init` names, or the published ones where the settings
    name a checkpoint.
    """
    if getattr(config, "init", ""):
        return continued_policy(found_policy(config.init, f"policy {config.name!r}, init").folder, config, spec, device)
    return policy_class(config.name).make(config, spec, seed, device)


def load_policy(folder: str | Path, device: str = "cpu", kind: Any = "", arm: str = "") -> Policy:
    """Load a policy from the folder it was saved in, from a run, or from the hub (owner/name[@revision]).

    folder: the policy's own; an arm's (its last iteration); a run's, or one of runs (the newest run), which gives
    `arm`, or without one the arm that solved most episodes.
    kind: its name, where the caller knows it. Without one the folder says, and then only a registered name will do:
    a file must not choose what is imported. ValueError: what is missing there, in one line.
    """
    folder = find_policy(folder, arm)
    if not kind:
        kind = load_config(folder).get("kind")
        if kind not in POLICIES.names():
            known = ", ".join(POLICIES.names())
            raise ValueError(f"policy {folder}: unknown kind {kind!r}; name the folder of a policy ({known})")
    return policy_class(kind).load(folder, device)


def planned_policy(config: Any, views: int, size: int) -> Any:
    """What the planner builds for the policy that `config` describes; None for one that is too small to plan."""
    return policy_class(config.name).planned(config, views, size)


def continued_policy(folder: Path, config: Any, spec: EnvSpec, device: str = "cpu") -> Policy:
    """Load a saved policy to train it further: its own architecture and scales, the optimisation of `config`.

    Errors (ValueError): another kind of policy than `config` names, or one of another EnvSpec or architecture; the
    first setting that differs is named.
    """
    policy = load_policy(folder, device, config.name if ":" in config.name else "")
    if policy.name != config.name:
        raise ValueError(f"policy {folder}: is {policy.name}, policy={config.name}; start from one of the same kind")
    policy.spec.require_same(spec, f"policy {folder}")
    free = getattr(config, "retrained", ("training", "weighting", "indicator_dropout", "guidance"))
    require_same_model(policy.config, config, free, f"policy {folder}")
    changes = {name: getattr(config, name) for name in free}
    policy.config = replace(policy.config, **changes)
    policy.guidance, policy.started = config.guidance, True
    return policy


def policy_content(folder: Path, *settings: str | float) -> str:
    """The SHA-256 of a saved policy's files and of the settings it acts with: equal for policies that act the same."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(p for name in ("config.json", "model.safetensors") for p in folder.rglob(name)):
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}".encode())
    return digest.hexdigest()
