"""The SIMPLER tasks by name: where their ManiSkill class is and what their actions mean. Loads no simulator."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

DRAWERS = ("top", "middle", "bottom")


@dataclass(frozen=True)
class SimplerTask:
    """One task: `name` is SIMPLER's, `env_id` the Gymnasium id, `module` and `cls` its ManiSkill class."""

    name: str
    env_id: str
    module: str
    cls: str
    robot: str  # "google" or "widowx"
    hz: float
    max_steps: int
    trace: str  # folder name of recorded reference episodes

    def load(self) -> Any:
        """The ManiSkill class; ImportError where ManiSkill is not installed."""
        from envs.simpler.backend import load_maniskill

        load_maniskill()
        return getattr(import_module(f"envs.simpler.tasks.{self.module}"), self.cls)


def _google(name: str, cls: str, module: str, max_steps: int) -> SimplerTask:
    return SimplerTask(name, f"foresight/Simpler{cls}-v0", module, cls, "google", 3.0, max_steps, name)


def _widowx(name: str, cls: str, max_steps: int = 60) -> SimplerTask:
    trace = {"eggplant_in_basket": "put_eggplant_in_basket"}.get(name, name)
    return SimplerTask(
        f"widowx_{name}", f"foresight/Simpler{cls}-v0", "bridge", cls, "widowx", 5.0, max_steps, f"widowx_{trace}"
    )


_ALL = [
    _google("pick_coke_can", "PickCokeCan", "pick_coke_can", 80),
    _google("move_near", "MoveNear", "move_near", 80),
    *(_google(f"open_{d}_drawer", f"Open{d.title()}Drawer", "drawer", 113) for d in DRAWERS),
    *(_google(f"close_{d}_drawer", f"Close{d.title()}Drawer", "drawer", 113) for d in DRAWERS),
    _google("place_apple", "PlaceApple", "place_apple", 200),
    _widowx("spoon_on_towel", "SpoonOnTowel"),
    _widowx("carrot_on_plate", "CarrotOnPlate"),
    _widowx("stack_cube", "StackCube"),
    _widowx("eggplant_in_basket", "EggplantInBasket", 120),
]
SIMPLER_TASKS: dict[str, SimplerTask] = {task.name: task for task in _ALL}
