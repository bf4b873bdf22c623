"""docs/results.md, and the figures that README shows, from the tables under results/ alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from experiments.data.schemas import ResultsConfig
from experiments.loop.results import gains

SECTIONS = {  # folder of results/ -> title, and what was asked
    "methods": (
        "Methods and values",
        "Does a value that looks ahead make a better policy? Every method on every value.",
    ),
    "sight": ("Does the value look?", "Probes and counterfactual pictures, as the value functions stand."),
    "sight_without_swap": ("Does the value look? Before", "The same of ViVa before joints were swapped in training."),
    "value_bench": ("Value bench", "Which value knows a pause and a mistake?"),
    "ablation_viva": (
        "ViVa's ablation",
        "What each part of ViVa is worth. Made before joints were swapped in training.",
    ),
    "ablation_wvm": ("WVM's ablation", "WVM's table 4 at this size."),
    "shaping": ("Values as rewards", "Does a learned value work as a reward?"),
    "videovla": ("VideoVLA's ablation", "VideoVLA's table 9 at this size."),
    "simpler_oracles": (
        "SIMPLER by scripts",
        "Are the tasks solvable? The scripted demonstrators on the papers' protocol.",
    ),
    "simpler_coke": ("SIMPLER by VideoVLA", "A tiny VideoVLA on picking the coke can."),
}
DEFAULT = "default"
"""The folder of results/ with the summary and the evaluated episodes of the default run."""
BEGIN, END = "<!-- default run: begin -->", "<!-- default run: end -->"
MEANING = {
    "bc": "clone all demonstrations",
    "filtered_bc": "clone the steps with the best advantages",
    "awr": "weigh every step by its advantage",
    "recap": "learn which steps are good, act as in those",
}


def run_all(config: DictConfig) -> None:
    """Write the page of results and the default run's table in README."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ResultsConfig)
    results, page, readme = Path(settings.results), Path(settings.page), Path(settings.readme)
    write_atomic(page, results_page(results).encode())
    write_atomic(readme, readme_with(results, readme.read_text()).encode())
    print(f"{page} and the table in {readme}, from {results}")


def results_page(results: Path) -> str:
    """The default run's table, then the table.md of every study; one that SECTIONS lacks is a ValueError."""
    tables = {path.parent.relative_to(results).parts[0]: path for path in sorted(results.glob("*/table.md"))}
    tables |= {path.relative_to(results).parts[0]: path for path in sorted(results.glob("*/*/table.md"))}
    if unknown := sorted(set(tables) - set(SECTIONS)):
        raise ValueError(
            f"{results / unknown[0]}: not in SECTIONS of {__name__}; give it a title and its question there"
        )
    lines = [
        "# Results",
        "",
        "Written by `foresight results` from `results/`, where the cells behind every row lie. Intervals are 95 %.",
        "",
        "## The default run",
        "",
        default_table(results),
    ]
    for name in (name for name in SECTIONS if name in tables):
        title, question = SECTIONS[name]
        lines += ["", f"## {title}", "", f"{question} `{tables[name].relative_to(results.parent)}`", ""]
        lines += [_demoted(tables[name].read_text()).strip()]
    return "\n".join(lines) + "\n"


def default_table(results: Path) -> str:
    """What the default run prints, with each method's paired difference to cloning."""
    summary = json.loads((results / DEFAULT / "summary.json").read_text())
    lines = [
        f"`{summary['command']}`: Lift, 200 demonstrations of mixed quality, data seed {summary['seed']}, "
        f"{summary['rows'][0]['n']} unseen starts.",
        "",
        "| method | what it does | success | against bc, points | successes per hour |",
        "|---|---|---|---|---|",
    ]
    for row, gain in gains(results / DEFAULT):
        against = "" if gain is None else f"{100 * gain[0]:+.0f} [{100 * gain[1]:+.0f}, {100 * gain[2]:+.0f}]"
        lines.append(
            f"| {row['method']} | {MEANING.get(row['method'], '')} | {row['success']:.2f} [{row['low']:.2f}, "
            f"{row['high']:.2f}] | {against} | {row['per_hour']:.0f} |"
        )
    return "\n".join(lines)


def readme_with(results: Path, readme: str) -> str:
    """README with the default run's table between its two marks; a mark that is missing is a ValueError."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README: {BEGIN} and {END} must stand in it once each, around the default run's table")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{default_table(results)}\n{END}{rest.partition(END)[2]}"


def _demoted(text: str) -> str:
    """A table's page without its title, its headings below those of a section."""
    return re.sub(r"^##", "###", re.sub(r"\A# .*\n", "", text), flags=re.MULTILINE)
