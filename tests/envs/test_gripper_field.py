"""What a gripper's action commands is a field of EnvSpec; specs from before it was are read, and hash as they did."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from envs.simpler.catalogue import SIMPLER_TASKS
from envs.simpler.env import simpler_spec
from episodes.types import EnvSpec


def before(spec: EnvSpec) -> str:
    """The spec as it was written before it had the field."""
    return json.dumps({k: v for k, v in asdict(spec).items() if k != "gripper"}, sort_keys=True)


@pytest.mark.parametrize(
    ("task", "gripper", "meant"),
    [("pick_coke_can", "", "change"), ("pick_coke_can", "position", "position"), ("widowx_stack_cube", "", "position")],
)
def test_a_spec_of_an_older_store_keeps_its_meaning_and_its_hash(task: str, gripper: str, meant: str) -> None:
    spec = simpler_spec(SIMPLER_TASKS[task], (64, 64), 60, gripper=gripper)
    assert spec.gripper == meant
    old = EnvSpec.from_json(before(spec))
    assert old == spec and EnvSpec.from_json(spec.to_json()) == spec
    assert spec.hashed() == before(spec).encode() == old.hashed()
    assert hashlib.sha256(spec.hashed()).hexdigest() == hashlib.sha256(before(old).encode()).hexdigest()


def test_another_command_is_refused_by_name() -> None:
    spec = simpler_spec(SIMPLER_TASKS["pick_coke_can"], (64, 64), 60)
    with pytest.raises(ValueError, match="EnvSpec: gripper is 'force'; choose position or change"):
        replace(spec, gripper="force")
    with pytest.raises(ValueError, match="gripper is 'position', expected 'change'"):
        spec.require_same(replace(spec, gripper="position"), "a store")
