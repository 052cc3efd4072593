"""Sums of products of bytes, as each kind of processor has them, in LLVM's own language.

Every kind gives the same sums for the same bytes: none clips. What LLVM lacks in TVM's IR (its
intrinsics on bytes, everything on bfloat16) is imported as text; TVM inlines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as build

from nasc.lowering.handwritten import tiles
from nasc.lowering.handwritten.vectors import LANES, Expr, keep

_ADD, _ADD_BF16, _TO_BF16 = "nasc_add_products", "nasc_add_bf16_products", "nasc_bf16"

LLVM_BF16 = f"""
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
declare <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float>, <16 x float>)
define <16 x float> @{_ADD_BF16}(<16 x float> %c, <16 x i32> %a, <16 x i32> %b) {{
  %x = bitcast <16 x i32> %a to <32 x bfloat>
  %y = bitcast <16 x i32> %b to <32 x bfloat>
  %r = call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(
      <16 x float> %c, <32 x bfloat> %x, <32 x bfloat> %y)
  ret <16 x float> %r
}}
define <16 x i32> @{_TO_BF16}(<16 x float> %a, <16 x float> %b) {{
  %x = call <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(
      <16 x float> %b, <16 x float> %a)
  %r = bitcast <32 x bfloat> %x to <16 x i32>
  ret <16 x i32> %r
}}
"""
"""Two instructions of AVX512-BF16: TVM turns every bfloat16 of its own into float before it gets
there."""


@dataclass(frozen=True, slots=True)
class Code:
    """Products of one register of sums, in LLVM's language.

    Attributes:
        lanes: Sums in a register.
        declares: What the step calls.
        step: The lines that give ``%r`` of sums ``%c``, activations ``%x`` and weights ``%w``; the
            suffix of every name but ``%x`` is ``{i}``.
    """

    lanes: int
    declares: str
    step: str


@dataclass(frozen=True, slots=True)
class Products:
    """How a processor multiplies bytes.

    Attributes:
        rows: Tokens that a kernel computes at a time: so many that their sums, for 32 outputs, stay
            in registers.
        code: How it does in registers; None where products are those of `tiles` (AMX).
        signed: Whether activations are signed bytes: 128 is taken off, and added to what a sum
            starts at.
        clips: Whether two neighbouring products are added in 16 bits, so that weights must be
            smaller (`nasc.export.quantization.quantize_matrix`).
        bf16: Whether attention multiplies in bfloat16 (AVX512-BF16); else in fp32.
    """

    rows: int
    code: Code | None
    signed: bool = False
    clips: bool = False
    bf16: bool = False

    @property
    def tiles(self) -> bool:
        """Whether products are computed in tiles."""
        return self.code is None

    @property
    def llvm(self) -> str:
        """What kernels import."""
        products = tiles.llvm() if self.code is None else self._sums(self.code)
        return products + (LLVM_BF16 if self.bf16 else "")

    def _sums(self, code: Code) -> str:
        lanes, count = code.lanes, LANES // code.lanes
        lines = [code.declares]
        lines += [f"define <16 x i32> @{_ADD}(<16 x i32> %sums, i32 %given, <64 x i8> %weights) {{"]
        change = -0x7F7F7F80 if self.signed else 0  # each byte's highest bit: 128 taken off
        lines += [
            f"  %four = xor i32 %given, {change}",
            f"  %one = insertelement <{lanes} x i32> poison, i32 %four, i32 0",
            f"  %all = shufflevector <{lanes} x i32> %one, <{lanes} x i32> poison, "
            f"<{lanes} x i32> zeroinitializer",
            f"  %x = bitcast <{lanes} x i32> %all to <{4 * lanes} x i8>",
        ]
        for i in range(count):
            lines += [
                f"  %c{i} = shufflevector <16 x i32> %sums, <16 x i32> poison, "
                f"{_numbers(i * lanes, lanes)}",
                f"  %w{i} = shufflevector <64 x i8> %weights, <64 x i8> poison, "
                f"{_numbers(4 * i * lanes, 4 * lanes)}",
                code.step.format(i=i),
            ]
        parts, size = [f"%r{i}" for i in range(count)], lanes
        while len(parts) > 1:
            joined = []
            for a, b in zip(parts[::2], parts[1::2], strict=True):
                lines.append(
                    f"  {a}_{size} = shufflevector <{size} x i32> {a}, <{size} x i32> {b}, "
                    f"{_numbers(0, 2 * size)}"
                )
                joined.append(f"{a}_{size}")
            parts, size = joined, 2 * size
        return "\n".join([*lines, f"  ret <16 x i32> {parts[0]}", "}", ""])

    def add(self, sums: Expr, four: Expr, weights: Expr) -> Expr:
        """Sums (16 of int32) plus four products each.

        Args:
            sums: int32x16.
            four: Four activations, unsigned bytes in one int32.
            weights: int8x64: four for each sum.
        """
        return build.Bind(_call("int32x16", _ADD, sums, four, weights))


def _numbers(start: int, count: int) -> str:
    inside = ", ".join(f"i32 {n}" for n in range(start, start + count))
    return f"<{count} x i32> <{inside}>"


def _vnni(bits: int) -> Code:
    sums, four = f"<{bits // 32} x i32>", f"<{bits // 8} x i8>"
    name = f"@llvm.x86.avx512.vpdpbusd.{bits}"  # also what becomes AVX-VNNI's
    return Code(
        lanes=bits // 32,
        declares=f"declare {sums} {name}({sums}, {four}, {four})",
        step=f"  %r{{i}} = call {sums} {name}({sums} %c{{i}}, {four} %x, {four} %w{{i}})",
    )


def _multiply_add(bits: int) -> Code:
    sums, pairs, four = (f"<{bits // n} x i{n}>" for n in (32, 16, 8))
    add, widen = {
        256: ("@llvm.x86.avx2.pmadd.ub.sw", "@llvm.x86.avx2.pmadd.wd"),
        512: ("@llvm.x86.avx512.pmaddubs.w.512", "@llvm.x86.avx512.pmaddw.d.512"),
    }[bits]
    ones = f"<{', '.join(['i16 1'] * (bits // 16))}>"
    return Code(
        lanes=bits // 32,
        declares=f"declare {pairs} {add}({four}, {four})\ndeclare {sums} {widen}({pairs}, {pairs})",
        step=f"  %p{{i}} = call {pairs} {add}({four} %x, {four} %w{{i}})\n"
        f"  %q{{i}} = call {sums} {widen}({pairs} %p{{i}}, {pairs} {ones})\n"
        f"  %r{{i}} = add {sums} %c{{i}}, %q{{i}}",
    )


_DOT = Code(
    lanes=4,
    declares="declare <4 x i32> @llvm.aarch64.neon.sdot.v4i32.v16i8("
    "<4 x i32>, <16 x i8>, <16 x i8>)",
    step="  %r{i} = call <4 x i32> @llvm.aarch64.neon.sdot.v4i32.v16i8("
    "<4 x i32> %c{i}, <16 x i8> %x, <16 x i8> %w{i})",
)

PRODUCTS: Mapping[str, Products] = {
    "amx": Products(tiles.ROWS, None, bf16=True),
    "avx512_bf16": Products(8, _vnni(512), bf16=True),
    "avx512_vnni": Products(8, _vnni(512)),
    "avx_vnni": Products(2, _vnni(256)),
    "avx512bw": Products(8, _multiply_add(512), clips=True),
    "avx2": Products(2, _multiply_add(256), clips=True),
    "asimddp": Products(2, _DOT, signed=True),
}
"""By `profilers.runtimes.tvm_targets.kernel_kind`."""


def to_bf16(a: Expr, b: Expr) -> Expr:
    """Two vectors of neighbours as one of pairs of bfloat16, in the same order."""
    return build.Bind(_call("int32x16", _TO_BF16, a, b))


def add_bf16(sums: Expr, a: Expr, b: Expr) -> Expr:
    """Sums (16 of fp32) plus two products of bfloat16 each."""
    return keep(_call("float32x16", _ADD_BF16, sums, a, b))


def _call(dtype: str, name: str, *arguments: Expr) -> Expr:
    return tirx.call_pure_extern(dtype, name, *arguments)
