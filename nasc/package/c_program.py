"""The demonstrations of a C folder, built here and run as programs.

To run one is to run the code of the folder: who calls this has been told that it may.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasc.errors import ExportError
from nasc.package.formats.c_folder import COMPILED, KERNELS, NETWORK, TOKENIZER_COMPILED
from profilers import RuntimeMissing

BUILD_TIMEOUT_S = 300.0
"""A minute on a core of 2026 that others use; ziglang's first build takes the longest."""

RUN_TIMEOUT_S = 120.0
"""As that of a worker's run."""

_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2")
_LIBRARIES = ("-lpthread", "-lm")


def compiler() -> list[str]:
    """The command of a C compiler that makes programs for this machine.

    Raises:
        RuntimeMissing: If there is none.
    """
    for name in ("cc", "gcc", "clang"):
        if (found := shutil.which(name)) is not None:
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-P", "-m", "ziglang", "cc"]
    raise RuntimeMissing(
        "no C compiler (cc, gcc, clang) is installed, and no ziglang: C code cannot be built. "
        "Install one: python -m pip install ziglang"
    )


def build_program(folder: Path, demo: str, arch: str, program: Path) -> Path:
    """Build a demonstration of a C folder.

    Args:
        folder: With the files of `nasc.package.formats.c_folder`, of the prefix nasc.
        demo: Name of its source.
        arch: Of the processor, this machine's.
        program: What is made.

    Returns:
        `program`.

    Raises:
        RuntimeMissing: If there is no C compiler.
        ExportError: If it does not compile.
    """
    sources = [demo, *COMPILED, *TOKENIZER_COMPILED, f"{arch}/{NETWORK}", f"{arch}/{KERNELS}"]
    command = [*compiler(), *_FLAGS, f"-I{folder}", *(str(folder / name) for name in sources)]
    try:
        done = subprocess.run(
            [*command, *_LIBRARIES, "-o", str(program)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=BUILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"the C code did not compile within {BUILD_TIMEOUT_S:g} s by {command[0]}"
        ) from error
    if done.returncode != 0:
        raise ExportError(
            f"the C code does not compile by {command[0]}: {done.stderr.strip()[:300]}"
        )
    return program


def run_program(
    command: Sequence[str | Path], lines: Sequence[str], timeout_s: float = RUN_TIMEOUT_S
) -> list[np.ndarray]:
    """The rows of numbers that a demonstration gives for lines.

    Args:
        command: The program and its arguments.
        lines: Without line breaks.
        timeout_s: Seconds that it may take.

    Returns:
        float32, one row for each line.

    Raises:
        ExportError: If it fails, takes too long, or gives something else.
    """
    try:
        done = subprocess.run(
            list(map(str, command)),
            input="".join(f"{line}\n" for line in lines).encode(),
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"the C program took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip()[:300]
        raise ExportError(f"the C program failed ({done.returncode}): {why}")
    try:
        rows = [np.array(row.split(), np.float32) for row in done.stdout.decode().splitlines()]
    except ValueError as error:
        raise ExportError("the C program gave something else than numbers") from error
    if len(rows) != len(lines):
        raise ExportError(f"the C program gave {len(rows)} rows for {len(lines)} texts")
    return rows


class ProgramSession:
    """See `nasc.evaluation.encoder.EncoderSession`: a run is one of the program."""

    def __init__(
        self,
        program: Path,
        weights: Path,
        about: Mapping[str, Any],
        timeout_s: float = RUN_TIMEOUT_S,
    ) -> None:
        """Nothing runs yet.

        Args:
            program: The demonstration of token ids.
            weights: The weights file.
            about: The folder's description, see `nasc.package.formats.c_package`.
            timeout_s: Seconds that a run may take.
        """
        self._command = (program, weights)
        self._about = about
        self._timeout_s = timeout_s

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `EncoderSession`."""
        return {value["name"]: (value["type"], value["axes"]) for value in self._about["inputs"]}

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `EncoderSession`."""
        return {value["name"]: (value["type"], value["axes"]) for value in self._about["outputs"]}

    def metadata(self) -> dict[str, str]:
        """See `EncoderSession`."""
        return dict(self._about["metadata"])

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `EncoderSession`. What belongs to padding is 0.

        Raises:
            ExportError: If the program fails, takes too long, or gives something else.
        """
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        counts = mask.sum(axis=1)
        lines = [" ".join(map(str, row[:count])) for row, count in zip(ids, counts, strict=True)]
        rows = run_program([*self._command], lines, self._timeout_s)
        axes = self._about["outputs"][0]["axes"][1:]
        found = np.zeros((len(ids), *(size or ids.shape[1] for size in axes)), np.float32)
        for one, row, count in zip(found, rows, counts, strict=True):
            shape = tuple(size or int(count) for size in axes)
            if row.size != np.prod(shape):
                raise ExportError(f"the C program gave {row.size} numbers, not {np.prod(shape)}")
            one[tuple(slice(size) for size in shape)] = row.reshape(shape)
        return [found]
