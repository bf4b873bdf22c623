"""Where it happens: Gymnasium environments, scripted oracles, rendering and the rollout loop.

`import envs` registers one Gymnasium id per file in `envs/tasks` and per SIMPLER task, and loads no simulator.
"""

import inspect

from gymnasium.envs.registration import register, registry

from envs.adapt import OwnTask, adapt
from envs.simpler.catalogue import SIMPLER_TASKS, SimplerTask
from envs.tasks import TASKS, Task
from episodes.registry import Registry
from episodes.stopping import catch_interrupts

catch_interrupts()

OFFERED = Registry("task", "foresight.tasks", TASKS)
"""Every robosuite task by name, those of installed packages too."""


def _register(task: Task | SimplerTask) -> None:
    simpler = isinstance(task, SimplerTask)
    entry_point = "envs.simpler.env:SimplerEnv" if simpler else "envs.robosuite_env:RoboSuiteEnv"
    if task.env_id not in registry:
        known = simpler or task.name in TASKS
        register(id=task.env_id, entry_point=entry_point, kwargs={"task": task.name if known else task})


_OWN: dict[str, Task | SimplerTask] = {}  # by Gymnasium id
_OWN |= {task.env_id: task for task in TASKS.values()}
_OWN |= {task.env_id: task for task in SIMPLER_TASKS.values()}
for _task in _OWN.values():
    _register(_task)


def offered_task(name: str) -> Task | OwnTask:
    """The task of a name, of an installed package's name, or at module:attribute; a robosuite task's id is registered.

    A function is a task of one's own: it makes the environment (`envs.adapt`).
    """
    task = OFFERED.find(name)
    if inspect.isfunction(task):
        return OwnTask(task.__name__, name, task)
    if not isinstance(task, Task):
        raise ValueError(f"task {name}: {task!r} is no envs.tasks:Task, and no function that makes an environment")
    _register(task)
    return task


def find_task(env_id: str) -> Task | SimplerTask | OwnTask:
    """The task of a Gymnasium id, or at module:attribute; an unknown one is a ValueError that lists those there are."""
    if env_id in _OWN:
        return _OWN[env_id]
    if ":" in env_id:
        return offered_task(env_id)
    for name in OFFERED.names():
        if name not in TASKS and (task := offered_task(name)).env_id == env_id:
            return task
    raise ValueError(f"task.env_id={env_id!r}: no environment of this name; known are {', '.join(_OWN)}")


__all__ = ["OFFERED", "SIMPLER_TASKS", "TASKS", "OwnTask", "adapt", "find_task", "offered_task"]
