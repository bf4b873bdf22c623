"""From the words of a command line to its settings; what is wrong with a word is one line with the nearest names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf, StringNode
from omegaconf.errors import OmegaConfBaseException

from episodes.registry import load
from experiments.bench import schemas
from experiments.cli.table import Command
from experiments.cli.values import value_words
from experiments.loop.schemas import CONF, register_offered

HYDRA = (  # hydra keeps its own log and folders to itself: runs have theirs
    "hydra/job_logging=disabled", "hydra/hydra_logging=disabled", "hydra.output_subdir=null", "hydra.run.dir=.",
    "hydra.sweep.dir=runs/sweeps", "hydra.sweep.subdir=.", "hydra.job.chdir=false",
)  # fmt: skip
_TABLES = ("checkpoints=",)  # settings that hold any names, which Hydra takes for new keys
_FLAGS = {"no": "false"}  # --no-browser


def key_values(command: Command, words: Sequence[str]) -> list[str]:
    """The words as key=value: the operand gets its key, an old flag is refused with its new name."""
    result: list[str] = []
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            raise ValueError(f"{word}: settings are key=value; write {name}=VALUE (foresight {command.name} --help)")
        if "=" in word or word.startswith(("~", "+")):
            result.append(word)
        elif not command.operand:
            raise ValueError(f"{word}: settings are key=value (foresight {command.name} --help)")
        else:
            result.append(f"{command.operand}={word}")
    operands = [w for w in result if w.startswith(f"{command.operand}=")] if command.operand else []
    if command.operand.endswith("s"):  # a list: foresight label STORE STORE
        bare = [w.partition("=")[2] for w in operands if not w.partition("=")[2].startswith("[")]
        if bare:
            result = [w for w in result if w not in operands] + [f"{command.operand}=[{','.join(map(quoted, bare))}]"]
    elif len(operands) > 1:
        word = operands[1].partition("=")[2]
        one = f"one word may stand without its key, the {command.operand}"
        raise ValueError(f"{word}: {one}; write KEY={word} (foresight {command.name} --help)")
    if command.config:
        result = value_words(result)
    return [f"++{word}" if word.startswith(_TABLES) else word for word in map(readable, result)]


def quoted(text: str) -> str:
    """A text as Hydra's grammar takes it, whatever is in it."""
    if text[:1] in ("'", '"'):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def readable(word: str) -> str:
    """The word with its value quoted where the grammar cannot read it as it is (a path with blanks, a text)."""
    parser = OverridesParser.create()
    try:
        parser.parse_override(word)
    except HydraException:
        key, _, value = word.partition("=")
        word = f"{key}={quoted(value)}"
        try:
            parser.parse_override(word)
        except HydraException:
            raise ValueError(f"{key}={value}: not a setting; write key=value, a list as key=[a,b]") from None
    return word


def composed(command: Command, words: Sequence[str]) -> DictConfig:
    """The settings of a command, typed and checked; errors (ValueError) name the word and what is near it."""
    return _plain(command, words) if command.schema else _from_files(command, words)


def require_given(command: Command, config: DictConfig) -> None:
    """A ValueError where a setting that has no default is not given."""
    missing = [str(key) for key in config if key != "hydra" and OmegaConf.is_missing(config, key)]
    if missing:
        key = missing[0]
        way = f"foresight {command.name} {key.upper()}" if key == command.operand else f"{key}=..."
        raise ValueError(f"{key} is not given: {way} (foresight {command.name} --help)")


def _from_files(command: Command, words: Sequence[str]) -> DictConfig:
    schemas.register()
    register_offered(words)
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose(config_of(command, words), [*words], return_hydra_config=True)
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = [o for o in error.options or [] if not o.endswith("schema")]
        raise ValueError(f"{group}={name}: {nearest(name, options)}") from None
    except ConfigCompositionException as error:
        raise ValueError(_which_word(command, words, error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_first_line(error)) from None
    return config


def config_of(command: Command, words: Sequence[str]) -> str:
    """The primary config; an ablation of a policy has other settings than one of a value."""
    of_policy = command.name == "ablate" and "ablation=videovla" in words
    return "policy_ablation" if of_policy else command.config


def nearest(name: str, known: Sequence[str]) -> str:
    """A question after the nearest names, or what there is to choose from."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


def keys_of(config: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config."""
    for key in map(str, config) if isinstance(config, DictConfig) else ():
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(config, key) and isinstance(config._get_node(key), (DictConfig, ListConfig)):
            yield from keys_of(config[key], f"{prefix}{key}.")


def _plain(command: Command, words: Sequence[str]) -> DictConfig:
    config = OmegaConf.structured(load(command.schema))
    known = list(keys_of(config))
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.key_or_group
        if key not in known:
            raise ValueError(f"{key}: no setting of {command.name}; {nearest(key, known)}")
        value: Any = str(override.input_line).partition("=")[2]
        if not override.is_sweep_override():
            value = override.value()
        elif not isinstance(config._get_node(key), StringNode):  # a text may hold commas
            raise ValueError(f"{override.input_line}: one value at a time; a list is {key}=[a,b]")
        try:
            OmegaConf.update(config, key, value)
        except OmegaConfBaseException as error:
            raise ValueError(f"{override.input_line}: {_first_line(error)}") from None
    return config


def _which_word(command: Command, words: Sequence[str], error: Exception) -> str:
    """The word that the composition stumbled over, said in one line."""
    with initialize_config_dir(CONF, version_base="1.3"):
        chosen = [w for w in words if "." not in w.partition("=")[0] and not w.startswith(("+", "~"))]
        known: list[str] = []
        for some in (chosen, []):
            try:
                known = list(keys_of(compose(config_of(command, words), some)))
                break
            except HydraException:
                continue
    for word in words:
        key = word.partition("=")[0].partition("@")[0]
        if not key.startswith(("+", "~", "hydra")) and key.replace("/", ".") not in known:
            return f"{key}: no setting of {command.name}; {nearest(key, known)}"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = f"{_first_line(error)}: {_first_line(cause)}" if cause is not error else _first_line(error)
    return said.replace("Error merging override ", "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
