"""What one core of this machine can do at most: the roofs that kernels are held against.

Measured by a small program (`peaks.c`) that ziglang compiles for this very processor: multiply-adds
of float32 in registers, products of bfloat16 (AVX512-BF16) and of bytes added up in 32 bits
(AVX512-VNNI), both by AMX where it is there, and reading an array that stays in the second-level
cache and one far beyond all caches. Each is repeated over seconds, and the rate that a tenth of the
repetitions reach counts, so that a neighbour lowers none.

Without ziglang, float32 is what numpy's product of large matrices reaches, and reading what its
largest of an array of bytes does; of int8 nothing is known then.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.reading import FileRefused, read_json
from device_profiles.temporary import temporary_folder
from profilers.context import read_context
from profilers.errors import ProfilerError

SOURCE = Path(__file__).resolve().parent / "peaks.c"

CACHE_BYTES = 256 << 10
"""Of the array that stays in a cache: more than any first level, less than a second one."""

MEMORY_BYTES = 256 << 20
"""Of the array beyond the caches; those of a server's processor share some tens of MB (2026)."""

REACHED = 0.9
"""Quantile of the repeated rates that counts as the peak (chosen, 2026)."""

NOISY = 1.05
"""A peak so far above the median of its repetitions was measured on a busy machine: it is measured
again when it is asked for next, and the faster one kept (chosen, 2026)."""

PROCESSES = 3
"""Fresh processes that each quantity is measured in: memory is laid out anew in each."""

_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=gnu11")
_TIMEOUT_S = 300.0
_FORMAT = "profilers.peaks/1"
_KEPT = ("fp32", "bf16", "int8", "cache", "memory")
_UNITS = (*_KEPT, "bf16_tiles", "int8_tiles")
_MAX_RATE = 1e18


@dataclass(frozen=True, slots=True)
class Rate:
    """One measured peak.

    Attributes:
        per_s: Operations (two for a multiply-add) or bytes in a second.
        spread: What counts over the median of the repetitions: 1 on a machine that was quiet.
        by: What was measured, in words.
    """

    per_s: float
    spread: float
    by: str


@dataclass(frozen=True, slots=True)
class CorePeaks:
    """What one core can do at most.

    Attributes:
        fp32: Of float32 operations.
        bf16: Of operations on bfloat16; None where it is not known.
        int8: Of operations on bytes; None where it is not known.
        cache: Bytes that are read in a second from the second-level cache.
        memory: The same from beyond the caches.
        fingerprint: Of the processor, as `profilers.context.read_context` gives it.
    """

    fp32: Rate
    bf16: Rate | None
    int8: Rate | None
    cache: Rate
    memory: Rate
    fingerprint: str

    @property
    def spread(self) -> float:
        """The largest spread of them, see `Rate`."""
        rates = (self.fp32, self.bf16, self.int8, self.cache, self.memory)
        return max(rate.spread for rate in rates if rate is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return asdict(self)


def rate_of(repeated: Sequence[float], by: str) -> Rate:
    """The peak out of repeated rates, each in units per second.

    Raises:
        ProfilerError: There are none, or one is no positive number.
    """
    if not repeated or not all(0 < rate < _MAX_RATE for rate in repeated):
        raise ProfilerError(f"{by}: no rates were measured. Try again: nasc report --kernels")
    reached, usual = np.quantile(repeated, (REACHED, 0.5))
    return Rate(float(reached), float(reached / usual), by)


def core_peaks(cache: Path) -> CorePeaks:
    """The peaks of this machine's cores, measured once for each processor, see `NOISY`.

    Args:
        cache: The cache folder; the file in its folder `peaks` may be removed to measure anew.

    Raises:
        ProfilerError: They cannot be measured.
        OSError: They cannot be kept.
    """
    fingerprint = str(read_context()["fingerprint"])
    path = cache / "peaks" / f"{fingerprint}-{_version()}.json"
    kept = _read(path, fingerprint)
    if kept is not None and kept.spread <= NOISY:
        return kept
    found = measure_peaks(fingerprint)
    if kept is not None:
        found = faster(kept, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent, path.name) as folder:
        part = folder / path.name
        part.write_text(json.dumps({"format": _FORMAT} | found.to_dict()), encoding="utf-8")
        os.replace(part, path)
    return found


def faster(first: CorePeaks, second: CorePeaks) -> CorePeaks:
    """The larger of each peak that was measured twice: a neighbour lowers a peak and raises none.

    Args:
        first: Of a processor.
        second: Of the same one.
    """

    def larger(one: Rate, other: Rate) -> Rate:
        return max(one, other, key=lambda rate: rate.per_s)

    def known(one: Rate | None, other: Rate | None) -> Rate | None:
        rates = [rate for rate in (one, other) if rate is not None]
        return max(rates, key=lambda rate: rate.per_s, default=None)

    return CorePeaks(
        larger(first.fp32, second.fp32),
        known(first.bf16, second.bf16),
        known(first.int8, second.int8),
        larger(first.cache, second.cache),
        larger(first.memory, second.memory),
        second.fingerprint,
    )


def measure_peaks(fingerprint: str) -> CorePeaks:
    """Measures the peaks now, in some ten seconds.

    Args:
        fingerprint: Of this machine's processor.

    Raises:
        ProfilerError: They cannot be measured.
    """
    rates = _by_program() if _has_compiler() else None
    if rates is None:
        return CorePeaks(
            rate_of(_repeated(_sgemm), "numpy's product of 1024 x 1024 matrices in float32"),
            None,
            None,
            rate_of(_repeated(_reader(CACHE_BYTES)), "numpy's largest of an array in the cache"),
            rate_of(_repeated(_reader(MEMORY_BYTES)), "numpy's largest of an array of 256 MiB"),
            fingerprint,
        )
    named = {"bf16": "AVX512-BF16", "int8": "AVX512-VNNI"}
    products: dict[str, Rate | None] = dict.fromkeys(named)
    for name, instructions in named.items():
        if found := rates.get(f"{name}_tiles"):
            products[name] = rate_of(found, "AMX products in tiles")
        elif found := rates.get(name):
            products[name] = rate_of(found, f"{instructions} products in registers")
    return CorePeaks(
        rate_of(rates.get("fp32", ()), "multiply-adds of float32 in registers"),
        products["bf16"],
        products["int8"],
        rate_of(rates.get("cache", ()), "reading an array of 256 KiB"),
        rate_of(rates.get("memory", ()), "reading an array of 256 MiB"),
        fingerprint,
    )


def _has_compiler() -> bool:
    return importlib.util.find_spec("ziglang") is not None


def _by_program() -> Mapping[str, Sequence[float]] | None:
    """Rates by what they are of; None where the program cannot be built or run here."""
    rates: dict[str, list[float]] = {name: [] for name in _UNITS}
    with tempfile.TemporaryDirectory(prefix="nasc-peaks-") as name:
        folder = Path(name)
        program = folder / "peaks"
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": str(folder)}
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder))
        build = [
            sys.executable,
            "-P",
            "-m",
            "ziglang",
            "cc",
            *_FLAGS,
            str(SOURCE),
            "-o",
            str(program),
        ]
        if _output(build, environment) is None:
            return None
        for _ in range(PROCESSES):
            said = _output([str(program), str(CACHE_BYTES), str(MEMORY_BYTES)], environment)
            if said is None:
                return None
            for line in said.splitlines():
                name, _sep, rate = line.partition(" ")
                if name in rates:
                    rates[name].append(float(rate))
    return {name: found for name, found in rates.items() if found}


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _repeated(rate: Callable[[], float]) -> list[float]:
    return [rate() for _ in range(20)]


def _sgemm() -> float:
    matrix = np.ones((1024, 1024), np.float32)
    start = time.thread_time()
    np.dot(matrix, matrix)
    return float(2 * 1024**3 / max(time.thread_time() - start, 1e-9))


def _reader(size: int) -> Callable[[], float]:
    data = np.zeros(size, np.uint8)
    times = max(1, (32 << 20) // size)

    def read() -> float:
        start = time.perf_counter()
        for _ in range(times):
            data.max()
        return size * times / max(time.perf_counter() - start, 1e-9)

    return read


def _version() -> str:
    """Changes with what is measured and how."""
    made_of = SOURCE.read_bytes() + repr((_FLAGS, _FORMAT, _has_compiler())).encode()
    return hashlib.sha256(made_of).hexdigest()[:8]


def _read(path: Path, fingerprint: str) -> CorePeaks | None:
    """Kept peaks; None where there are none that can be used."""
    try:
        data = read_json(path)
        if data["format"] != _FORMAT or data["fingerprint"] != fingerprint:
            return None
        rates = {name: None if data[name] is None else _kept(data[name]) for name in _KEPT}
    except (OSError, FileRefused, KeyError, TypeError, ValueError):
        return None
    fp32, cache, memory = rates["fp32"], rates["cache"], rates["memory"]
    if fp32 is None or cache is None or memory is None:
        return None
    return CorePeaks(fp32, rates["bf16"], rates["int8"], cache, memory, fingerprint)


def _kept(data: Mapping[str, Any]) -> Rate:
    per_s, spread = float(data["per_s"]), float(data["spread"])
    if not (0 < per_s < _MAX_RATE and math.isfinite(spread)):
        raise ValueError(data)
    return Rate(per_s, spread, str(data["by"]))
