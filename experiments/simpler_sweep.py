"""A policy on SIMPLER's evaluation protocol: every variant of Visual Matching and Variant Aggregation, resumable.

    foresight sweep random dry_run=true                     # the plan, nothing is run
    foresight sweep scripted tasks=[pick_coke_can] settings=[visual_matching] images=false
    foresight sweep FOLDER workers=2 slots=4                # a saved policy
    foresight sweep ws://127.0.0.1:8000 adapter=fractal     # a policy server
    foresight sweep ws://127.0.0.1:8000 backend=simpler_env  # on the original

The same command continues where it stopped; finished trials are not repeated, and trials whose server did not answer
are tried again. Leaves ledger.jsonl, episodes.parquet, summary.json, table.md and videos/. A variant whose assets are
missing is reported as not run.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("sweep")
