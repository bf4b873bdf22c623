"""A saved value in the place of one that is fitted here: what can be refused at once, and what must be said of it."""

from __future__ import annotations

from typing import Any

from episodes.store import Episodes
from experiments.loop.schemas import TaskConfig
from networks.saved import found_value
from valuefns.settings import SavedConfig


def check_applied(valuefn: Any, task: TaskConfig | None = None) -> None:
    """Refuse a saved value that is not there, is of another scale, or does not fit the task's pictures and rate."""
    if not isinstance(valuefn, SavedConfig):
        return
    from episodes.types import EnvSpec
    from networks.checkpoint import load_config, reading_checkpoint

    if not valuefn.folder:
        raise ValueError("valuefn=saved: name the value: valuefn.folder=FOLDER, or owner/name[@revision] of the hub")
    folder = found_value(valuefn.folder, "valuefn.folder").folder
    raw = load_config(folder)
    with reading_checkpoint(folder):
        spec, settings = EnvSpec.from_json(raw["spec"]), raw.get("config", {})
        scale = settings.get("scale", "viva") if isinstance(settings, dict) else "viva"
    if task is None:
        return
    if scale not in ("viva", "probability"):
        raise ValueError(f"valuefn.folder={folder}: its scale is {scale}; advantages here are computed in ViVa's scale")
    if missing := [camera for camera in spec.cameras if camera not in task.cameras]:
        raise ValueError(
            f"valuefn.folder={folder}: it sees the camera {missing[0]!r}, task.cameras={list(task.cameras)}"
        )
    if spec.image_size != (task.image_size, task.image_size):
        size = f"{spec.image_size[0]}x{spec.image_size[1]}"
        raise ValueError(
            f"valuefn.folder={folder}: it was made for pictures of {size}, task.image_size={task.image_size}"
        )
    if spec.hz != task.hz:
        raise ValueError(f"valuefn.folder={folder}: it was made at {spec.hz:g} Hz, task.hz={task.hz:g}")


def said_of_applied(valuefn: Any, store: Episodes) -> str:
    """What a saved value was trained on, beside the episodes it scores here; empty for one that is fitted here."""
    if not isinstance(valuefn, SavedConfig):
        return ""
    from valuefns.trained_on import said_of

    return said_of(found_value(valuefn.folder, "valuefn.folder").folder, store)
