"""The commands of `foresight`: what each is called, what it does, and where it is done; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command. Its settings are a file of experiments/conf (`config`), or a dataclass alone (`schema`)."""

    name: str
    group: str
    does: str  # in one line
    file: str  # its own, in experiments/: docstring with purpose and examples
    run: str  # module:function, given the settings as a DictConfig
    config: str = ""
    schema: str = ""  # module:dataclass
    operand: str = ""  # setting that a word without a key gives
    together: str = ""  # module:function: what the folders that the runs of a sweep return say together, as text
    check: str = ""  # module:function that refuses settings which cannot work, before anything heavy is imported
    shown: tuple[str, ...] = ()  # settings that --help explains; of a dataclass alone: all


LOOP = ("task", "valuefn", "policy", "methods", "seed", "collect.episodes", "folds", "iterations", "evaluation.trials",
        "device", "workers", "runs", "cache", "fresh", "track")  # fmt: skip
STUDY = ("task", "seed", "study.values", "evaluation.trials", "workers", "study.results", "cache")

COMMANDS = (
    Command(
        "recap", "Run", "the loop: demonstrations, value, advantages, policies, evaluation, report", "recap_sim.py",
        "experiments.loop.recap:run_all", config="recap_sim", check="experiments.loop.checks:check", shown=LOOP,
        together="experiments.loop.over_seeds:table_over_seeds",
    ),
    Command(
        "train", "Run", "one value or policy on a recorded store, on one GPU or many", "train.py",
        "experiments.models.train:run_all", config="train", operand="store",
        shown=("store", "out", "part", "labels", "valuefn", "policy", "seed", "image_size", "device"),
    ),
    Command(
        "sweep", "Run", "a policy on SIMPLER's Visual Matching and Variant Aggregation", "simpler_sweep.py",
        "experiments.simpler.run:run_all", schema="experiments.loop.schemas:SimplerSweepConfig", operand="policy",
    ),
    Command(
        "imagine", "Run", "what a VideoVLA policy imagines beside what then happens", "imagination.py",
        "experiments.models.imagine:run_all", schema="experiments.models.schemas:ImagineConfig", operand="policy",
    ),
    Command(
        "serve", "Run", "a policy (in openpi's protocol) or a value behind a websocket", "serve.py",
        "agents.serving:run_all", schema="agents.settings:ServeConfig", operand="policy",
    ),
    Command(
        "bench", "Measure", "how good is a value: one scorecard for every value function", "value_bench.py",
        "experiments.bench.run:run_all", config="value_bench",
        shown=("models", "checkpoints", "data.path", "data.annotations", "data.image_size", "train_on", "seed",
               "videos", "device"),
    ),
    Command(
        "study", "Measure", "every method on every value, over tasks and data seeds, in cells", "method_study.py",
        "experiments.studies.method_study:run_all", config="method_study",
        shown=("task", "seed", "study.methods", "study.plain", "study.fine_tune", "study.iterations", *STUDY[2:]),
    ),
    Command(
        "ablate", "Measure", "an ablation table of a value or a policy, in cells", "ablation.py",
        "experiments.studies.ablation:run_all", config="value_ablation",
        shown=("ablation", "rows", "seeds", "results", "workers", "device"),
    ),
    Command(
        "sight", "Measure", "does the value look: probes and counterfactual pictures", "sight.py",
        "experiments.studies.sight:run_all", config="sight", shown=(*STUDY, "study.pairs", "study.split"),
    ),
    Command(
        "shape", "Measure", "a value as a reward for a Stable-Baselines3 agent", "reward_shaping.py",
        "experiments.studies.shaping.run:run_all", config="reward_shaping",
        shown=("task", "agent", "agent.steps", "study.arms", "study.seeds", "study.every", "workers", "study.results"),
    ),
    Command(
        "plan", "Measure", "what a training needs: parameters, memory, how many GPUs", "plan.py",
        "experiments.models.plan:run_all", config="plan", shown=("preset", "valuefn", "policy", "gpu", "task"),
    ),
    Command(
        "import", "Data", "a dataset of another program into an episode store", "import_data.py",
        "experiments.data.importing:run_all", schema="experiments.data.schemas:ImportConfig", operand="source",
    ),
    Command(
        "export", "Data", "complete a store for training with LeRobot", "export_data.py",
        "experiments.data.exporting:run_all", schema="experiments.data.schemas:ExportConfig", operand="store",
    ),
    Command(
        "label", "Data", "the values of every step of a store, written beside it", "label.py",
        "experiments.data.label:run_all", config="label", operand="stores",
        shown=("stores", "valuefn", "backend", "image_size", "seed", "device"),
    ),
    Command(
        "advantage", "Data", "advantages, weights and indicators of a store's values", "advantage.py",
        "experiments.data.advantage:run_all", config="advantage", operand="store",
        shown=("store", "method", "labels", "labeller", "labeller.keep", "labeller.awr_temperature"),
    ),
    Command(
        "labels", "Data", "what labels do to a store: shares kept, weights, starved phases", "label_report.py",
        "experiments.data.label_report:run_all", schema="experiments.data.schemas:LabelReportConfig", operand="store",
    ),
    Command(
        "rank", "Data", "rank data sets, and their episodes, by what a value says of them", "rank_datasets.py",
        "experiments.data.rank:run_all", config="rank_datasets", operand="stores",
        shown=("stores", "valuefn", "checkpoint", "image_size", "per_store", "threshold", "device", "runs"),
    ),
    Command(
        "propose", "Data", "intervals without progress, proposed by a vision-language model", "propose_segments.py",
        "experiments.data.propose:run_all", config="propose_segments", operand="store",
        shown=("store", "valuefn.backend.model", "fps", "frames", "out"),
    ),
    Command(
        "review", "Data", "look at proposed intervals in the browser and annotate them", "review/__main__.py",
        "experiments.review.run:run_all", schema="experiments.data.schemas:ReviewConfig", operand="store",
    ),
    Command(
        "results", "Share", "the page of results and README's table, from the tables under results/", "results.py",
        "experiments.report.results_page:run_all", schema="experiments.data.schemas:ResultsConfig",
    ),
    Command(
        "share", "Share", "a folder of a trained policy or value that others can load", "share.py",
        "experiments.models.share:run_all", schema="experiments.models.schemas:ShareConfig", operand="trained",
    ),
    Command(
        "doctor", "Share", "what this machine lacks for Foresight, and what to do", "doctor.py",
        "experiments.models.examine:run_all", schema="experiments.models.schemas:DoctorConfig",
    ),
)  # fmt: skip
GROUPS = {"Run": "run it", "Measure": "measure", "Data": "your data", "Share": "machine and sharing"}


def find(name: str) -> Command | None:
    """The command of a name; None where there is none."""
    return next((c for c in COMMANDS if c.name == name), None)
