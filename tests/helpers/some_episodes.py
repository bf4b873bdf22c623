"""Small made-up episodes for the tests of the episodes room."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from episodes import EnvSpec, Episode, Provenance


def make_spec(**changes: Any) -> EnvSpec:
    spec = EnvSpec(
        env_id="made/Up-v0",
        cameras=("front", "wrist"),
        image_size=(8, 12),
        proprio_names=("x", "y", "z"),
        action_names=("dx", "dy"),
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        action_units=("m", "m"),
        rotation="rotation_vector",
        gripper_close=1.0,
        hz=20.0,
        max_steps=100,
    )
    return dataclasses.replace(spec, **changes)


def make_episode(
    seed: int = 0, T: int = 5, success: bool = True, spec: EnvSpec | None = None, **changes: Any
) -> Episode:
    """T steps of noise; every array differs from frame to frame, so that a shifted or swapped one is noticed."""
    spec = spec or make_spec()
    rng = np.random.default_rng(seed)
    terminated = np.zeros(T, np.bool_)
    terminated[-1] = success
    truncated = np.zeros(T, np.bool_)
    truncated[-1] = not success
    progress = rng.random(T + 1).astype(np.float32)
    progress[rng.random(T + 1) < 0.2] = np.nan
    episode = Episode(
        images={c: rng.integers(0, 256, (T + 1, *spec.image_size, 3), np.uint8) for c in spec.cameras},
        proprio=rng.normal(size=(T + 1, spec.proprio_dim)).astype(np.float32),
        actions=rng.normal(size=(T, spec.action_dim)).astype(np.float32),
        rewards=rng.normal(size=T).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        success=success,
        segments=rng.integers(0, 5, T).astype(np.int8),
        progress=progress,
        intervention=rng.random(T) < 0.3,
        instruction=f"lift cube {seed % 3}",
        provenance=Provenance(spec.env_id, seed, "policy:flow", f"variant {seed}", f"{seed:064x}", seed % 4),
        hz=spec.hz,
        extra={"note": "é", "list": [1, {"a": None}]},
    )
    return dataclasses.replace(episode, **changes)


def assert_same(a: Episode, b: Episode) -> None:
    assert list(a.images) == list(b.images)
    for camera in a.images:
        np.testing.assert_array_equal(a.images[camera], b.images[camera])
    for name in ("proprio", "actions", "rewards", "terminated", "truncated", "segments", "progress", "intervention"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, err_msg=name)
    for name in ("success", "instruction", "provenance", "hz", "extra"):
        assert getattr(a, name) == getattr(b, name), name
