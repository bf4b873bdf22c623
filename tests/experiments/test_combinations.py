"""Every task with every policy on every value: each combination runs through the whole job, at the smallest size."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from envs import TASKS
from episodes.labels import Labels
from experiments.bench import schemas as bench_schemas
from experiments.loop import recap as recap_sim
from experiments.loop import schemas
from experiments.studies import method_study, policy_ablation

POLICIES = {
    "flow_tiny": ["policy.training.steps=2"],
    "pi05_tiny": ["policy.training.steps=2", "policy.prefix.layers=1"],
}
EXPERT = [f"collect.mix.{style}=0" for style in ("hesitation", "retry_miss", "retry_drop", "failure")]
EXPERT += ["collect.mix.expert=1", "collect.max_steps=150", "collect.episodes=2", "collect.action_noise=0", "folds=1"]
VALUES = {"constant": [], "oracle": EXPERT, "viva_tiny": ["valuefn.training.steps=2", "valuefn.shifted_copies=1"]}
SMALL = [
    "methods=[recap]", "collect.episodes=4", "collect.max_steps=12", "evaluation.trials=1", "evaluation.max_steps=5",
    "videos=0", "seed=97", "evaluation.split=tune", "policy.training.batch_size=4", "workers=1", "task.image_size=32",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("combinations")  # demonstrations and values are shared, as in every run


@pytest.fixture(autouse=True)
def composing() -> Iterator[None]:
    schemas.register()
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("task", TASKS)
def test_combination(task: str, value: str, policy: str, place: Path) -> None:
    names = [f"task={task}", f"valuefn={value}", f"policy={policy}", f"runs={place}/runs", f"cache={place}/cache"]
    config = compose("recap_sim", [*names, *SMALL, *POLICIES[policy], *VALUES[value]])
    recap_sim.run_all(config)
    (run,) = (place / "runs" / "recap_sim").iterdir()
    assert (run / "summary.json").exists() and (run / "report.html").exists()
    run.rename(place / f"{task}-{value}-{policy}")


@pytest.mark.slow
def test_videovla_combines(place: Path) -> None:
    """One of the combinations: the policy trains a VAE, encodes clips and rolls out."""
    few = ["policy.training.steps=2", "policy.vae.training.steps=1", "policy.vae.training.batch_size=1"]
    few += ["policy.transformer.num_layers=1", "policy.shifted_copies=1", "policy.ddim_steps=1", "collect.episodes=2"]
    names = ["task=lift", "valuefn=constant", "policy=videovla_tiny", f"runs={place}/runs", f"cache={place}/cache"]
    recap_sim.run_all(compose("recap_sim", [*names, *SMALL, *few]))
    (run,) = (place / "runs" / "recap_sim").iterdir()
    assert (run / "summary.json").exists() and (run / "arms" / "recap" / "policy-0" / "model.safetensors").exists()
    run.rename(place / "lift-constant-videovla_tiny")


@pytest.mark.slow
def test_a_policy_s_ablation_leaves_cells_and_skips_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_schemas.register()
    small = [s for s in SMALL if not s.startswith(("methods", "seed", "evaluation.split"))]
    few = ["policy.training.steps=1", "policy.vae.training.steps=1", "policy.vae.training.batch_size=1", "seeds=[97]"]
    few += ["policy.transformer.num_layers=1", "policy.shifted_copies=1", "policy.ddim_steps=1", "collect.episodes=2"]
    few += ["rows=[default,action_only]", f"runs={place}/ablation", f"cache={place}/cache", f"results={place}/ablated"]
    config = compose("policy_ablation", [*small, *few])
    policy_ablation.run_all(config)
    table = (place / "ablated" / "videovla" / "table.md").read_text()
    assert "| action_only | 0.00 |" in table and "-50" not in table
    capsys.readouterr()
    policy_ablation.run_all(config)
    assert "data seed" not in capsys.readouterr().out.split("#")[0]
    with pytest.raises(ValueError, match=r"policy.training.lr=0.001, now 0.1"):
        policy_ablation.run_all(compose("policy_ablation", [*small, *few, "policy.training.lr=0.1"]))
    with pytest.raises(ValueError, match=r"rows=\['defaults'\]"):
        policy_ablation.run_all(compose("policy_ablation", [*small, *few, "rows=[defaults]"]))


@pytest.mark.slow
def test_method_study_leaves_cells_and_skips_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [s for s in SMALL if not s.startswith("methods")]
    few = ["rollouts=1", "values.viva.training.steps=2", "values.viva.shifted_copies=1", *POLICIES["flow_tiny"]]
    few += ["study.methods=[awr]", "study.values=[viva]", "study.plain=[bc]", "study.iterations=2"]
    few += ["study.shuffled=[awr]", "study.tokens=[none]", "study.corrections=true", "study.fine_tune=1"]
    few += ["study.same_rollouts=[awr,bc]"]
    paths = [f"runs={place}/study", f"cache={place}/cache", f"study.results={place}/results"]
    config = compose("method_study", ["task=reach", *small, *few, *paths])
    method_study.run_all(config)
    cells = {p.stem.removeprefix("reach-seed97-") for p in (place / "results" / "cells").glob("*.json")}
    assert cells == {
        "bc", "awr+viva", "awr+viva+shuffled", "recap+viva", "recap+viva+none",
        "recap+viva@2", "recap+viva@2+corrections", "value-viva",
        "awr+viva@2+rollouts_of_recap", "bc@2+rollouts_of_recap",
    }  # fmt: skip
    assert "0 cells found, 9 to run" in capsys.readouterr().out
    method_study.run_all(config)
    assert "9 cells found, 0 to run" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"policy.training.steps=2, now 3"):
        method_study.run_all(compose("method_study", ["task=reach", *small, *few, *paths, "policy.training.steps=3"]))
    table = (place / "results" / "table.md").read_text()
    (labels,) = (place / "study").glob("method_study/reach-seed97/awr+viva@2+rollouts_of_recap-*/labels-1.parquet")
    (demonstrations,) = (place / "study").glob("method_study/reach-seed97/awr+viva-*/labels-0.parquet")
    assert len(Labels.load(labels).episodes) == len(Labels.load(demonstrations).episodes) + 1, "a rollout is read, too"
    with pytest.raises(ValueError, match=r"labeller.keep=0.6, now 0.9"):
        method_study.run_all(compose("method_study", ["task=reach", *small, *few, *paths, "labeller.keep=0.9"]))
    assert (place / "results" / "table.md").read_text() == table, "no new command above old numbers"
