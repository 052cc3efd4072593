"""A package for the web, run by node where that is at hand.

What runs is nasc's own JavaScript: who calls this has seen that the package's is the same.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from nasc.errors import PackageError
from nasc.package.golden import Golden, allowed_difference
from nasc.package.installed import installed_program
from profilers import RuntimeMissing
from profilers.browser.library import VARIABLE as RUNTIME_VARIABLE
from profilers.browser.library import named_folder

OLDEST_NODE = 20
"""Its major release: fetch, web streams and crypto are there without flags."""

TIMEOUT_S = 300.0
"""2,400 texts and twelve vectors take 2 to 5 s on a core of 2026."""

_CHECK = Path(__file__).resolve().parent / "web_check.mjs"


def node() -> str | None:
    """The command of node; None where it is missing or too old."""
    return installed_program("node", "--version", r"^v(\d+)\.", OLDEST_NODE)


def runtime_folder() -> Path | None:
    """The folder that `RUNTIME_VARIABLE` names; None where it names none.

    Raises:
        PackageError: If it is another package than onnxruntime-web, or another release of it.
    """
    try:
        return named_folder()
    except RuntimeMissing as error:
        raise PackageError(str(error)) from error


def run_in_node(folder: Path, tolerance: float) -> tuple[bool | None, str]:
    """Whether a package's JavaScript reproduces its golden texts.

    Args:
        folder: The package.
        tolerance: How far a value of a vector may be off, of the largest above 1.

    Returns:
        True, False, or None where node is missing; and what was found.

    Raises:
        PackageError: See `runtime_folder`.
        OSError, ValueError: If golden.json cannot be read.
    """
    command = node()
    if command is None:
        return None, f"node {OLDEST_NODE} or newer is not installed"
    runtime = runtime_folder()
    arguments = [command, str(_CHECK), str(folder.resolve())]
    arguments += [] if runtime is None else [str(runtime.resolve())]
    try:
        done = subprocess.run(arguments, capture_output=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False, f"it took longer than {TIMEOUT_S:g} s"
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line] or lines
        return False, f"it failed: {' '.join(errors[:1])[:300]}"
    found: dict[str, Any] = json.loads(done.stdout)
    if found["wrong"]:
        return False, f"other tokens for {', '.join(map(repr, found['wrong']))}"
    said = f"the tokens of {found['texts']:,} texts"
    if runtime is None:
        return True, f"{said}; its vectors with {RUNTIME_VARIABLE} alone"
    texts = Golden.read(folder / "golden.json").texts
    allowed = allowed_difference(tolerance, [one.vector for one in texts])
    off = float("inf") if found["difference"] == "infinite" else float(found["difference"])
    return off <= allowed, f"{said}; vectors differ by {off:.2g}, {allowed:.2g} are allowed"
