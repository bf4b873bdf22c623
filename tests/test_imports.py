"""The rule of the house, read from the code: who may import whom, and what loads with a room."""

import ast
import json
import pathlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import ROOT

MAY_IMPORT = {
    "episodes": set(),
    "networks": {"episodes"},
    "envs": {"episodes"},
    "valuefns": {"episodes", "networks"},  # and envs, from the places below
    "agents": {"episodes", "networks", "envs", "valuefns"},
    "experiments": {"episodes", "networks", "envs", "valuefns", "agents"},
}
VALUEFNS_WITH_ENVS = ("valuefns/bench/", "valuefns/shaping")
LEARNING = {"torch", "diffusers", "transformers", "accelerate", "stable_baselines3", "safetensors", "tensorboard"}
LONGEST_COMMAND = 130  # lines
SIMULATORS = {"robosuite", "mujoco", "mani_skill", "sapien"}


def sources(root: pathlib.Path) -> Iterator[tuple[str, ast.Module]]:
    """(path relative to root, parsed module) of every Python file in the rooms."""
    for room in MAY_IMPORT:
        for path in sorted((root / room).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text(), str(path))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every absolute import, inside functions and TYPE_CHECKING blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def import_faults(root: pathlib.Path) -> list[str]:
    """One readable line for every import between rooms that the rule forbids."""
    faults = []
    for path, tree in sources(root):
        room = path.split("/")[0]
        allowed = MAY_IMPORT[room] | {room}
        if path.startswith(VALUEFNS_WITH_ENVS):
            allowed.add("envs")
        for line, name in imported(tree):
            if name in {*MAY_IMPORT, "tests"} - allowed:
                faults.append(f"{path}:{line}: {room} must not import {name} (it may: {sorted(allowed - {room})})")
    return faults


def modules_of(room: str) -> list[str]:
    """Dotted names of the room and of all its submodules."""
    return [room, *(m.name for m in pkgutil.walk_packages([str(ROOT / room)], f"{room}."))]


def direct_imports(module: str) -> set[str]:
    """The top-level packages that a module's own file names anywhere."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return {name for _, name in imported(ast.parse(path.read_text()))}


def loaded_by(modules: list[str], cwd: pathlib.Path = ROOT) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after importing `modules`."""
    code = f"import importlib, json, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"importing {modules} failed:\n{done.stderr}"
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_rooms_import_only_what_the_rule_allows():
    faults = import_faults(ROOT)
    assert not faults, "imports against the rule of the house:\n" + "\n".join(faults)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_importing_a_room_loads_no_simulator_and_no_model_library(room):
    heavy = loaded_by([room]) & (LEARNING | SIMULATORS | (set() if room == "envs" else {"gymnasium"}))
    assert not heavy, f"import {room} loads {sorted(heavy)}; import them inside the leaf file that needs them"


def test_all_of_episodes_loads_no_learning_library_and_no_simulator():
    heavy = loaded_by(modules_of("episodes")) & (LEARNING | SIMULATORS | {"gymnasium"})
    assert not heavy, f"some file in episodes/ loads {sorted(heavy)}"


def test_envs_loads_no_learning_library():
    # ManiSkill's arrays are torch tensors: files that import it may use torch for them, and nothing else of learning
    tensors = {m: {"torch"} if "mani_skill" in direct_imports(m) else set() for m in modules_of("envs")}
    named = [(m, direct_imports(m) & LEARNING - tensors[m]) for m in modules_of("envs")]
    named = [f"{m} imports {sorted(names)}" for m, names in named if names]
    assert not named, "envs loads no learning:\n" + "\n".join(named)
    # files that import a simulator may not be importable everywhere, and simulators load torch themselves
    plain = [m for m in modules_of("envs") if not direct_imports(m) & SIMULATORS]
    loaded = loaded_by(plain)
    if not loaded & SIMULATORS:  # else one of them is reached through another file: the check above stands alone
        assert not loaded & LEARNING, f"{plain} load {sorted(loaded & LEARNING)}"


@pytest.mark.parametrize(
    ("path", "code", "fault"),
    [
        ("episodes/a.py", "import networks", "episodes/a.py:1: episodes must not import networks"),
        ("networks/a.py", "def f():\n    from envs import x", "networks/a.py:2: networks must not import envs"),
        ("envs/b/a.py", "from valuefns.viva import x", "envs/b/a.py:1: envs must not import valuefns"),
        ("valuefns/viva.py", "import envs.rollout", "valuefns/viva.py:1: valuefns must not import envs"),
        ("agents/a.py", "import os, experiments.conf", "agents/a.py:1: agents must not import experiments"),
        ("experiments/a.py", "import tests.conftest", "experiments/a.py:1: experiments must not import tests"),
        ("valuefns/bench/run.py", "import envs", None),
        ("valuefns/shaping.py", "import envs", None),
        ("agents/b.py", "import envs, valuefns\nfrom networks import flow\nfrom . import experiments", None),
    ],
)
def test_the_import_check_sees(tmp_path, path, code, fault):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(code)
    found = import_faults(tmp_path)
    assert found[0].startswith(fault) if fault else not found


def modules_named(node: ast.AST) -> list[str]:
    """The dotted names that may be modules in an import; none of anything else."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def command_faults(experiments: pathlib.Path) -> list[str]:
    """What on the top floor of experiments/ is no thin command: too long, or imported by another one."""
    faults = []
    commands = {path.stem: path for path in sorted(experiments.glob("*.py")) if path.stem != "__init__"}
    for name, path in commands.items():
        text = path.read_text()
        if len(text.splitlines()) >= LONGEST_COMMAND:
            faults.append(f"{name}: {len(text.splitlines())} lines; move its machinery to a room below")
        for node in ast.walk(ast.parse(text)):
            others = sorted(set(modules_named(node)) & {f"experiments.{other}" for other in commands})
            faults += [f"{name}:{node.lineno}: a command imports the command {other}" for other in others]  # type: ignore[attr-defined]
    return faults


def test_the_top_floor_of_experiments_is_thin_commands():
    assert not command_faults(ROOT / "experiments")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from experiments import b", "a:1: a command imports the command experiments.b"),
        ("def f():\n    from experiments.b import x", "a:2: a command imports the command experiments.b"),
        ("import experiments.b", "a:1: a command imports the command experiments.b"),
        ("x = 1\n" * LONGEST_COMMAND, f"a: {LONGEST_COMMAND} lines"),
        ("from experiments.loop import b\nfrom experiments.loop.b import a", None),
    ],
)
def test_the_command_check_sees(tmp_path, code, fault):
    (tmp_path / "a.py").write_text(code)
    (tmp_path / "b.py").write_text("")
    found = command_faults(tmp_path)
    assert found[0].startswith(fault) if fault else not found


def test_the_load_probe_sees_what_a_package_pulls_in(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("import heavy.deep")
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "deep.py").write_text("")
    assert {"room", "heavy"} <= loaded_by(["room"], cwd=tmp_path)
