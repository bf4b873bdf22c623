"""Runs a command: help, completion, settings checked before anything heavy is imported, and then the work itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from episodes.registry import load
from episodes.stopping import refusing
from experiments.cli import settings as given
from experiments.cli.table import COMMANDS, Command, find


def main(arguments: Sequence[str] | None = None) -> None:
    """`foresight`: without a command, with --help, or for one that is not there, what there is."""
    from experiments.cli import help as told

    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(told.overview())
        return
    if words[0] == "completion":
        print(told.completion(words[1:]))
        return
    found = find(words[0])
    if found is None:
        names = [c.name for c in COMMANDS]
        sys.exit(f"foresight: {words[0]!r} is no command; {given.nearest(words[0], names)}")
    run(found, words[1:])


def command(name: str) -> None:
    """Run the command of a file of experiments/, as `python experiments/FILE` does."""
    found = find(name)
    assert found is not None, name
    run(found, sys.argv[1:])


def run(asked: Command, words: list[str]) -> None:
    """Run one command with its words; what its user can fix ends in one line."""
    if any(word in ("-h", "--help") for word in words):
        from experiments.cli.help import explained

        print(explained(asked))
        return
    with refusing(asked.name):
        several = [word for word in words if word in ("-m", "--multirun")]
        words = given.key_values(asked, [word for word in words if word not in several])
        if several and not asked.config:
            raise ValueError("-m: this command runs once; give lists as key=[a,b]")
        if several:
            _sweep(asked, words)
            return
        config = given.composed(asked, words)
        mode = OmegaConf.select(config, "hydra.mode") if asked.config else None
        if mode is not None and mode.name == "MULTIRUN":  # +sweep=..., +cluster=...
            _sweep(asked, words)
        else:
            _work(asked, config)


def _work(asked: Command, config: DictConfig) -> Any:
    with open_dict(config):
        config.pop("hydra", None)
    given.require_given(asked, config)
    settings = OmegaConf.to_object(config)  # each dataclass checks its own values
    if asked.check:
        load(asked.check)(settings)
    return load(asked.run)(config)


def _sweep(asked: Command, words: list[str]) -> None:
    """Every combination of the words' lists, one after the other or as Hydra's launcher has it.

    Of a command whose runs say something together, that ends it; jobs on a cluster are still running then.
    """
    import hydra

    from experiments.bench import schemas
    from experiments.loop.schemas import CONF, register_offered

    schemas.register()
    register_offered(words)

    left: list[Any] = []  # what each run of this process returned

    def each(config: DictConfig) -> None:
        with refusing(asked.name):
            left.append(_work(asked, config))

    before, sys.argv[1:] = sys.argv[1:], ["--multirun", *given.HYDRA, *words]
    try:
        hydra.main(CONF, given.config_of(asked, words), version_base="1.3")(each)()
    finally:
        sys.argv[1:] = before
    if asked.together and len(left) > 1:
        with refusing(asked.name):
            print(f"\n{load(asked.together)(left)}", flush=True)
