"""A compiled network's data as C: what `nasc/package/c/nasc_network.h` declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nasc.errors import ExportError
from nasc.lowering.static.program import Program, StaticNetwork

MAX_ARGUMENTS = 32
"""Of a kernel: NASC_MAX_ARGUMENTS."""


def network_source(network: StaticNetwork) -> str:
    """The C source, for a library with the network's prefix.

    Raises:
        ExportError: If a kernel takes more arguments than the library passes on.
    """
    widest = max(network.kernels, key=lambda kernel: kernel.arguments)
    if widest.arguments > MAX_ARGUMENTS:
        raise ExportError(
            f"the kernel {widest.symbol} takes {widest.arguments} arguments; C libraries pass on "
            f"{MAX_ARGUMENTS} at most. Take a runtime: --format onnx"
        )
    return "\n".join(_lines(network)) + "\n"


def _lines(network: StaticNetwork) -> Iterator[str]:
    yield "/* Made by nasc; not to be changed. */"
    yield f'#include "{network.prefix}_network.h"'
    yield ""
    yield "#include <stddef.h>"
    yield ""
    for kernel in network.kernels:
        pointers = ", ".join(["void *"] * kernel.arguments)
        yield f"void {kernel.symbol}({pointers}, int32_t, int32_t);"
    yield ""
    numbers = {kernel.symbol: number for number, kernel in enumerate(network.kernels)}
    for number, kernel in enumerate(network.kernels):
        passed = ", ".join(f"a[{i}]" for i in range(kernel.arguments))
        yield f"static void k{number}(void *const *a, int32_t first, int32_t end) {{"
        yield f"  {kernel.symbol}({passed}, first, end);"
        yield "}"
    yield ""
    parts = {kernel.symbol: kernel.parts for kernel in network.kernels}
    for program in network.programs:
        yield from _program_lines(network.prefix, program, numbers, parts)
    yield from _network_lines(network)


def _program_lines(
    prefix: str, program: Program, numbers: dict[str, int], parts: dict[str, int]
) -> Iterator[str]:
    places = [place for step in program.steps for place in step.places]
    yield f"static const int64_t arguments_{program.length}[] = {{"
    yield from _wrapped(f"{place}," for place in places)
    yield "};"
    yield f"static const struct {prefix}_step steps_{program.length}[] = {{"
    at = 0
    for step in program.steps:
        count = len(step.places)
        yield f"    {{k{numbers[step.kernel]}, {parts[step.kernel]}, {count}, {at}}},"
        at += count
    yield "};"
    yield ""


def _network_lines(network: StaticNetwork) -> Iterator[str]:
    yield f"static const struct {network.prefix}_program programs[] = {{"
    for p in network.programs:
        yield (
            f"    {{{p.length}, {len(p.steps)}, steps_{p.length}, arguments_{p.length}, "
            f"{p.arena_bytes}, {p.ids}, {p.mask}, {p.output}}},"
        )
    yield "};"
    yield ""
    features = ", ".join(f'"{name}"' for name in network.features)
    yield f"static const char *const features[] = {{{features}, NULL}};"
    yield ""
    outer, inner = network.outputs
    yield f"const struct {network.prefix}_network {network.prefix}_network = {{"
    yield "    .identity = {"
    yield from _wrapped(f"0x{byte:02x}," for byte in network.identity)
    yield "    },"
    yield f"    .weights_bytes = {len(network.weights)},"
    yield f"    .tokens = {network.tokens},"
    yield f"    .program_count = {len(network.programs)},"
    yield "    .programs = programs,"
    yield f"    .outer = {outer},"
    yield f"    .inner = {inner},"
    yield f"    .by_token = {int(network.by_token)},"
    yield "    .features = features,"
    yield "};"


def _wrapped(words: Iterable[str], width: int = 96) -> Iterator[str]:
    line = "   "
    for word in words:
        if len(line) + len(word) + 1 > width:
            yield line
            line = "   "
        line += f" {word}"
    if line.strip():
        yield line
