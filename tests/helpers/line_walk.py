"""A walk on a line, a value of its proprioception, and the shaping terms of an episode worked out by hand."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from tests.helpers.some_episodes import make_spec
from valuefns.protocol import ValueFunction
from valuefns.shaping.terms import ShapingConfig

SPEC = make_spec(image_size=(8, 8), proprio_names=("x",), hz=10.0)
GAMMA = 0.9


class Line(gym.Env):
    """Walk from 0 to 1 on a line; beyond it is success, after `limit` steps the time is up. Episodes differ by seed."""

    spec_ = SPEC

    def __init__(self, limit: int = 7, pictures: bool = True) -> None:
        boxes: dict[str, gym.Space] = {"proprio": gym.spaces.Box(-9, 9, (1,), np.float32)}
        if pictures:
            boxes |= {c: gym.spaces.Box(0, 255, (8, 8, 3), np.uint8) for c in SPEC.cameras}
        self.observation_space, self.pictures = gym.spaces.Dict(boxes), pictures
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.limit = limit

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(0, 0.4)), 0
        return self._seen(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x, self.t = self.x + 0.2 * float(action[0]), self.t + 1
        won = self.x >= 1
        return self._seen(), float(won), won, not won and self.t >= self.limit, self._info()

    def _info(self) -> dict[str, Any]:
        return {"instruction": f"walk {self.t}", "progress": self.x, "is_success": self.x >= 1}

    def _seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"proprio": np.array([self.x], np.float32)}
        return seen | {c: np.full((8, 8, 3), self.t, np.uint8) for c in SPEC.cameras} if self.pictures else seen


class _Stream:
    """Reads x off proprio and counts what it is asked, so that tests see batching, resets and slots left alone."""

    def __init__(self, n: int) -> None:
        self.log: list[tuple[str, list[int]]] = []
        self.instructions = [""] * n

    def reset(self, mask: Any, instructions: Any) -> None:
        self.log.append(("reset", np.flatnonzero(mask).tolist()))
        self.instructions = [b if m else a for m, a, b in zip(mask, self.instructions, instructions, strict=True)]

    def step(self, observations: Any) -> np.ndarray:
        asked = [i for i, o in enumerate(observations) if o is not None]
        self.log.append(("step", asked))
        assert all(self.instructions[i].startswith("walk") for i in asked)
        return np.array([np.nan if o is None else o.proprio[0] ** 2 for o in observations], np.float32)


class Square(ValueFunction):
    """V = x^2, frame by frame."""

    name, spec = "square", SPEC

    def __init__(self) -> None:
        self.model = torch.nn.Linear(1, 1)

    def fit(self, store: Any, folder: Any = None) -> "Square":
        return self

    def score(self, episode: Any, causal: bool = False) -> np.ndarray:
        return episode.proprio[:, 0] ** 2

    def stream(self, n: int) -> _Stream:
        self.last = _Stream(n)
        return self.last


def config(**changes: Any) -> ShapingConfig:
    return ShapingConfig(**({"gamma": GAMMA, "low": -0.1, "high": 0.9} | changes))


ACTIONS = np.random.default_rng(0).uniform(-0.3, 1, size=(60, 2, 1)).astype(np.float32)


def by_hand(slot: int, seed: int, settings: ShapingConfig, steps: int) -> list[list[tuple[float, bool]]]:
    """Episodes of one environment under ACTIONS: (shaped reward, ended by success) of every step."""
    env = Line()
    env.reset(seed=seed)

    def phi() -> float:
        x = np.float32(env.x)
        return (x * x - settings.low) / (settings.high - settings.low)

    episodes, held, terms, k = [], phi(), [], 0
    for action in ACTIONS[:steps, slot]:
        _, reward, won, late, _ = env.step(action)
        k += 1
        new = phi() if k % settings.every == 0 else held
        terms.append((reward + GAMMA * (0.0 if won else new) - held, won))
        held = new
        if won or late:
            episodes.append(terms)
            env.reset()
            held, terms, k = phi(), [], 0
    return [*episodes, terms]


def flat(episodes: list[list[tuple[float, bool]]]) -> list[float]:
    return [term for episode in episodes for term, _ in episode]
