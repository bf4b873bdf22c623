"""The SIMPLER sweep: its plan, its lock, and what the policy must be."""

from __future__ import annotations

from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from envs.simpler.protocol import SimplerTrial
from episodes.files import writer_lock, writing
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler.plan import plan_table, planned, with_assets


def run_all(config: DictConfig) -> None:
    """Run what is missing of the sweep; with dry_run print its plan. A server that is gone is a ValueError."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, SimplerSweepConfig)
    plan = planned(settings)
    if settings.dry_run:
        print(plan_table(plan))
        return
    try:
        _run(settings, plan)
    except ConnectionError as error:
        raise ValueError(str(error)) from error


def _run(settings: SimplerSweepConfig, plan: list[SimplerTrial]) -> None:
    from experiments.simpler.sweep import folder_of, run_in
    from experiments.simpler.worker import policy_content

    if settings.backend == "simpler_env":
        from experiments.simpler.original import offered

        plan, skipped = offered(plan)
    else:
        plan, skipped = with_assets(plan)
    settings = replace(settings, content=policy_content(settings))
    place = folder_of(settings)
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    lock = writer_lock(place / "lock", f"the sweep {place}")
    try:
        run_in(place, settings, plan, skipped)
    finally:
        lock.release()
