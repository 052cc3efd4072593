"""What is imported is what pyproject.toml says is needed.

The wheel is tried out among the packages of the developers, where nothing is missing.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("nasc", "profilers", "device_profiles")

OTHER_NAMES = {
    "sklearn": "scikit-learn",
    "pyarrow": "datasets",
    "pynvml": "nvidia-ml-py",
    "tvm": "apache-tvm",
    "tvm_ffi": "apache-tvm-ffi",
}
"""Packages that modules of another name come with."""

NEVER_ASKED_FOR = {"sentence-transformers"}
"""What is used where it happens to be installed."""


def imports(tree: ast.AST, at_once: bool = True) -> Iterator[tuple[str, bool]]:
    """Top-level names of what is imported, and whether it is when the module itself is."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], at_once
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from imports(node, at_once and not function and not types)


def names(requirements: list[str]) -> set[str]:
    """Names of packages, without versions and extras."""
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in requirements}


def foreign(module: str) -> bool:
    return module not in sys.stdlib_module_names and module not in PACKAGES


def of_a_runtime(file: Path) -> bool:
    """Whether a module is imported by the name of a runtime that may be missing."""
    folders = (ROOT / "profilers" / "runtimes", ROOT / "nasc" / "lowering")
    return any(folder in file.parents for folder in folders)


def package_of(module: str) -> str:
    return OTHER_NAMES.get(module, module.replace("_", "-").lower())


def test_imports_are_told_apart() -> None:
    text = (
        "import a.b\nfrom . import c\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    import d\ntry:\n    from e.f import g\nexcept ImportError:\n    import h\n"
        "class I:\n    def i(self):\n        import j\n"
    )
    found = dict(imports(ast.parse(text)))
    assert found == {"a": True, "typing": True, "d": False, "e": True, "h": True, "j": False}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_asked_for(package: str) -> None:
    needed = names(PROJECT["dependencies"])
    extras = (
        names(lines) for extra, lines in PROJECT["optional-dependencies"].items() if extra != "dev"
    )
    optional = needed.union(NEVER_ASKED_FOR, *extras)
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    missing = [
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module, at_once in imports(ast.parse(file.read_text(encoding="utf-8")))
        if foreign(module)
        and package_of(module) not in (needed if at_once and not of_a_runtime(file) else optional)
    ]
    assert not missing
