"""A value that is applied as it is, saved or served: what can be refused at once, and what must be said of it."""

from __future__ import annotations

from typing import Any

from episodes.store import Episodes
from episodes.types import EnvSpec
from experiments.loop.schemas import TaskConfig
from networks.saved import found_value
from valuefns.settings import RewardServerConfig, SavedConfig, ServedConfig


def check_applied(valuefn: Any, task: TaskConfig | None = None) -> None:
    """Refuse a value that is not there, is of another scale, or does not fit the task's pictures and rate."""
    if isinstance(valuefn, SavedConfig):
        if not valuefn.folder:
            raise ValueError(
                "valuefn=saved: name the value: valuefn.folder=FOLDER, or owner/name[@revision] of the hub"
            )
        place, (spec, scale) = valuefn.folder, _saved(valuefn)
    elif isinstance(valuefn, ServedConfig):
        from valuefns.served import ServedValue

        place, value = valuefn.url, ServedValue(valuefn)
        spec, scale = value.told.spec, value.scale
    else:
        return
    if task is None:
        return
    if scale not in ("viva", "probability"):
        raise ValueError(f"valuefn {place}: its scale is {scale}; advantages here are computed in ViVa's scale")
    if missing := [camera for camera in spec.cameras if camera not in task.cameras]:
        raise ValueError(f"valuefn {place}: it sees the camera {missing[0]!r}, task.cameras={list(task.cameras)}")
    if spec.image_size != (task.image_size, task.image_size):
        size = f"{spec.image_size[0]}x{spec.image_size[1]}"
        raise ValueError(f"valuefn {place}: it was made for pictures of {size}, task.image_size={task.image_size}")
    if spec.hz != task.hz:
        raise ValueError(f"valuefn {place}: it was made at {spec.hz:g} Hz, task.hz={task.hz:g}")


def _saved(valuefn: SavedConfig) -> tuple[EnvSpec, str]:
    from networks.checkpoint import load_config, reading_checkpoint

    folder = found_value(valuefn.folder, "valuefn.folder").folder
    raw = load_config(folder)
    with reading_checkpoint(folder):
        settings = raw.get("config", {})
        scale = settings.get("scale", "viva") if isinstance(settings, dict) else "viva"
        return EnvSpec.from_json(raw["spec"]), str(scale)


def said_of_applied(valuefn: Any, store: Episodes) -> str:
    """What a saved value was trained on, beside the episodes it scores here; empty for one that is fitted here."""
    if isinstance(valuefn, (ServedConfig, RewardServerConfig)):
        return f"what the value behind {valuefn.url} was trained on is not known"
    if not isinstance(valuefn, SavedConfig):
        return ""
    from valuefns.trained_on import said_of

    return said_of(found_value(valuefn.folder, "valuefn.folder").folder, store)
