"""Every public method of a public class has a docstring, its own or that of the method it overrides."""

from __future__ import annotations

import ast
from pathlib import Path

from tests import ROOT

ROOMS = ("foresight", "episodes", "networks", "envs", "valuefns", "agents", "experiments")
OUTSIDE = {  # what classes of libraries say of their own methods
    "Env": {"reset", "step", "render", "close"},
    "Wrapper": {"reset", "step", "render", "close"},
    "VectorWrapper": {"reset", "step", "close"},
    "VecEnvWrapper": {"reset", "step_wait"},
    "Module": {"forward"},
    "ServerConnection": {"process_event"},
}
Classes = dict[str, list[tuple[list[str], dict[str, bool], str]]]


def read_classes(files: list[Path]) -> Classes:
    """Of every class, by name: the names of its bases, whether each method has a docstring, and where it stands."""
    found: Classes = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = [base_name(base) for base in node.bases]
                defined = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                methods = {n.name: ast.get_docstring(n) is not None for n in reversed(defined)}  # a getter counts
                found.setdefault(node.name, []).append((bases, methods, str(path)))
    return found


def base_name(base: ast.expr) -> str:
    while isinstance(base, ast.Subscript):
        base = base.value
    return base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")


def documented(name: str, method: str, classes: Classes) -> bool:
    if method in OUTSIDE.get(name, ()):
        return True
    found = classes.get(name, [])
    return any(
        m.get(method, False) or any(documented(b, method, classes) for b in bases if b != name) for bases, m, _ in found
    )


def bare_methods(files: list[Path]) -> list[str]:
    classes = read_classes(files)
    return [
        f"{path}: {name}.{method}"
        for name, infos in classes.items()
        for bases, methods, path in infos
        for method, has in methods.items()
        if not has
        and not name.startswith("_")
        and not method.startswith("_")
        and not any(documented(base, method, classes) for base in bases)
        and not path.endswith("demonstrator.py")  # its class has a base that is chosen while it runs
    ]


def test_every_public_method_says_what_it_does() -> None:
    bare = bare_methods([path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))])
    assert not bare, "\n".join(bare)


def test_the_check_sees_a_bare_method_and_takes_an_inherited_docstring(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'class A:\n    def f(self):\n        """Says."""\n    def g(self): ...\n    def _h(self): ...\n'
        "class B(A):\n    def f(self): ...\n    def g(self): ...\nclass _C:\n    def g(self): ...\n"
    )
    assert [line.split(": ")[1] for line in bare_methods([tmp_path / "a.py"])] == ["A.g", "B.g"]
