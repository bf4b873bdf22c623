"""The rule of the house, read from the code: who may import whom (pyproject.toml), and what loads with a room."""

import ast
import json
import pathlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import ROOT

ROOMS = ("episodes", "networks", "envs", "valuefns", "agents", "experiments")
LEARNING = {"torch", "diffusers", "transformers", "accelerate", "stable_baselines3", "safetensors", "tensorboard"}
LONGEST_COMMAND = 130  # lines
SIMULATORS = {"robosuite", "mujoco", "mani_skill", "sapien"}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every absolute import, inside functions and TYPE_CHECKING blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


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
    pytest.importorskip("importlinter", reason="make setup-dev installs import-linter")
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
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


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even inside a function: a circle means that a type lies in the wrong place."""
    grimp = pytest.importorskip("grimp", reason="make setup-dev installs import-linter")
    graph = grimp.build_graph(*ROOMS, cache_dir=None)
    circles = [
        graph.find_shortest_chain(imported, module)
        for module in sorted(graph.modules)
        for imported in graph.find_modules_directly_imported_by(module)
    ]
    assert not [circle for circle in circles if circle]
