"""Task descriptions: every module here that defines TASK is a task, found by its file (no list to edit)."""

import pkgutil
from importlib import import_module

from envs.tasks.base import Camera, Task

_modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _modules if hasattr(module, "TASK")}

__all__ = ["TASKS", "Camera", "Task"]
