"""SIMPLER's tasks in the simulator: controllers, endings, oracles. Skipped, with the reason, where they cannot run."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from envs.oracles.mix import OracleMix
from envs.simpler.protocol import missing_files, trials
from episodes.types import Observation
from tests import ROOT

if importlib.util.find_spec("mani_skill") is None:
    pytest.skip("ManiSkill is not installed (make simpler installs it)", allow_module_level=True)
if not os.environ.get("MS_ASSET_DIR"):
    pytest.skip("MS_ASSET_DIR is not set: no SIMPLER assets here", allow_module_level=True)

from envs.simpler.backend import drawing_error
from envs.simpler.env import PROPRIO, GripperChanges, SimplerEnv
from envs.simpler.layout import Placement, Setup
from envs.simpler.oracles import oracle
from experiments.simpler.worker import Job, _session, run_job
from tests.helpers.commands import settings_of

CUBE = trials("widowx_stack_cube", "visual_matching")


@pytest.fixture(scope="module")
def cube():
    env = SimplerEnv("widowx_stack_cube", images=False)
    yield env
    env.close()


@pytest.fixture(scope="module")
def can():
    env = SimplerEnv("pick_coke_can", images=False)
    yield env
    env.close()


def run(env, trial, style="expert", seed=0):
    """One oracle episode: info of the last step, the actions and the labels."""
    observation, info = env.reset(seed=seed, options={"trial": trial})
    actor = oracle([env], OracleMix.only(style))
    actor.reset(np.array([True]), np.array([seed]), [info["instruction"]])
    actions, labels = [], set()
    for _ in range(env.max_steps):
        action = actor.act([Observation.from_gym(observation, info["instruction"])])[0, 0]
        observation, _, terminated, truncated, info = env.step(action)
        actions.append(action)
        labels.add(int(actor.labels[0]))
        assert not terminated
    assert truncated
    return info, np.array(actions), labels


@pytest.mark.slow
def test_the_oracle_stacks_the_cubes_and_labels_its_failure(cube):
    info, actions, _ = run(cube, CUBE[3])
    assert info["success"] and info["success_any"] and info["progress"] == 1.0
    again, same, _ = run(cube, CUBE[3])
    assert again["success"] and np.array_equal(actions, same)  # an episode depends on its trial alone
    info, _, labels = run(cube, CUBE[5], "failure")
    assert not info["success_any"] and 3 in labels


@pytest.mark.slow
def test_the_gripper_holds_the_lifted_can(can):
    trial = trials("pick_coke_can", "visual_matching", "urdf_None")[37]  # standing, in the middle
    info, _, _ = run(can, trial)
    assert info["success"] and info["instruction"] == "pick coke can"


def test_gripper_positions_do_what_changes_do(can):
    """The same episode by both commands: the oracle commands them, and the robot's own changes come out the same."""
    trial = trials("pick_coke_can", "visual_matching")[3]
    changes = run(can, trial)[1]
    env = SimplerEnv("pick_coke_can", images=False, gripper="position")
    info, positions, _ = run(env, trial)
    env.close()
    assert info["success"] and set(positions[:, 6]) == {-1.0, 1.0} and env.spec_.gripper == "position"
    np.testing.assert_array_equal(GripperChanges().of(positions)[:, 6], changes[:, 6])
    with pytest.raises(ValueError, match="action_units"):
        env.spec_.require_same(can.spec_, "policy")


def test_actions_are_metres_in_the_base_frame_and_the_spec_says_so(cube):
    before, _ = cube.reset(seed=0, options={"trial": CUBE[0]})
    assert before["proprio"].shape == (len(PROPRIO),) and cube.observation_space.contains(before)
    for _ in range(6):
        after, reward, _, _, info = cube.step(np.array([0.0, 0.0, 0.005, 0, 0, 0, 1], np.float32))
    moved = after["proprio"][:3] - before["proprio"][:3]
    assert 0.015 < moved[2] < 0.031 and np.abs(moved[:2]).max() < 0.003
    assert reward == 0.0 and not info["success"] and cube.spec_.gripper_close == -1.0


@pytest.mark.parametrize(
    ("action", "named"),
    [(np.zeros(6), "shape"), (np.full(7, np.nan), "finite"), ("left", "no array")],
)
def test_bad_actions_are_refused(cube, action, named):
    cube.reset(seed=0, options={"trial": CUBE[0]})
    with pytest.raises(ValueError, match=named):
        cube.step(action)


def test_bad_settings_are_refused(can):
    with pytest.raises(ValueError, match="pick_coke_can"):
        SimplerEnv("pick_pepsi")
    with pytest.raises(ValueError, match="image_size"):
        SimplerEnv("pick_coke_can", image_size=(2, 2))
    with pytest.raises(ValueError, match="widowx_stack_cube takes position"):
        SimplerEnv("widowx_stack_cube", gripper="change")
    with pytest.raises(ValueError, match="not one of pick_coke_can"):
        can.reset(options={"trial": CUBE[0]})
    with pytest.raises(ValueError, match="stage is missing"):
        can.reset(
            options={
                "setup": Setup(scene="nowhere"),
                "placement": Placement((0.35, 0.2), xy=(-0.2, 0.2), orientation="standing"),
            }
        )
    can.raw = None  # what is half built is not used again


def test_missing_assets_are_named(tmp_path):
    trial = trials("pick_coke_can", "variant_aggregation", "background_1")[0]
    assert missing_files(trial, tmp_path) == [
        "tasks/google_robot_real2sim/stages/google_pick_coke_can_1_v4_alt_background.glb"
    ]


@pytest.mark.slow
def test_the_photograph_lies_behind_the_robot():
    if drawing_error() is not None:
        pytest.skip(drawing_error())
    env = SimplerEnv("widowx_stack_cube", image_size=(96, 128))
    try:
        observation, _ = env.reset(seed=0, options={"trial": CUBE[0]})
        image = observation["3rd_view_camera"]
        assert image.shape == (96, 128, 3)
        photo = env.raw._photograph(CUBE[0].placement.overlay, 96, 128).cpu().numpy()
        same = (image == photo).all(axis=2).mean()
        assert 0.8 < same < 0.999  # cubes and robot are drawn, all else is the photograph
    finally:
        env.close()


@pytest.mark.slow
def test_the_number_of_slots_changes_no_trial():
    found = []
    for slots in (1, 3):
        settings = settings_of("sweep", "policy=random", "images=false", "execute=5", f"slots={slots}")
        found.append(run_job(settings, Job(CUBE[:3], (64, 64))))
    _session.close()
    assert found[0] == found[1] and [r["steps"] for r in found[0]] == [60] * 3
    assert all(r["error"] == "" and r["final"] is False for r in found[0])


RECAP = [
    "task=simpler/pick_coke_can", "methods=[bc,recap]", "collect.episodes=4", "collect.max_steps=12", "seed=99",
    "valuefn.training.steps=4", "valuefn.training.log_every=2", "policy.training.steps=4", "evaluation.trials=1",
    "policy.training.log_every=2", "evaluation.max_steps=4", "videos=0", "evaluation.split=tune", "workers=1",
]  # fmt: skip


@pytest.mark.slow
def test_the_recap_loop_runs_on_a_simpler_task(tmp_path):
    if drawing_error() is not None:
        pytest.skip(drawing_error())
    line = [sys.executable, "experiments/recap_sim.py", *RECAP, f"runs={tmp_path}/runs", f"cache={tmp_path}/cache"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "recap" in done.stdout and next((tmp_path / "runs").rglob("report.html")).is_file()
