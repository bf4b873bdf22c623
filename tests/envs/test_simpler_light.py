"""SIMPLER without a simulator: kinematics, trajectories, the protocol's numbers, and verified downloads."""

import hashlib
import os
import pathlib

import gymnasium as gym
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import envs
from envs.simpler import assets
from envs.simpler.collision import split
from envs.simpler.env import GripperChanges
from envs.simpler.kinematics import Chain
from envs.simpler.parity import Replay, verdicts
from envs.simpler.planner import ARM_LIMITS, GRIPPER_LIMITS, plan
from envs.simpler.protocol import groups, trials, variants

ARM = """<robot name="arm">
  <joint name="fixed" type="fixed"><parent link="base"/><child link="l0"/><origin xyz="0 0 0.3" rpy="0 0 0"/></joint>
  {joints}
  <joint name="tool" type="fixed"><parent link="l6"/><child link="tip"/><origin xyz="0 0 0.1" rpy="0.1 0 0"/></joint>
</robot>"""
JOINT = """<joint name="j{k}" type="revolute"><parent link="l{k}"/><child link="l{next}"/>
<origin xyz="{x} 0 0.15" rpy="0 {pitch} 0"/><axis xyz="{axis}"/><limit lower="-2.5" upper="2.5"/></joint>"""


@pytest.fixture
def chain(tmp_path):
    axes = ("0 0 1", "0 1 0", "0 1 0", "1 0 0", "0 1 0", "0 0 1")
    joints = "".join(JOINT.format(k=k, next=k + 1, x=0.05 * k, pitch=0.1 * k, axis=a) for k, a in enumerate(axes))
    path = tmp_path / "arm.urdf"
    path.write_text(ARM.format(joints=joints))
    return Chain(path, "tip")


def test_the_inverse_undoes_the_forward_kinematics(chain):
    rng = np.random.default_rng(0)
    q = rng.uniform(-1.0, 1.0, (20, 6))
    R, p = chain.forward(q)
    found, reached = chain.inverse(R, p, q + rng.uniform(-0.1, 0.1, q.shape))
    assert reached.all()
    R2, p2 = chain.forward(found)
    assert np.abs(p2 - p).max() < 2e-4
    assert Rotation.from_matrix(R2 @ np.swapaxes(R, 1, 2)).magnitude().max() < 2e-4
    assert np.abs(found - q).max() > 1e-6  # stops within its tolerance, like the original, not at zero


def test_a_pose_out_of_reach_is_not_found_and_a_reached_one_stays(chain):
    q = np.array([[0.1, 0.4, -0.3, 0.2, 0.5, 0.1]])
    R, p = chain.forward(q)
    assert not chain.inverse(R, p + 5.0, q)[1].any()
    same, reached = chain.inverse(R, p, q)
    assert reached.all() and np.array_equal(same, q)


def test_a_tip_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "arm.urdf").write_text(ARM.format(joints=""))
    with pytest.raises(ValueError, match="no link 'nowhere'"):
        Chain(tmp_path / "arm.urdf", "nowhere")


@pytest.mark.parametrize("limits", [ARM_LIMITS, GRIPPER_LIMITS])
def test_trajectories_keep_the_limits_and_arrive(limits):
    times = np.arange(1, 2001) / 1000
    start, goal = np.array([0.0, 1.0, -0.5]), np.array([0.8, 0.7, -0.5])
    q, v = plan(start, np.zeros(3), goal, limits, times)
    assert np.allclose(q[-1], goal) and np.allclose(v[-1], 0)
    assert np.abs(v).max() <= limits.velocity + 1e-9
    acceleration = np.diff(v, axis=0) * 1000
    assert np.abs(acceleration).max() <= limits.acceleration * 1.001
    assert np.abs(np.diff(acceleration, axis=0) * 1000).max() <= limits.jerk * 1.01
    assert np.abs(np.diff(q, axis=0) * 1000 - v[1:]).max() < 0.01  # velocity is the position's
    moving = np.abs(q - goal) > 1e-6
    assert np.ptp([np.argmin(moving[:, j]) for j in (0, 1)]) <= 2  # arrive together


def test_a_trajectory_of_numbers_that_are_none_is_refused():
    with pytest.raises(ValueError, match="finite"):
        plan(np.array([np.nan]), np.zeros(1), np.zeros(1), ARM_LIMITS, np.array([0.1]))


# --- the protocol ---------------------------------------------------------------------------------------------------

COUNTS = {  # VideoVLA, Table 11
    ("pick_coke_can", "visual_matching"): 300,
    ("move_near", "visual_matching"): 240,
    ("open_close_drawer", "visual_matching"): 216,
    ("place_apple", "visual_matching"): 108,
    ("pick_coke_can", "variant_aggregation"): 825,
    ("move_near", "variant_aggregation"): 600,
    ("open_close_drawer", "variant_aggregation"): 378,
    ("place_apple", "variant_aggregation"): 189,
    ("widowx_spoon_on_towel", "visual_matching"): 24,
    ("widowx_carrot_on_plate", "visual_matching"): 24,
    ("widowx_stack_cube", "visual_matching"): 24,
    ("widowx_eggplant_in_basket", "visual_matching"): 24,
}


def test_the_protocol_has_the_published_numbers_of_trials():
    found = {
        (group, setting): len(trials(group, setting)) for group, settings in groups().items() for setting in settings
    }
    assert found == COUNTS


def test_every_trial_has_a_key_of_its_own_and_a_task_that_exists():
    every = [t for group, settings in groups().items() for setting in settings for t in trials(group, setting)]
    assert len({t.key for t in every}) == len(every)
    assert {t.task for t in every} == set(envs.SIMPLER_TASKS)
    one = trials("move_near", "variant_aggregation", "no_distractor")[7]
    assert one.setup.objects == ("blue_plastic_bottle", "orange")
    assert trials("move_near", "visual_matching", "urdf_None")[0].setup.objects[1] == "baked_opened_pepsi_can"
    assert np.allclose(one.placement.robot_quat, (0.0449848, 0, 0, 0.9989877))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (("pick_pepsi", "visual_matching", None), "pick_coke_can"),
        (("widowx_stack_cube", "variant_aggregation", None), "visual_matching"),
        (("pick_coke_can", "visual_matching", "urdf_9"), "urdf_None"),
    ],
)
def test_unknown_names_are_refused_with_the_choices(wanted, named):
    with pytest.raises(ValueError, match=named):
        trials(*wanted)


def test_the_ids_are_registered_and_no_variant_is_empty():
    for task in envs.SIMPLER_TASKS.values():
        assert task.env_id in gym.registry
    assert len(variants("pick_coke_can", "variant_aggregation")) == 11


# --- assets ---------------------------------------------------------------------------------------------------------


def asset(content: bytes, name: str) -> assets.Asset:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return assets.Asset(f"tasks/{name}", "owner/repository", "c0ffee", f"data/{name}", blob)


def test_downloads_are_verified_and_continue(tmp_path):
    contents = {f"{k}.txt": f"file {k}".encode() for k in range(3)}
    wanted = [asset(content, name) for name, content in contents.items()]
    asked = []

    def get(url):
        asked.append(url)
        return contents[url.rsplit("/", 1)[1]]

    assert assets.download(tmp_path, wanted[:1], get, quiet=True) == 1
    assert assets.download(tmp_path, wanted, get, quiet=True) == 2  # only what is missing
    assert asked[0] == "https://raw.githubusercontent.com/owner/repository/c0ffee/data/0.txt"
    (tmp_path / "data/tasks/1.txt").write_text("changed")
    assert [a.local for a in assets.check(tmp_path, wanted).changed] == ["tasks/1.txt"]
    assert assets.download(tmp_path, wanted, get, quiet=True) == 1
    assert not assets.check(tmp_path, wanted).missing and not assets.check(tmp_path, wanted).changed


def test_a_wrong_file_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not the file wanted"):
        assets.download(tmp_path, [asset(b"right", "a.txt")], lambda url: b"wrong", quiet=True)
    assert not (tmp_path / "data/tasks/a.txt").exists()


def test_without_assets_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"python -m envs\.simpler\.assets"):
        assets.asset_folder()


def test_the_list_of_files_is_complete_and_safe():
    found = assets.upstream()
    assert len(found) == len({a.local for a in found}) == 382
    assert {len(a.blob) for a in found} == {len(a.commit) for a in found} == {40}
    assert all(".." not in a.local and not a.local.startswith("/") for a in found)
    assert {a.repository for a in found} == {
        "simpler-env/ManiSkill2_real2sim",
        "haosulab/ManiSkill-GoogleRobot",
        "haosulab/ManiSkill-WidowX250S",
    }


@pytest.mark.skipif(not os.environ.get("MS_ASSET_DIR"), reason="MS_ASSET_DIR is not set: no SIMPLER assets here")
def test_the_given_assets_are_what_upstream_has():
    folder = pathlib.Path(os.environ["MS_ASSET_DIR"])
    robots = [a for a in assets.upstream() if a.local.startswith("robots/googlerobot/google_robot_meta")]
    assert len(assets.check(folder, robots).present) == len(robots) > 4


def test_meshes_are_split_into_connected_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))
    triangle = "v {0} 0 0\nv {1} 0 0\nv {0} 1 0\n"
    two = tmp_path / "two.obj"
    two.write_text("o one\n" + triangle.format(0, 1) + triangle.format(5, 6) + "f 1 2 3\nf 4/1/1 5/1/1 6/1/1\n")
    parts = split(two)
    assert parts != two and parts.read_text().count("o part") == 2
    assert "v 5 0 0" in parts.read_text() and parts.read_text().count("f ") == 2
    assert split(parts) == parts  # nothing left to split


def test_distractors_stand_apart_from_the_can() -> None:
    pytest.importorskip("mani_skill")
    from envs.simpler.tasks.pick_coke_can import distractor_spots

    for target in ((-0.35, -0.02), (-0.12, 0.42), (-0.235, 0.2)):
        spots = distractor_spots(target, 6)
        assert len(spots) == 6 and spots == distractor_spots(target, 6)
        assert all(-0.5 <= x <= -0.1 and 0.05 <= y <= 0.35 for x, y in spots)
        assert all(np.hypot(x - target[0], y - target[1]) > 0.25 for x, y in spots)


def replayed(source: str, contact: int, images: dict[int, dict[str, float]]) -> Replay:
    errors = {"tcp mm": np.array([0.1, 0.1, 9.0]), "tcp deg": np.zeros(3)}
    return Replay("pick_coke_can/x", source, (0.1, 0.1), contact, errors, (True, True), 1.0, images)


def test_parity_judges_nothing_after_the_first_contact() -> None:
    """A released object rolls its own way; without contact every step counts."""
    good, bad = {"pixels": 1.0, "iou robot": 0.99, "iou can": 0.99}, {"pixels": 9.0, "iou robot": 0.1, "iou can": 0.0}
    assert all(kept for *_, kept in verdicts([replayed("scripted_privileged", 2, {0: good, 2: good, 3: bad})]))
    missed = [what for what, _, kept in verdicts([replayed("random_smooth", 2, {0: good, 3: bad})]) if not kept]
    assert [what.split()[0] for what in missed] == ["TCP", "pixels", "robot", "object"]
    sliver = {"pixels": 1.0}  # a robot that is hardly in the picture has no overlap
    assert all(kept for *_, kept in verdicts([replayed("scripted_privileged", 2, {0: good, 1: sliver})]))


def test_gripper_positions_become_changes_once_each() -> None:
    def actions(*grips: float) -> np.ndarray:
        return np.column_stack([np.full((len(grips), 6), 0.5), grips]).astype(np.float32)

    changes = GripperChanges()
    assert changes.of(actions(-1, 0.2, 1)).tolist() == actions(0, 1, 0).tolist()
    assert changes.of(actions(0.9, -0.1, -1)).tolist() == actions(0, -1, 0).tolist()
