"""Where it happens: Gymnasium environments, scripted oracles, rendering and the rollout loop.

`import envs` registers one Gymnasium id per file in `envs/tasks` and per SIMPLER task, and loads no simulator.
"""

from gymnasium.envs.registration import register, registry

from envs.simpler.catalogue import SIMPLER_TASKS
from envs.tasks import TASKS
from episodes.stopping import catch_interrupts

catch_interrupts()

for _task in TASKS.values():
    if _task.env_id not in registry:
        register(id=_task.env_id, entry_point="envs.robosuite_env:RoboSuiteEnv", kwargs={"task": _task.name})

for _simpler in SIMPLER_TASKS.values():
    if _simpler.env_id not in registry:
        register(id=_simpler.env_id, entry_point="envs.simpler.env:SimplerEnv", kwargs={"task": _simpler.name})

__all__ = ["SIMPLER_TASKS", "TASKS"]
