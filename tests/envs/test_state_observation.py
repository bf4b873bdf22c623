"""Learning from the simulator's state: the state box, pictures on request, part of the actions, agents as Actors."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401  (registers the ids)

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.partial_action import PartialAction
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, rollout
from envs.tasks import TASKS
from envs.tasks.base import grip_position
from envs.viewed import Viewed


@pytest.fixture(scope="module")
def env() -> Iterator[RoboSuiteEnv]:
    made = RoboSuiteEnv("reach", image_size=32, images=False, state=True, dense=True, max_steps=6)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore:.*Box observation space.*infinity")
def test_gymnasium_and_stable_baselines_accept_it(env: RoboSuiteEnv) -> None:
    from gymnasium.utils.env_checker import check_env
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    check_env(env, skip_render_check=True)
    check_env_sb3(env, warn=False)


def test_the_state_is_what_the_simulator_says(env: RoboSuiteEnv) -> None:
    first, info = env.reset(seed=3)
    assert set(first) == {"proprio", "state"} and first["state"].shape == (16,) and env.spec_.cameras == ()
    state = first["state"]
    cube = env.raw.sim.data._data.xpos[env.raw.cube_body_id]
    np.testing.assert_allclose(state[4:7], cube, atol=1e-6)
    np.testing.assert_allclose(state[7:10], cube - grip_position(env.raw), atol=1e-6)
    columns = state[10:].reshape(2, 3)
    np.testing.assert_allclose(columns @ columns.T, np.eye(2), atol=1e-5)
    assert not state[:4].any() and 0 <= info["dense"] <= 1
    before = grip_position(env.raw)
    action = np.zeros(7)
    action[2] = -1
    second, _, _, _, after = env.step(action)
    assert second["state"][2] < -0.05, "the grip moves down"
    assert (after["dense"] > info["dense"]) == (after["progress"] > info["progress"])
    assert grip_position(env.raw)[2] < before[2]


@pytest.mark.parametrize("task", ["lift", "stack", "pick_place_can"])
def test_every_kind_of_task_has_a_state_and_a_dense_reward(task: str) -> None:
    made = RoboSuiteEnv(task, images=False, state=True, dense=True)
    seen, info = made.reset(seed=0)
    assert seen["state"].shape == (4 + 12 * len(TASKS[task].objects(made.raw)),)
    assert np.isfinite(seen["state"]).all() and 0 <= info["dense"] <= 1
    made.close()


def test_looking_shows_what_an_environment_with_pictures_sees(env: RoboSuiteEnv) -> None:
    pictures = RoboSuiteEnv("reach", image_size=32, max_steps=6)
    expected, _ = pictures.reset(seed=5)
    env.reset(seed=5)
    seen = env.look()
    assert list(seen) == list(expected) and env.view_spec == pictures.spec_
    for name in expected:
        np.testing.assert_array_equal(seen[name], expected[name])
    pictures.close()


@pytest.mark.parametrize("every", [1, 4])
def test_pictures_are_drawn_when_they_are_read(env: RoboSuiteEnv, every: int) -> None:
    viewed = Viewed(env, every)
    _, info = viewed.reset(seed=0)
    assert set(info["view"]) == {"agentview", "wrist", "proprio"}
    found = ["view" in viewed.step(np.zeros(7))[4] for _ in range(6)]
    assert found == [(t + 1) % every == 0 for t in range(6)]
    with pytest.raises(ValueError, match="no look"):
        Viewed(gym.make("CartPole-v1"))


def test_a_terminal_observation_is_drawn_only_where_it_is_asked_for(env: RoboSuiteEnv) -> None:
    class Ended(gym.Wrapper):
        def step(self, action):  # type: ignore[no-untyped-def]
            observation, reward, _, truncated, info = self.env.step(action)
            return observation, reward, True, truncated, info

    for terminal, every in ((True, 3), (False, 1)):
        viewed = Viewed(Ended(env), every, terminal)
        viewed.reset(seed=0)
        assert ("view" in viewed.step(np.zeros(7))[4]) is terminal


def test_an_agent_may_move_some_dimensions_alone(env: RoboSuiteEnv) -> None:
    part = PartialAction(env, ["gripper", "dx"])
    assert part.action_space.shape == (2,)
    np.testing.assert_array_equal(part.action(np.array([1.0, 0.5], np.float32)), [0.5, 0, 0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="name some of dx"):
        PartialAction(env, ["up"])


def driven(agent: Any, venv: Any) -> list[np.ndarray]:
    """The first four actions of an agent in its own environment, seed 7."""
    venv.training = False
    venv.seed(7)
    seen, found = venv.reset(), []
    for _ in range(4):
        action, _ = agent.predict(seen, deterministic=True)
        found.append(action[0])
        seen = venv.step(action)[0]
    return found


def test_an_agent_is_an_actor_that_sees_and_does_the_same(env: RoboSuiteEnv) -> None:
    from gymnasium.wrappers import FlattenObservation
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from agents.sb3 import SB3Actor

    names = ["dx", "dy", "dz"]
    venv = VecNormalize(DummyVecEnv([lambda: FlattenObservation(PartialAction(env, names))]))
    agent = SAC("MlpPolicy", venv, policy_kwargs={"net_arch": [8]}, learning_starts=5, device="cpu", seed=0)
    agent.learn(12)
    expected = driven(agent, venv)
    (episode,) = rollout(SB3Actor(agent, [env], names), [env], [Trial(7)], source="sac")
    np.testing.assert_allclose(episode.actions[:4, :3], expected, atol=1e-5)
    assert not episode.actions[:, 3:].any() and episode.images == {} and len(episode) == 6


def test_so_is_one_that_looks_at_pictures() -> None:
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

    from agents.sb3 import SB3Actor

    env = RoboSuiteEnv("reach", image_size=36, max_steps=6)
    venv = VecNormalize(VecTransposeImage(DummyVecEnv([lambda: env])), norm_obs_keys=["proprio"])
    small = {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}}
    agent = SAC("MultiInputPolicy", venv, policy_kwargs=small, learning_starts=5, buffer_size=20, device="cpu", seed=0)
    agent.learn(12)
    expected = driven(agent, venv)
    (episode,) = rollout(SB3Actor(agent, [env]), [env], [Trial(7)], source="sac")
    np.testing.assert_allclose(episode.actions[:4], expected, atol=1e-5)
    env.close()
