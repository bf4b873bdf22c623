"""Counterfactual pictures: the same joint trajectory drawn again with the object left where it lay, or without it.

For measuring alone: a value that is trained on them has seen the answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.ledger import Trial
from envs.rollout import rollout
from episodes.actor import Actor
from episodes.files import atomic_folder, make_once
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode

MOVED = 0.01  # m, from where it lay: farther means that the object was taken
SETTLE = 0.5  # s after the reset, in which an object falls into its place; no hand is there yet
BELOW = 10.0  # m under its place, where no camera sees an absent object
KINDS = ("true", "left", "absent")
DRAWN = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir")  # of MjData, what drawing reads


@dataclass(frozen=True)
class Pair:
    """An episode, and the same one but for its pictures from frame `moved` on.

    `left`: the object lies where it lay. `absent`: it is not there. `moved` is the first frame at which the object is
    more than 1 cm from where it lay; up to it all pictures are the same.
    """

    true: Episode
    left: Episode
    absent: Episode
    moved: int


class _Watched:
    """An environment that keeps, of every state it has shown, what drawing reads."""

    def __init__(self, env: Any) -> None:
        self.env, self.unwrapped, self.blind = env, self, False
        self.states: list[dict[str, npt.NDArray[np.float64]]] = []
        self.bodies = [env.raw.sim.model.body_name2id(item.root_body) for item in env.task.objects(env.raw)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, **options: Any) -> Any:
        shown = self.env.reset(**options)
        self.states = [self._state()]
        return shown

    def step(self, action: Any) -> Any:
        shown = self.env.step(action)
        self.states.append(self._state())
        return shown

    def _state(self) -> dict[str, npt.NDArray[np.float64]]:
        data = self.env.raw.sim.data._data
        return {name: getattr(data, name).copy() for name in DRAWN} | {"objects": data.xpos[self.bodies].copy()}


def pairs(actor: Actor, env: Any, trials: Iterable[Trial], **settings: Any) -> Iterator[Pair]:
    """Run every trial and yield the pair of each that succeeds and moves an object; of several objects, the one it
    moves farthest. `actor` answers for `env` alone; `settings` go to `rollout`.

    The arm, the cameras and the lights are drawn from the very numbers of the true picture, so that only the object and
    its shadow differ; the environment's own state is not touched. ValueError: an environment without pictures, or that
    is no robosuite one.
    """
    env = env.unwrapped
    if not hasattr(env, "draw"):
        raise ValueError(f"counterfactual: {type(env).__name__} cannot draw another state; use a robosuite task")
    if not env.spec_.cameras:
        raise ValueError("counterfactual: the environment draws no pictures; make it with images=True")
    watched = _Watched(env)
    for trial in trials if watched.bodies else ():
        (episode,) = rollout(actor, [watched], [trial], **settings)
        displaced = displacement(np.stack([s["objects"] for s in watched.states]), env.spec_.hz)  # (T + 1, objects)
        item = int(displaced.max(0).argmax())
        taken = displaced[:, item] > MOVED
        if episode.success and taken.any():
            moved = int(taken.argmax())
            body = watched.bodies[item]
            left, absent = (_redrawn(env, episode, watched.states, body, moved, kind) for kind in ("left", "absent"))
            yield Pair(episode, left, absent, moved)


def cached_pairs(
    path: Path,
    make_env: Callable[[], Any],
    make_actor: Callable[[Sequence[Any]], Actor],
    trials: Iterable[Trial],
    count: int,
    **settings: Any,
) -> list[Pair]:
    """The first `count` pairs of the trials, recorded once into the folder `path`; none, where no trial gives one."""

    def make() -> None:
        env = make_env()
        made = list(itertools.islice(pairs(make_actor([env]), env, trials, **settings), count))
        write_pairs(path, env.spec_, made)
        env.close()

    make_once(path, path.exists, make)
    return read_pairs(path)


def write_pairs(path: Path, spec: EnvSpec, made: Sequence[Pair]) -> None:
    """Write pairs to a new folder: three stores of the same episodes, in one step."""
    with atomic_folder(path) as beside:
        for kind in KINDS:
            store = EpisodeStore.create(beside / kind, spec)
            if made:
                store.append(replace(getattr(pair, kind), extra={"moved": pair.moved}) for pair in made)
            store.close()


def read_pairs(path: Path) -> list[Pair]:
    """Read what `write_pairs` wrote; a damaged folder is a ValueError that names it."""
    stores = [EpisodeStore.open(path / kind) for kind in KINDS]
    made = [
        Pair(true, left, absent, int(true.extra.get("moved", -1))) for true, left, absent in zip(*stores, strict=True)
    ]
    if any(not 0 < pair.moved < len(pair.true) for pair in made):
        raise ValueError(f"{path}: an episode does not say when its object was moved; delete the folder and run again")
    return made


def displacement(positions: npt.NDArray[np.float64], hz: float) -> npt.NDArray[np.float64]:
    """How far (m, (T + 1, N)) N objects at `positions` (T + 1, N, 3) are from where they settled; 0 until then."""
    settled = min(round(SETTLE * hz), len(positions) - 1)
    distance: npt.NDArray[np.float64] = np.linalg.norm(positions - positions[settled], axis=-1)
    distance[:settled] = 0.0
    return distance


def _redrawn(env: Any, episode: Episode, states: Sequence[dict[str, Any]], body: int, moved: int, kind: str) -> Episode:
    """The episode with the pictures from `moved` on drawn anew, the geoms of one body put elsewhere."""
    import mujoco

    model = env.raw.sim.model._model
    geoms = np.flatnonzero(model.body_rootid[model.geom_bodyid] == model.body_rootid[body])
    place = states[round(SETTLE * env.spec_.hz)]
    data = mujoco.MjData(model)
    images = {name: frames.copy() for name, frames in episode.images.items()}
    for t in range(moved, len(states)):
        for name in DRAWN:
            getattr(data, name)[:] = states[t][name]
        data.geom_xpos[geoms], data.geom_xmat[geoms] = place["geom_xpos"][geoms], place["geom_xmat"][geoms]
        if kind == "absent":
            data.geom_xpos[geoms, 2] -= BELOW
        for name, picture in env.draw(data).items():
            images[name][t] = picture
    return replace(episode, images=images)
