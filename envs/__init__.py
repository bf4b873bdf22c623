"""Where it happens: Gymnasium environments, scripted oracles, rendering and the rollout loop.

`import envs` registers one Gymnasium id per file in `envs/tasks` and loads no simulator.
"""

from gymnasium.envs.registration import register, registry

from envs.tasks import TASKS

for _task in TASKS.values():
    if _task.env_id not in registry:
        register(id=_task.env_id, entry_point="envs.robosuite_env:RoboSuiteEnv", kwargs={"task": _task.name})

__all__ = ["TASKS"]
