"""A policy on SIMPLER's evaluation protocol: every variant of Visual Matching and Variant Aggregation, resumable.

    python experiments/simpler_sweep.py policy=random dry_run=true                     # the plan, nothing is run
    python experiments/simpler_sweep.py policy=scripted tasks=[pick_coke_can] settings=[visual_matching] images=false
    python experiments/simpler_sweep.py policy=FOLDER workers=2 slots=4                # a saved policy
    python experiments/simpler_sweep.py policy=ws://127.0.0.1:8000 adapter=fractal     # a policy server
    python experiments/simpler_sweep.py policy=ws://127.0.0.1:8000 backend=simpler_env  # on the original

The same command continues where it stopped; finished trials are not repeated, and trials whose server did not answer
are tried again. Leaves ledger.jsonl, episodes.parquet, summary.json, table.md and videos/. A variant whose assets are
missing is reported as not run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from episodes.files import writer_lock, writing
from episodes.stopping import refusing
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler.plan import plan_table, planned, with_assets
from experiments.simpler.sweep import folder_of, run_in
from experiments.simpler.worker import policy_content


def run_all(settings: SimplerSweepConfig) -> None:
    plan = planned(settings)
    if settings.dry_run:
        print(plan_table(plan))
        return
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


def parse(arguments: Sequence[str]) -> SimplerSweepConfig:
    """Settings from key=value words; ValueError naming an unknown key or a bad value."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(SimplerSweepConfig), OmegaConf.from_dotlist(list(arguments)))
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        known = ", ".join(f.name for f in fields(SimplerSweepConfig))
        raise ValueError(f"{str(error).splitlines()[0]}; the settings are {known}") from error
    assert isinstance(settings, SimplerSweepConfig)
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    with refusing("simpler_sweep"):
        try:
            run_all(parse(sys.argv[1:] if arguments is None else arguments))
        except ConnectionError as error:
            raise ValueError(str(error)) from error


if __name__ == "__main__":
    main()
