"""The value benchmark: episodes, models trained or loaded, their scores, the scorecard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from experiments.bench.files import load_scores, save_scores, saved
from experiments.bench.schemas import ValueBenchConfig
from experiments.bench.stages import make_bench, make_pairs, pairs_for, tested_of, trained
from experiments.bench.tables import sentence, table
from experiments.loop.applied import check_applied
from experiments.loop.checks import check_backend, check_device
from experiments.loop.pinned import pin
from experiments.loop.run_folder import RunFolder, write_json
from experiments.report.bench_page import draw_bench_videos, write_bench_report
from valuefns.bench.annotations import write_csv
from valuefns.bench.scorecard import ModelScores, headline_row, rows_of, score_model
from valuefns.registry import reads_latents
from valuefns.trained_on import seen_episodes


def run_all(config: DictConfig) -> None:
    """Make the episodes, train or load each model, score it, and write the scorecard."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ValueBenchConfig)
    if settings.valuefn is not None:
        name = settings.valuefn.name
        settings = replace(settings, models=[name], valuefns={name: settings.valuefn})
    check(settings)
    run = RunFolder("value_bench", config, f"Value benchmark: {', '.join(settings.models)}", leaves="report.html")
    print(f"{'Continuing' if run.continued else 'Run'} {run.path}", flush=True)
    asked = {name: settings.valuefns[name] for name in settings.models if name in settings.valuefns}
    used: dict[str, Any] = {"valuefns": asked}
    if any(map(reads_latents, asked.values())):
        used |= {"latents": settings.latents}
    used, checkpoints = pin(used, run.facts.get("checkpoints"))
    settings = replace(settings, valuefns=settings.valuefns | used.pop("valuefns"), **used)
    run.record("checkpoints", checkpoints)
    with run.stage("episodes"):
        bench = make_bench(settings)
        tested = tested_of(bench)
        if not tested:
            raise ValueError("no episode of the split `test` to score; annotate some")
        made = make_pairs(settings)
        write_csv(run.path / "annotations.csv", bench.annotations)
        for (task, group, reason), n in sorted(bench.rejected.items()):
            print(f"  left out: {n} of {task} {group}: {reason}", flush=True)
        print(
            f"  {len(tested)} test episodes, {len(bench.split('train'))} to learn from ({bench.store.path})", flush=True
        )
    results: list[ModelScores] = []
    for name in settings.models:
        folder = run.path / "models" / name
        if not saved(folder):
            with run.stage(name):
                value = trained(settings, name, bench)
                shown = bench.store.select([a.episode for a in tested])
                if seen := seen_episodes(getattr(value, "trained_on", None), shown):
                    print(
                        f"  WARNING: {name} was trained on {len(seen)} of the {len(tested)} test episodes", flush=True
                    )
                pairs = pairs_for(settings.valuefns.get(name), made)
                result = score_model(name, value, bench.store, tested, settings.probe_experts, pairs=pairs)
                save_scores(folder, result)
        results.append(load_scores(folder))
        print(f"  {sentence(headline_row(results[-1], rows_of(results[-1])))}", flush=True)
    with run.stage("report"):
        rows = {result.model: rows_of(result) for result in results}
        heads = [headline_row(result, rows[result.model]) for result in results]
        write_json(run.path / "summary.json", {"command": run.facts["command"], "seed": settings.seed, "rows": heads})
        write_json(run.path / "metrics.json", {"rows": [row for part in rows.values() for row in part]})
        write_atomic(run.path / "table.md", table(heads, results))
        draw_bench_videos(run.path, bench.store, results, settings.videos)
    run.finish()
    page = write_bench_report(run.path)
    print(table(heads, results), f"Report: {page}", sep="\n", flush=True)


def check(settings: ValueBenchConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work."""
    known = [*settings.valuefns, *settings.checkpoints]
    unknown = [m for m in settings.models if m not in known]
    if unknown or not settings.models or len(set(settings.models)) != len(settings.models):
        raise ValueError(f"models={list(settings.models)}: name some of {', '.join(dict.fromkeys(known))}, each once")
    latent = [m for m in settings.models if m in settings.valuefns and reads_latents(settings.valuefns[m])]
    if latent and settings.bench.image_size % 32 and not settings.data.path:
        raise ValueError(f"bench.image_size={settings.bench.image_size}: {latent[0]} needs multiples of 32; use 64")
    for name in settings.models:
        if name not in settings.checkpoints:
            check_backend(settings.valuefns[name])
            check_applied(settings.valuefns[name])
    check_device(settings.device)
