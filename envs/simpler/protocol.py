"""SIMPLER's evaluation protocol: every trial of every variant, read from protocol.yaml. Loads no simulator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from envs.simpler.layout import MOVE_NEAR_TRIPLETS, Placement, Setup, baked, move_near_layout

FILE = Path(__file__).with_name("protocol.yaml")
SETTINGS = ("visual_matching", "variant_aggregation")


@dataclass(frozen=True)
class SimplerTrial:
    """One trial of the protocol: which environment, how it is built, how its episode begins.

    It stands where `rollout` takes an `envs.ledger.Trial`.
    """

    group: str  # what the papers call the task, such as open_close_drawer
    setting: str
    variant: str
    task: str  # a name of SIMPLER_TASKS
    setup: Setup
    placement: Placement
    place: str  # what tells it from the others of its variant and task

    @property
    def key(self) -> str:
        """What names the trial in a ledger."""
        return "/".join((self.group, self.setting, self.variant, self.task, self.place))

    @property
    def seed(self) -> int:
        """Of the actor and the action noise; the placement is given. The same in every process."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:4], "big") >> 1

    @property
    def options(self) -> dict[str, Any]:
        """What `reset` is given beside the seed."""
        return {"trial": self}


@lru_cache
def _protocol() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["protocol"]  # type: ignore[no-any-return]


def groups() -> dict[str, tuple[str, ...]]:
    """The protocol's tasks and the settings that each has."""
    return {name: tuple(settings) for name, settings in _protocol().items()}


def variants(group: str, setting: str) -> tuple[str, ...]:
    """The variants of a task in a setting; ValueError naming the choices."""
    return tuple(_setting(group, setting)["variants"])


def _setting(group: str, setting: str) -> dict[str, Any]:
    protocol = _protocol()
    if group not in protocol:
        raise ValueError(f"task={group!r}: choose {', '.join(protocol)}")
    if setting not in protocol[group]:
        raise ValueError(f"setting={setting!r} of {group}: choose {', '.join(protocol[group])}")
    return protocol[group][setting]  # type: ignore[no-any-return]


def trials(group: str, setting: str, variant: str | None = None) -> tuple[SimplerTrial, ...]:
    """All trials of a task in a setting, or of one of its variants, in the protocol's order.

    Their numbers equal those of VideoVLA's Table 11. ValueError: an unknown name; it lists the choices.
    """
    spec = _setting(group, setting)
    if variant is not None and variant not in spec["variants"]:
        raise ValueError(f"variant={variant!r} of {group}, {setting}: choose {', '.join(spec['variants'])}")
    wanted = spec["variants"] if variant is None else {variant: spec["variants"][variant]}
    return tuple(trial for name, fields in wanted.items() for trial in _of_variant(group, setting, name, fields, spec))


def _of_variant(
    group: str, setting: str, variant: str, fields: dict[str, Any], spec: dict[str, Any]
) -> Iterator[SimplerTrial]:
    fields = {**spec["setup"], **fields}
    head, third = fields.pop("head", None), fields.pop("third_object", True)
    for name in ("objects", "distractors"):
        fields[name] = tuple(fields.get(name, ()))
    setup = Setup(**fields)
    for task, orientation, robot, (spot, episode) in product(
        spec["tasks"], spec.get("orientations", [""]), spec["robots"], _objects(spec)
    ):
        built = setup
        if episode is not None and "textures" in spec:
            built = move_near_setup(setup, episode, spec["textures"], third)
        placement = Placement(
            robot_xy=tuple(robot["xy"]),
            robot_quat=facing(robot.get("yaw", 0.0)),
            overlay=robot.get("overlay", ""),
            head=tuple(head) if head else None,
            xy=spot,
            orientation=orientation,
            episode=episode,
        )
        words = [orientation]
        if len(spec["robots"]) > 1:
            words.append(robot.get("name") or "robot_{}_{}".format(*robot["xy"]))
        words.append(f"x{spot[0]}_y{spot[1]}" if spot else "" if episode is None else f"episode_{episode:02d}")
        yield SimplerTrial(group, setting, variant, task, built, placement, "-".join(w for w in words if w) or "only")


def _objects(spec: dict[str, Any]) -> list[tuple[tuple[float, float] | None, int | None]]:
    """Places of the object, or numbers of layouts."""
    if "objects" in spec:
        return [((x, y), None) for x in spec["objects"]["x"] for y in spec["objects"]["y"]]
    return [(None, k) for k in range(spec["episodes"])] if "episodes" in spec else [(None, None)]


def facing(yaw: float) -> tuple[float, float, float, float]:
    """Base orientation (wxyz) of a robot turned by yaw (rad) against facing -x."""
    return (float(-np.sin(yaw / 2)), 0.0, 0.0, float(np.cos(yaw / 2)))


def move_near_setup(setup: Setup, episode: int, textures: str = "baked", third: bool = True) -> Setup:
    """`setup` with the objects of an episode of move near; without the `third` only source and target."""
    from dataclasses import replace

    triplet, pair, _ = move_near_layout(episode)
    models = tuple(model for k, model in enumerate(triplet) if third or k in pair)
    assert triplet in MOVE_NEAR_TRIPLETS
    return replace(setup, objects=tuple(baked(model) for model in models) if textures == "baked" else models)


def missing_files(trial: SimplerTrial, folder: Path) -> list[str]:
    """What the trial needs and the asset folder lacks, as paths under `data/`; such a trial is not run."""
    if trial.task.startswith("widowx"):
        root, setup = "tasks/bridge_v2_real2sim_dataset", trial.setup
        wanted = [f"stages/bridge_table_1_v{2 if 'eggplant' in trial.task else 1}.glb"]
    else:
        root, setup = "tasks/google_robot_real2sim", trial.setup
        wanted = [f"stages/{setup.scene}.glb"] if setup.scene != "dummy_drawer" else []
        wanted += [f"models/{model}/collision.obj" for model in (*setup.objects, *setup.distractors)]
        if "drawer" in trial.task or trial.task == "place_apple":
            wanted.append(f"stations/{setup.station}.urdf")
    if trial.placement.overlay:
        wanted.append(f"real_inpainting/{trial.placement.overlay}")
    return [f"{root}/{path}" for path in wanted if not (folder / "data" / root / path).is_file()]
