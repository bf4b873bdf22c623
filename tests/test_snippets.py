"""Python in the pages is Python, and every name that it imports from here is there."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    (str(page.relative_to(ROOT)), code)
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]
ROOMS = ("foresight", "episodes", "networks", "envs", "valuefns", "agents", "experiments", "tests")


@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[f"{page}-{k}" for k, (page, _) in enumerate(BLOCKS)])
def test_what_it_imports_is_there(page: str, code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            module = importlib.import_module(node.module)
            missing = [
                a.name for a in node.names if not hasattr(module, a.name) and not _is_module(node.module, a.name)
            ]
            assert not missing, f"{page}: {node.module} has no {missing}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("foresight", "envs")
        ):
            assert hasattr(importlib.import_module(node.value.id), node.attr), f"{page}: {node.value.id}.{node.attr}"


def _is_module(package: str, name: str) -> bool:
    return (Path(ROOT, *package.split("."), f"{name}.py")).exists()
