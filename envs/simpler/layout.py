"""How a SIMPLER scene is built and how an episode in it begins; plain data, no simulator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setup:
    """How a scene is built; changing one of these means building it anew. The names are SIMPLER's."""

    scene: str  # of the stage file
    urdf_version: str = ""  # colours of the Google robot
    lighting: str = ""  # "", "brighter", "darker" or "simple"
    station: str = "mk_station"  # drawer tasks: the cabinet
    dull: bool = False  # keep the robot's own render material (SIMPLER's disable_bad_material)
    objects: tuple[str, ...] = ()  # of the table, by model id; empty: those of the task
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """How one episode begins; what a task does not use is left out."""

    robot_xy: tuple[float, float]
    robot_quat: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)  # wxyz; faces -x
    overlay: str = ""  # the photograph, a file name under real_inpainting; "" leaves the rendered background
    head: tuple[float, float] | None = None  # rad, pan and tilt; None: SIMPLER's default
    xy: tuple[float, float] | None = None  # m, the object's
    orientation: str = ""  # of the can
    episode: int | None = None  # number of a layout, where SIMPLER counts them


MOVE_NEAR_TRIPLETS = (
    ("blue_plastic_bottle", "opened_pepsi_can", "orange"),
    ("opened_7up_can", "apple", "sponge"),
    ("opened_coke_can", "opened_redbull_can", "apple"),
    ("sponge", "blue_plastic_bottle", "opened_7up_can"),
    ("orange", "opened_pepsi_can", "opened_redbull_can"),
)
MOVE_NEAR_PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))  # source and target within the triplet
MOVE_NEAR_PLACES = (  # m, xy of the three objects
    ((-0.33, 0.04), (-0.33, 0.34), (-0.13, 0.19)),
    ((-0.13, 0.04), (-0.33, 0.19), (-0.13, 0.34)),
)
_UNBAKED = ("blue_plastic_bottle", "orange")  # have no baked texture in the visual matching set


def move_near_layout(
    episode: int,
) -> tuple[tuple[str, str, str], tuple[int, int], tuple[tuple[float, float], ...]]:
    """Triplet of models, indices of source and target in it, and the three places, of a number from 0 to 59."""
    return MOVE_NEAR_TRIPLETS[episode // 12], MOVE_NEAR_PAIRS[episode % 6], MOVE_NEAR_PLACES[(episode % 12) // 6]


def baked(model: str) -> str:
    """The model with baked textures, as visual matching uses it where there is one."""
    return model if model in _UNBAKED else f"baked_{model}"
