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

_AMX = {"amx_tile", "amx_int8", "amx_bf16"}

_KINDS = (
    ("amx", _X86[0][1] | _X86[1][1] | {"avx512_vnni", "avx512_bf16"} | _AMX),
    ("avx512_bf16", _X86[0][1] | _X86[1][1] | {"avx512_vnni", "avx512_bf16"}),
    ("avx512_vnni", _X86[0][1] | _X86[1][1] | {"avx512_vnni"}),
    ("avx_vnni", _X86[1][1] | {"avx_vnni"}),
    ("avx512bw", _X86[0][1] | _X86[1][1]),
    ("avx2", _X86[1][1]),
    ("asimddp", _ARM64 | {"asimddp"}),
)
"""Kinds of handwritten kernels, fastest first, with the flags that their code needs."""

_BF16_KINDS = ("amx",)
"""Those of them that multiply bfloat16: ``vdpbf16ps`` alone was slower than products of fp32 where
it was tried (Sapphire Rapids, 2026)."""

HANDWRITTEN = ("bf16", "int8")
"""Precisions whose kernels are of those kinds."""

_KIND_EXTRA = {"avx512_bf16": "avx512bf16"} | {flag: flag.replace("_", "-") for flag in _AMX}
"""As `_X86_EXTRA`, for handwritten kernels alone."""

_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def kernel_kind(flags: Collection[str], precision: str = "int8") -> str | None:
    """The handwritten kernels that are the fastest a processor runs; None where it runs none.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        precision: Of the network, "int8" or "bf16".
    """
    fit = (kind for kind, needed in _KINDS if needed <= set(flags))
    return next((kind for kind in fit if precision != "bf16" or kind in _BF16_KINDS), None)


def flags_of_kind(kind: str) -> frozenset[str]:
    """Flags of a processor that the code of a kind of handwritten kernels needs."""
    return frozenset(dict(_KINDS)[kind])


def needed_flags(flags: Collection[str], arch: str, precision: str = "fp32") -> tuple[str, ...]:
    """Which of a processor's flags the code for it makes use of, in their order.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.
        precision: Of the network.

    Raises:
        InvalidSetting: If networks are not made for such a processor.
    """
    has = set(flags)
    if arch == "aarch64":
        _check_flags(_ARM64, has, arch)
        used = _ARM64 | (_ARM64_EXTRA.keys() & has)
    elif arch != "x86_64":
        raise InvalidSetting(
            f"networks are not made by tvm for processors of {arch!r}; known: {', '.join(_TRIPLES)}"
            ". Take another runtime: --runtime onnxruntime"
        )
    else:
        best, lowest = (needed for _, needed in _X86)
        _check_flags(lowest, has, arch)
        extra = _X86_EXTRA.keys() if best <= has else {"avx_vnni"}
        used = lowest | (best if best <= has else set()) | (extra & has)
    if precision in HANDWRITTEN:
        used |= _kind_flags(has, precision)
    return tuple(sorted(used))


def _kind_flags(has: set[str], precision: str) -> set[str]:
    found = kernel_kind(has, precision)
    if found is None:
        names = _BF16_KINDS if precision == "bf16" else [kind for kind, _ in _KINDS]
        kinds = ", ".join(reversed(names))
        raise InvalidSetting(
            f"networks are made by tvm in {precision} for processors with one of {kinds}, and what "
            "goes with it; this one has none. Take another precision or runtime: --precision fp32, "
            "--runtime onnxruntime"
        )
    return set(flags_of_kind(found))


def _check_flags(needed: set[str], has: set[str], arch: str) -> None:
    lacking = sorted(needed - has)
    if lacking:
        raise InvalidSetting(
            f"networks are made by tvm for processors of {arch} with {', '.join(sorted(needed))}; "
            f"this one lacks {', '.join(lacking)}. Take another runtime: --runtime onnxruntime"
        )


def target_of(
    flags: Collection[str], arch: str, threads: int = 1, precision: str = "fp32"
) -> tvm.target.Target:
    """The processor that code is made for.

    Args:
        flags: Of the processor, as `profilers.context.read_context` gives them.
        arch: As `platform.machine` says it.
        threads: That kernels are tuned for; MetaSchedule must know.
        precision: Of the network.

    Raises:
        InvalidSetting: If networks are not made for such a processor.
    """
    used = set(needed_flags(flags, arch, precision))
    config: dict[str, Any] = {"kind": "llvm", "num-cores": threads}
    if arch == "aarch64":
        config["mattr"] = ["+neon", *(f"+{x}" for f, x in _ARM64_EXTRA.items() if f in used)]
    else:
        config["mcpu"] = next(name for name, needed in _X86 if needed <= used)
        named = _X86_EXTRA | (_KIND_EXTRA if precision in HANDWRITTEN else {})
        extra = [f"+{name}" for flag, name in named.items() if flag in used]
        if extra:
            config["mattr"] = extra
    config["mtriple"] = _TRIPLES[arch]
    return tvm.target.Target(config)
