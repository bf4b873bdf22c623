"""The Lift environment: Gymnasium's contract, exact seeding, honest endings, physics identical to robosuite's."""

import subprocess
import sys
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401  (registers the ids)
from tests import ROOT

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.robosuite_env import PROPRIO, RoboSuiteEnv
from envs.tasks.base import grip_position
from envs.tasks.lift import cube_position, progress
from episodes.types import EnvSpec


@pytest.fixture(scope="module")
def state_env() -> Iterator[RoboSuiteEnv]:
    env = RoboSuiteEnv(images=False)
    yield env
    env.close()


@pytest.fixture(scope="module")
def image_env() -> Iterator[RoboSuiteEnv]:
    env = RoboSuiteEnv(image_size=48, max_steps=20)
    yield env
    env.close()


def state(env: RoboSuiteEnv) -> np.ndarray:
    data = env.raw.sim.data._data
    return np.concatenate([data.qpos, data.qvel, data.ctrl, data.qacc_warmstart])


def put_cube(env: RoboSuiteEnv, position: np.ndarray) -> None:
    joint = env.raw.cube.joints[0]
    env.raw.sim.data.set_joint_qpos(joint, np.concatenate([position, (1, 0, 0, 0)]))
    env.raw.sim.data.set_joint_qvel(joint, np.zeros(6))
    env.raw.sim.forward()


def test_importing_the_room_loads_no_simulator() -> None:
    code = (
        "import sys, envs, envs.oracles, envs.rollout, gymnasium; gymnasium.spec('foresight/Lift-v0');"
        "print([m for m in ('robosuite', 'mujoco', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_robosuite_names_the_extra() -> None:
    code = (
        "import sys, gymnasium, envs; sys.modules['robosuite'] = None\n"
        "try: gymnasium.make('foresight/Lift-v0')\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install -e '.[robosuite]'" in done.stdout


@pytest.mark.filterwarnings("ignore:.*Box observation space.*infinity")
def test_gymnasium_and_stable_baselines_accept_it() -> None:
    from gymnasium.utils.env_checker import check_env
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    env = gym.make("foresight/Lift-v0", image_size=48, max_steps=10)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped, warn=False)
    env.close()


def test_observation_action_and_spec_agree(image_env: RoboSuiteEnv) -> None:
    observation, info = image_env.reset(seed=0)
    spec = image_env.spec_
    assert list(observation) == [*spec.cameras, "proprio"] == ["agentview", "wrist", "proprio"]
    assert observation["wrist"].shape == (48, 48, 3) and observation["wrist"].dtype == np.uint8
    assert observation["proprio"].shape == (11,) == (spec.proprio_dim,) and spec.proprio_names == PROPRIO
    assert spec.action_dim == 7 and image_env.action_space.shape == (7,)
    assert EnvSpec.from_json(spec.to_json()) == spec
    assert set(info) >= {"instruction", "success", "is_success", "progress"} and info["instruction"]
    np.testing.assert_allclose(observation["proprio"][:3], grip_position(image_env.raw), atol=1e-6)
    columns = observation["proprio"][3:9].reshape(2, 3)
    np.testing.assert_allclose(columns @ columns.T, np.eye(2), atol=1e-5)


def test_images_show_the_cube(image_env: RoboSuiteEnv) -> None:
    """Red in both views, and in the agent view nearer to the left edge when the cube is moved to the robot's right."""

    def red(image: np.ndarray) -> np.ndarray:
        rgb = image.astype(int)
        return np.argwhere((rgb[..., 0] > 90) & (rgb[..., 0] > 1.6 * rgb[..., 1]))

    columns = []
    for y in (0.03, -0.03):
        image_env.reset(seed=0)
        put_cube(image_env, np.array([0.0, y, 0.821]))
        images = image_env._observation()
        assert len(red(images["agentview"])) >= 8
        columns.append(red(images["agentview"])[:, 1].mean())
    assert columns[0] > columns[1] + 3, "the camera looks back at the robot: its left (y > 0) is on the right"
    image_env.reset(seed=1)
    for _ in range(8):
        observation, *_ = image_env.step(np.array([1, 0, -0.3, 0, 0, 0, -1.0]) * 0.5)
    assert len(red(observation["wrist"])) >= 8


def test_same_seed_same_episode_whatever_ran_before(image_env: RoboSuiteEnv) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 7))

    def run(env: RoboSuiteEnv) -> list[np.ndarray]:
        observation, _ = env.reset(seed=11)
        out = [state(env), *observation.values()]
        for action in actions:
            observation, *_ = env.step(action)
            out += [state(env), *observation.values()]
        return out

    first = run(image_env)
    image_env.reset(seed=12)
    for _ in range(15):  # into the table, with the gripper closed: warm start, goals and gripper ramp all differ
        image_env.step(np.array([0, 0.3, -1, 0.5, 0, 0, 1.0]))
    other = RoboSuiteEnv(image_size=48, max_steps=20)
    try:
        for again in (run(image_env), run(other), run(image_env)):
            assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        other.close()
    assert not np.array_equal(first[0], (image_env.reset(seed=12), state(image_env))[1])


def test_same_seed_same_episode_in_another_process(image_env: RoboSuiteEnv) -> None:
    code = (
        "import hashlib, sys, numpy as np\nfrom envs.robosuite_env import RoboSuiteEnv\n"
        "env = RoboSuiteEnv(image_size=48, max_steps=20)\nobservation, _ = env.reset(seed=21)\n"
        "for _ in range(4): observation, *_ = env.step(np.full(7, 0.3))\n"
        "print(hashlib.sha256(b''.join(v.tobytes() for v in observation.values())).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "", "nothing on stderr, although the environment was left open"
    import hashlib

    observation, _ = image_env.reset(seed=21)
    for _ in range(4):
        observation, *_ = image_env.step(np.full(7, 0.3))
    assert hashlib.sha256(b"".join(v.tobytes() for v in observation.values())).hexdigest() == done.stdout.strip()


def test_rendering_mode_does_not_touch_physics(image_env: RoboSuiteEnv, state_env: RoboSuiteEnv) -> None:
    stock = RoboSuiteEnv(render="stock", image_size=48, cameras=("wrist",))
    try:
        for env in (image_env, state_env, stock):
            env.reset(seed=3)
            for action in np.random.default_rng(3).uniform(-1, 1, (5, 7)):
                observation, *_ = env.step(action)
        assert np.array_equal(state(image_env), state(state_env)) and np.array_equal(state(stock), state(state_env))
        assert "agentview" not in observation and observation["wrist"].std() > 5
    finally:
        stock.close()


def test_success_only_when_held_then_terminated(state_env: RoboSuiteEnv) -> None:
    """The cube is put into the air before each step: success needs `hold_steps` of them in a row."""
    state_env.reset(seed=0)
    up = np.array([0.0, 0.25, 1.05])
    for k in range(1, 10):
        if k != 4:  # it falls to the table once
            put_cube(state_env, up)
        else:
            put_cube(state_env, np.array([0.0, 0.25, 0.822]))
        _, reward, terminated, truncated, info = state_env.step(np.zeros(7))
        last = k == 4 + state_env.hold_steps
        assert (reward, terminated, truncated) == (float(last), last, False), k
        assert info["success"] is info["is_success"] is terminated is state_env.is_success()
        assert (info["progress"] == 1.0) is last
    assert k == 9


def test_time_limit_truncates_and_never_terminates() -> None:
    env = RoboSuiteEnv(images=False, max_steps=3, hz=20)
    env.reset(seed=0)
    ends = [env.step(np.zeros(7))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert env.spec_.max_steps == 3 and env.spec_.hz == 20
    env.close()


def test_success_at_the_time_limit_terminates() -> None:
    env = RoboSuiteEnv(images=False, max_steps=2, hold_steps=2)
    env.reset(seed=0)
    for _ in range(2):
        put_cube(env, np.array([0.0, 0.25, 1.05]))
        *_, terminated, truncated, _ = env.step(np.zeros(7))
    assert terminated and not truncated
    env.close()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(6), "shape"),
        (np.zeros((1, 7)), "shape"),
        (np.array([0, 0, np.nan, 0, 0, 0, 0]), "finite"),
        (np.array([0, 0, 0, 0, 0, 0, np.inf]), "finite"),
    ],
)
def test_bad_actions_are_named(state_env: RoboSuiteEnv, action: np.ndarray, words: str) -> None:
    state_env.reset(seed=0)
    before = state(state_env)
    with pytest.raises(ValueError, match=f"action.*{words}"):
        state_env.step(action)
    assert np.array_equal(before, state(state_env))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "fly"}, "task='fly'.*lift"),
        ({"cameras": ("agentview", "sky")}, "sky.*wrist"),
        ({"render": "slow"}, "render='slow'.*stock"),
        ({"hz": 15}, "hz=15"),
        ({"hold_steps": 0}, "hold_steps=0"),
    ],
)
def test_bad_settings_are_named(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RoboSuiteEnv(**{"images": False, **settings})


def test_progress_stages(state_env: RoboSuiteEnv) -> None:
    """Nearer is more, in the grip is more, higher is more; a cube in the air without a hand has no lift."""
    state_env.reset(seed=0)
    raw = state_env.raw
    grip = grip_position(raw)

    def at(position: np.ndarray) -> float:
        put_cube(state_env, position)
        return progress(raw)

    rest = 0.8 + raw.cube.size[2]
    distances = [at(np.array([grip[0] + dx, grip[1], rest])) for dx in (0.25, 0.1, 0.0)]
    assert 0 <= distances[0] < distances[1] < distances[2] < 0.4
    floating = at(np.array([grip[0] + 0.2, grip[1], 0.839]))
    assert floating == pytest.approx(0.4 * max(0, 1 - np.linalg.norm(cube_position(raw) - grip) / 0.3), abs=1e-6)
    assert at(np.array([0, 0.2, 0.9])) == 1.0, "robosuite's criterion, at this instant"
    assert state_env.progress() < 1.0, "but it was not held"


def test_two_renderers_in_one_process_do_not_mix(image_env: RoboSuiteEnv) -> None:
    alone, _ = image_env.reset(seed=4)  # before the other context exists
    other = RoboSuiteEnv(image_size=32, cameras=("agentview",), render="stock")
    try:
        other.reset(seed=9)
        put_cube(other, np.array([0.0, 0.1, 0.821]))
        other._observation()
        again = image_env._observation()
        assert all(np.array_equal(alone[k], again[k]) for k in alone)
    finally:
        other.close()
        other.close()  # twice is fine
    assert np.array_equal(image_env._observation()["wrist"], alone["wrist"]), "closing one must not break another"


def test_render_for_people() -> None:
    env = RoboSuiteEnv(images=False, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame is not None and frame.shape == (256, 256, 3) and frame.std() > 5
    env.close()
