"""What `foresight`, `foresight COMMAND --help` and the completion of shells print."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from experiments.cli.settings import composed, keys_of
from experiments.cli.table import COMMANDS, GROUPS, Command, find
from experiments.loop.schemas import CONF

EXAMPLES = 3
GRAMMAR = "Settings are key=value: seed=1, methods=[bc,awr], evaluation.trials=20; -m runs every combination of lists."


def overview() -> str:
    """The commands, grouped, a line each."""
    lines = ["foresight COMMAND key=value ...     (foresight COMMAND --help explains one)"]
    for group, title in GROUPS.items():
        lines += ["", title]
        lines += [f"  {c.name:<9} {c.does}" for c in COMMANDS if c.group == group]
    lines += ["", "foresight completion bash|zsh prints what makes the shell complete commands and settings."]
    return "\n".join(lines)


def explained(command: Command) -> str:
    """Purpose, examples, groups of settings and the settings most used, with their defaults."""
    source = (Path(CONF).parent / command.file).read_text()
    text = ast.get_docstring(ast.parse(source), clean=False) or ""
    purpose, *rest = text.split("\n\n")
    examples = [line.strip() for line in text.splitlines() if re.match(r"    (foresight|accelerate) ", line)]
    operand = f" [{command.operand.upper()}]" if command.operand else ""
    lines = [f"foresight {command.name}{operand} key=value ...", "", purpose, ""]
    lines += [f"  {example}" for example in examples[:EXAMPLES]]
    lines += ["", *(fill(" ".join(part.split()), 110) for part in rest if not part.startswith("    ")), ""]
    config = composed(command, [])
    chosen = command.shown or tuple(keys_of(config))
    settings = OmegaConf.get_type(config)
    assert settings is not None, "every command's settings are a dataclass"
    told = comments(settings, "")
    groups = [key for key in chosen if command.config and (Path(CONF) / key).is_dir()]
    rows = [(key, default(config, key), told.get(key, "")) for key in chosen if key not in groups]
    if groups:
        lines += ["Groups (group=NAME; group.KEY=VALUE changes a setting of it):"]
        lines += [fill(", ".join(options(g)), 110, initial_indent=f"  {g:<10} ", subsequent_indent=" " * 13)
                  for g in groups] + [""]  # fmt: skip
    wide = min(42, max((len(f"{key}={value}") for key, value, _ in rows), default=0))
    lines += ["Settings:" if command.schema else "Settings most used:"]
    lines += [f"  {f'{key}={value}':<{wide}}  {what}".rstrip() for key, value, what in rows]
    return "\n".join([*lines, "", GRAMMAR])


def options(group: str) -> list[str]:
    """The names of a group of settings: files of experiments/conf/GROUP."""
    files = sorted((Path(CONF) / group).rglob("*.yaml"))
    return [str(path.relative_to(Path(CONF) / group).with_suffix("")) for path in files]


def default(config: DictConfig, key: str) -> str:
    """The default of a setting as one would type it."""
    if OmegaConf.is_missing(config, key):
        return "???"
    value = OmegaConf.select(config, key)
    if OmegaConf.is_list(value):
        return f"[{','.join(map(str, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, (int, float, str)) else "..."


def comments(settings: type[Any], prefix: str) -> dict[str, str]:
    """Dotted name -> the comment beside the field of a settings dataclass and of those in it."""
    told: dict[str, str] = {}
    for cls in reversed([c for c in settings.__mro__ if is_dataclass(c)]):
        for name, what in re.findall(r"^    (\w+): [^#\n]*?  # (.+)$", inspect.getsource(cls), re.MULTILINE):
            told[prefix + name] = what
    kinds = get_type_hints(settings)
    for field in fields(settings):
        if isinstance(kinds[field.name], type) and is_dataclass(kinds[field.name]):
            told |= comments(kinds[field.name], f"{prefix}{field.name}.")
    return told


def completion(words: Sequence[str]) -> str:
    """The script of a shell, or, asked by it, what may follow the words."""
    if words[:1] == ["words"]:
        return "\n".join(candidates(words[1:]))
    if list(words) not in (["bash"], ["zsh"]):
        return "foresight completion bash >> ~/.bashrc   (or zsh >> ~/.zshrc)"
    start = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" if words[0] == "zsh" else ""
    return start + SCRIPT


SCRIPT = """_foresight() {
    local line="${COMP_LINE:0:$COMP_POINT}"
    COMPREPLY=($(compgen -W "$(foresight completion words $line 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -o default -F _foresight foresight"""


def candidates(line: Sequence[str]) -> list[str]:
    """What may stand for the last word of a line that begins with `foresight`: commands, settings, names of a group."""
    if len(line) < 2 or find(line[1]) is None:
        return [c.name for c in COMMANDS]
    command = find(line[1])
    assert command is not None
    key, equals, _ = line[-1].partition("=")
    if equals and command.config and (Path(CONF) / key).is_dir():
        return options(key)
    return [] if equals else [f"{known}=" for known in keys_of(composed(command, []))]
