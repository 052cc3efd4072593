"""Runtimes, ways to reach devices and formats are axes: what differs is in a file of each.

Code that asks for one by its name is code that a new one has to be written into. It asks a
registered fact instead: `nasc.lowering.limits`, `profilers.runtimes.RUNTIMES`,
`profilers.devices.transports.TRANSPORTS`, `profilers.model_files.KINDS`, `PackageFormat`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_profiles import CONNECTIONS
from nasc.lowering import LIMITS
from nasc.package.formats import FORMATS, SHIPPED
from profilers.runtimes import NAMES

ROOT = Path(__file__).parents[2]
AXES = tuple(map(frozenset, (NAMES, LIMITS, SHIPPED, FORMATS, CONNECTIONS)))
ALL = frozenset(name for axis in AXES for name in axis)

MAY = {
    "nasc/context/settings.py": "tables are estimated for one runtime",
    "nasc/latency/key.py": "commands that measure a table leave out what nasc profile takes anyway",
    "nasc/package/formats/tvm_callers/encoder.py": "goes into packages for TVM, and looks for TVM",
    "nasc/package/formats/web_folder.py": "its own format: what the README says of latency",
    "nasc/supernet/scores.py": "scores are made by one runtime, and a supernet keeps which",
    "profilers/browser/library.py": "of one runtime: which package of npm it is",
    "profilers/browser/worker.py": "a worker of one runtime",
    "profilers/devices/native_remote.py": "the native worker is built around one runtime",
    "profilers/devices/phones.py": "phones over adb: which device files mean them",
    "profilers/runtimes/__init__.py": "the table of runtimes, and what TVM's import must not find",
}
"""Modules that compare a name all the same, and why a new one of its kind changes nothing there."""

Constants = dict[str, Any]
"""What names stand for: texts, lists of texts, and constants of a module or a class by name."""


def literal(node: ast.expr, known: Constants) -> Any:
    """The value of an expression; None where it is not written there."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        of = known.get(ast.unparse(node.value))
        return of.get(node.attr) if isinstance(of, dict) else None
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return [literal(one, known) for one in node.elts]
    return node.value if isinstance(node, ast.Constant) else None


def constants(tree: ast.Module | ast.ClassDef) -> Constants:
    """Those of a module or a class."""
    found: Constants = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = constants(node)
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            found[node.target.id] = literal(node.value, found)
        elif isinstance(node, ast.Assign):
            value = literal(node.value, found)
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = value
                elif isinstance(target, ast.Tuple) and isinstance(value, list):
                    names = [one.id for one in target.elts if isinstance(one, ast.Name)]
                    found |= dict(zip(names, value, strict=True))
    return found


def imported(tree: ast.Module, modules: dict[str, Constants]) -> Constants:
    """Other modules and their constants, by the names that they have in this one."""
    found: Constants = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(one.asname or one.name, one.name) for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [(one.asname or one.name, f"{node.module}.{one.name}") for one in node.names]
        else:
            continue
        for name, whole in names:
            module, _, constant = whole.rpartition(".")
            if whole in modules:
                found[name] = modules[whole]
            elif constant in modules.get(module, {}):
                found[name] = modules[module][constant]
    return found


def comparisons(tree: ast.Module, known: Constants) -> Iterator[tuple[int, str]]:
    """Lines that compare something with a name of one of the axes, but not with all names of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        else:
            continue
        for side in (literal(one, known) for one in sides):
            texts = {
                text
                for text in (side if isinstance(side, list) else [side])
                if isinstance(text, str) and text in ALL
            }
            if texts and not any(axis <= texts for axis in AXES):
                yield sides[0].lineno, " ".join(sorted(texts))


def test_no_code_asks_for_one_of_them_by_its_name() -> None:
    trees = {
        path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
        for place in ("nasc", "profilers", "device_profiles")
        for path in sorted((ROOT / place).rglob("*.py"))
    }
    modules = {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): constants(tree)
        for path, tree in trees.items()
    }
    found = {
        f"{path.as_posix()}:{line}: {names}"
        for path, tree in trees.items()
        for line, names in comparisons(tree, imported(tree, modules) | constants(tree))
    }
    assert {one for one in found if one.partition(":")[0] not in MAY} == set()
    assert {one.partition(":")[0] for one in found} == MAY.keys()  # none is allowed for nothing


IMPORTS = "from nasc.a import IMPORTED; import nasc.some.module; from nasc.lowering import module"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('if a.runtime == "tvm":\n    pass', ["tvm"]),
        ('x = 1 if kind not in ("local", "other") else 2', ["local"]),
        ('C, OTHER = "c", "tvm"\ny = [n for n in b if n != C]', ["c"]),
        ("z = runtime == IMPORTED", ["torch"]),
        ("z = runtime == module.NAME", ["tvm"]),
        ("z = runtime in nasc.some.module.NAMES", ["c ios"]),
        ('class A:\n    NAME: str = "aar"\nz = kind == A.NAME', ["aar"]),
        ("z = runtime == module.OTHER or runtime == a.NAME", []),
        ('SOME = ("ssh", "adb")\nprint(a in SOME)', ["adb ssh"]),
        ('match name:\n    case "aar":\n        pass', ["aar"]),
        ('ROWS = {"tvm": 1}\nx = ROWS[name]\nassert name in ROWS', []),
        (f"EVERY = {CONNECTIONS}\nprint(a in EVERY)", []),
    ],
)
def test_the_check_sees_a_comparison(source: str, found: list[str]) -> None:
    tree = ast.parse(f"{IMPORTS}\n{source}")
    modules: dict[str, Constants] = {
        "nasc.a": {"IMPORTED": "torch"},
        "nasc.some.module": {"NAMES": ["c", "ios"]},
        "nasc.lowering.module": {"NAME": "tvm"},
    }
    known = imported(tree, modules) | constants(tree)
    assert [name for _, name in comparisons(tree, known)] == found
