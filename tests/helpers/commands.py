"""Commands run in this process, as `foresight` runs them."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf, open_dict

from experiments.cli import main
from experiments.cli.settings import composed, key_values
from experiments.cli.table import find


def foresight(*words: object) -> int:
    """The exit status of `foresight WORD ...`; what it refuses is a SystemExit with the line that it prints."""
    try:
        main([str(word) for word in words])
    except SystemExit as error:
        if isinstance(error.code, str):
            raise
        return int(error.code or 0)
    return 0


def settings_of(name: str, *words: str) -> Any:
    """The settings that the words give a command; errors are those of `foresight`."""
    command = find(name)
    assert command is not None, name
    config = composed(command, key_values(command, words))
    with open_dict(config):
        config.pop("hydra", None)
    return OmegaConf.to_object(config)
