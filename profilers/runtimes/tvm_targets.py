"""For which processor TVM's code is made, by the flags that Linux tells of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tvm

from profilers.errors import InvalidSetting

_X86 = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}),
)
"""LLVM's names of processors, best first, with the flags (as Linux calls them) that each needs
beside those of the ones below."""

_X86_EXTRA = {"avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni"}
"""Flags of which a target makes use where a processor has them, with LLVM's names."""

_ARM64 = {"asimd", "fp"}

_ARM64_EXTRA = {"asimddp": "dotprod", "asimdhp": "fullfp16", "i8mm": "i8mm", "bf16": "bf16"}

_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def needed_flags(flags: Collection[str], arch: str) -> tuple[str, ...]:
    """Which of a processor's flags the code for it makes use of, in their order.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.

    Raises:
        InvalidSetting: If networks are not made for such a processor.
    """
    has = set(flags)
    if arch == "aarch64":
        _check_flags(_ARM64, has, arch)
        return tuple(sorted(_ARM64 | (_ARM64_EXTRA.keys() & has)))
    if arch != "x86_64":
        raise InvalidSetting(
            f"networks are not made by tvm for processors of {arch!r}; known: {', '.join(_TRIPLES)}"
            ". Take another runtime: --runtime onnxruntime"
        )
    lowest = _X86[-1][1]
    _check_flags(lowest, has, arch)
    best = _X86[0][1]
    if best <= has:
        return tuple(sorted(lowest | best | (_X86_EXTRA.keys() & has)))
    return tuple(sorted(lowest | ({"avx_vnni"} & has)))


def _check_flags(needed: set[str], has: set[str], arch: str) -> None:
    lacking = sorted(needed - has)
    if lacking:
        raise InvalidSetting(
            f"networks are made by tvm for processors of {arch} with {', '.join(sorted(needed))}; "
            f"this one lacks {', '.join(lacking)}. Take another runtime: --runtime onnxruntime"
        )


def target_of(flags: Collection[str], arch: str, threads: int = 1) -> tvm.target.Target:
    """The processor that code is made for.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.
        threads: That kernels are tuned for; MetaSchedule must know.

    Raises:
        InvalidSetting: If networks are not made for such a processor.
    """
    used = set(needed_flags(flags, arch))
    config: dict[str, Any] = {"kind": "llvm", "num-cores": threads}
    if arch == "aarch64":
        config["mattr"] = ["+neon", *(f"+{x}" for f, x in _ARM64_EXTRA.items() if f in used)]
    else:
        config["mcpu"] = next(name for name, needed in _X86 if needed <= used)
        extra = [f"+{name}" for flag, name in _X86_EXTRA.items() if flag in used]
        if extra:
            config["mattr"] = extra
    config["mtriple"] = _TRIPLES[arch]
    return tvm.target.Target(config)
