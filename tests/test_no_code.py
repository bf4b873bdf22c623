"""Nothing that is loaded can run code: read from the source of all rooms, their settings files and the scripts."""

import ast
import pathlib
import re

import pytest

from tests.test_imports import ROOMS, ROOT

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.hub.load", "torch.package.PackageImporter",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all",
    "pandas.read_pickle", "hydra.utils.instantiate", "hydra.utils.call", "numpy.lib.format.read_array",
}  # fmt: skip
# (file, module): exceptions travel between a run's own processes in memory; nothing is read from a file
IN_MEMORY_ONLY = {("episodes/workers.py", "pickle"), ("episodes/job.py", "pickle")}


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or an attribute chain, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    head = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{head}.{node.attr}" if head else ""  # type: ignore[attr-defined]


def full_names(tree: ast.AST) -> dict[str, str]:
    """{name in this file: what it stands for}, so that `import numpy as np` and `from torch import load` are seen."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return names


def constant(call: ast.Call, name: str) -> object:
    """The constant given for a keyword, `...` where it is no constant, None where it is not given."""
    values = [k.value for k in call.keywords if k.arg == name]
    return None if not values else values[0].value if isinstance(values[0], ast.Constant) else ...


def faults_of(path: str, tree: ast.Module) -> list[str]:
    """One readable line for every way in which this file could run code that it loads."""
    faults, names = [], full_names(tree)
    for node in ast.walk(tree):
        found = ""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in FORBIDDEN_MODULES and (path, module) not in IN_MEMORY_ONLY:
                    found = f"imports {module}"
        elif isinstance(node, ast.Name) and names.get(node.id, node.id) in FORBIDDEN_CALLS:
            found = names.get(node.id, node.id)  # passing it on is as bad as calling it
        elif isinstance(node, ast.Attribute):
            head, _, tail = dotted(node).partition(".")
            full = f"{names.get(head, head)}.{tail}"
            found = full if full in FORBIDDEN_CALLS else ""
        elif isinstance(node, ast.Call):
            head, _, tail = dotted(node.func).partition(".")
            call = ".".join(filter(None, (names.get(head, head), tail)))
            if call == "numpy.load" and constant(node, "allow_pickle") is not False:
                found = "numpy.load without allow_pickle=False"
            elif constant(node, "allow_pickle") not in (None, False):
                found = "allow_pickle"
            elif constant(node, "trust_remote_code") not in (None, False):
                found = "trust_remote_code"
            elif constant(node, "use_safetensors") not in (None, True):
                found = "use_safetensors is not True"
        elif isinstance(node, ast.Constant) and node.value == "_target_":
            found = "_target_"
        if found:
            faults.append(f"{path}:{node.lineno}: {found}")
    return faults


def faults(root: pathlib.Path) -> list[str]:
    """The faults of every Python and YAML file in the rooms and scripts."""
    found = []
    for room in (*ROOMS, "scripts", "benchmarks"):
        for path in sorted((root / room).rglob("*.py")):
            found += faults_of(path.relative_to(root).as_posix(), ast.parse(path.read_text(), str(path)))
        for path in sorted([*(root / room).rglob("*.yaml"), *(root / room).rglob("*.yml")]):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r"_target_|!!python|\$\{oc\.env", line):
                    found.append(f"{path.relative_to(root).as_posix()}:{number}: {line.strip()}")
    return found


def test_no_load_path_can_run_code() -> None:
    found = faults(ROOT)
    assert not found, "these could run code from a file:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import pickle as p\np.load(f)", "imports pickle"),
        ("from dill import loads", "imports dill"),
        ("import joblib.numpy_pickle", "imports joblib.numpy_pickle"),
        ("def f():\n    import shelve", "imports shelve"),
        ("import marshal", "imports marshal"),
        ("import cloudpickle", "imports cloudpickle"),
        ("from torch import load as read\nread(f)", "torch.load"),
        ("import torch\ntorch.load(f, weights_only=True)", "torch.load"),
        ("import torch as t\nreader = t.load", "torch.load"),
        ("import yaml\nyaml.load(f, Loader=yaml.SafeLoader)", "yaml.load"),
        ("from yaml import unsafe_load\nunsafe_load(f)", "yaml.unsafe_load"),
        ("import yaml\nyaml.full_load(f)", "yaml.full_load"),
        ("import pandas as pd\npd.read_pickle(f)", "pandas.read_pickle"),
        ("import numpy as np\nnp.load(f)", "numpy.load without allow_pickle=False"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "numpy.load without allow_pickle=False"),
        ("import numpy as np\nnp.load(f, allow_pickle=flag)", "numpy.load without allow_pickle=False"),
        ("from numpy import load\nload(f)", "numpy.load without allow_pickle=False"),
        ("eval('1')", "eval"),
        ("exec(code)", "exec"),
        ("list(map(eval, lines))", "eval"),
        ("Model.from_pretrained(x, trust_remote_code=True)", "trust_remote_code"),
        ("Model.from_pretrained(x, use_safetensors=False)", "use_safetensors is not True"),
        ("import hydra\nhydra.utils.instantiate(config)", "hydra.utils.instantiate"),
        ("from hydra.utils import instantiate\ninstantiate(config)", "hydra.utils.instantiate"),
        ("config = {'_target_': 'os.system'}", "_target_"),
        ("import yaml, numpy as np\nyaml.safe_load(f); np.load(f, allow_pickle=False); model.eval()", None),
        ("Model.from_pretrained(x, use_safetensors=True, trust_remote_code=False)", None),
        ("import re, os\nre.compile('x'); os.path.exists(f); eval_seeds = 3", None),
    ],
)
def test_the_check_sees(tmp_path: pathlib.Path, code: str, fault: str | None) -> None:
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / "a.py").write_text(code)
    found = faults(tmp_path)
    assert found and found[0].endswith(f": {fault}") if fault else not found, found


@pytest.mark.parametrize(
    "line", ["_target_: os.system", "x: !!python/object/apply:os.system [ls]", "x: ${oc.env:HOME}"]
)
def test_the_check_reads_settings_files(tmp_path: pathlib.Path, line: str) -> None:
    (tmp_path / "experiments/conf").mkdir(parents=True)
    (tmp_path / "experiments/conf/a.yaml").write_text(f"a: 1\n{line}\n")
    assert faults(tmp_path) == [f"experiments/conf/a.yaml:2: {line}"]
