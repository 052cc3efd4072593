"""Products by AMX: of up to 32 rows and 32 outputs at a time, in the processor's eight tiles.

Tiles 0 to 3 hold the sums (16 rows by 16 outputs each), 4 and 5 rows, 6 and 7 columns. The
instructions are imported as LLVM's text, see `products`. Linux lets a process use tiles
once it has asked (``arch_prctl``): the code asks before its first product. Where Linux refuses
(a filter of system calls), `profilers.context.read_context` tells no flag of AMX, and no file with
this code is opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script.builder import ir as build

from nasc.lowering.handwritten.vectors import LANES, Expr

ROWS = 2 * LANES
"""Rows that a product takes at most."""

_STEP = 64
"""Bytes of a row that one instruction multiplies at most."""

_BEGIN, _PRODUCT, _END = "nasc_tiles_begin", "nasc_tiles", "nasc_tiles_end"

_SUMS = 4
"""Tiles of sums; those of rows and of columns follow."""

_ASK = """
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
declare void @llvm.x86.tilezero(i8 immarg)
declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)
declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)
@nasc_tiles_allowed = internal global i32 0
define internal void @nasc_tiles_ask() {
  %known = load atomic i32, ptr @nasc_tiles_allowed monotonic, align 4
  %asked = icmp ne i32 %known, 0
  br i1 %asked, label %end, label %ask
ask:
  %found = call i64 asm sideeffect "syscall", "={rax},{rax},{rdi},{rsi},~{rcx},~{r11},~{memory}"(
      i64 158, i64 4131, i64 18)
  store atomic i32 1, ptr @nasc_tiles_allowed monotonic, align 4
  br label %end
end:
  ret void
}
"""
"""``arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)``, Linux 5.16 and later."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows of a buffer, or rows of four bytes or two bfloat16 of each of some columns.

    Attributes:
        buffer: Flat.
        first: Element of the buffer where they start.
        stride: Bytes from one row to the next.
        next: Bytes to the next sixteen rows (of the left factor) or columns (of the right one).
        step: Bytes to what the next instruction multiplies.
    """

    buffer: Expr
    first: Expr
    stride: int
    next: int
    step: int


def begin(count: int, inputs: int) -> int:
    """Shape the tiles for products of `count` rows of `inputs` bytes; gives the bytes of a step."""
    step = _STEP if inputs % _STEP == 0 else _STEP // 2
    groups = min(count, LANES), max(0, count - LANES)
    numbers = (tirx.const(number, "int32") for number in (*groups, step))
    build.evaluate(tirx.call_extern("int32", _BEGIN, *numbers))
    return step


def multiply(instruction: str, count: int, steps: int, a: Tiles, b: Tiles, sums: Tiles) -> None:
    """Write products of `count` rows with 32 columns over `sums`.

    Args:
        instruction: "tdpbusd" (unsigned bytes by signed ones, sums int32) or "tdpbf16ps".
        count: Rows.
        steps: Of the bytes that `begin` gave.
        a: Rows.
        b: Columns: each row holds four bytes, or two bfloat16, of sixteen of them.
        sums: Rows of 32 sums of 4 bytes, sixteen after the others.
    """
    numbers = [a.stride, a.next, a.step, b.stride, b.next, b.step, sums.stride, sums.next, steps]
    build.evaluate(
        tirx.call_extern(
            "int32",
            f"{_PRODUCT}_{instruction}_{1 + (count > LANES)}",
            *(tirx.address_of(tirx.BufferLoad(x.buffer, [x.first])) for x in (a, b, sums)),
            *(tirx.const(number, "int32") for number in numbers),
        )
    )


def end() -> None:
    """Leave the tiles empty: with anything in them every change of threads costs more."""
    build.evaluate(tirx.call_extern("int32", _END))


def llvm() -> str:
    """What kernels import that call the functions of this module."""
    parts = [_ASK, _begin()]
    parts.append(f"define i32 @{_END}() {{\n  call void @llvm.x86.tilerelease()\n  ret i32 0\n}}\n")
    for instruction in ("tdpbusd", "tdpbf16ps"):
        parts.append(f"declare void @llvm.x86.{instruction}(i8 immarg, i8 immarg, i8 immarg)\n")
        parts += [_product(instruction, groups) for groups in (1, 2)]
    return "".join(parts)


def _begin() -> str:
    """Writes the table of the tiles' shapes: bytes of a row from byte 16 on, rows from 48 on."""
    sums = [("%rows0", "64")] * 2 + [("%rows1", "%whole1")] * 2
    tiles = [*sums, ("%rows0", "%width"), ("%rows1", "%width1"), *[("%quarter", "64")] * 2]
    lines = [
        f"define i32 @{_BEGIN}(i32 %rows0of32, i32 %rows1of32, i32 %step) {{",
        "  call void @nasc_tiles_ask()",
        "  %table = alloca [64 x i8], align 64",
        "  store [64 x i8] zeroinitializer, ptr %table, align 64",
        "  store i8 1, ptr %table, align 64",
        "  %rows0 = trunc i32 %rows0of32 to i8",
        "  %rows1 = trunc i32 %rows1of32 to i8",
        "  %width = trunc i32 %step to i8",
        "  %quarter = lshr i8 %width, 2",
        "  %none = icmp eq i8 %rows1, 0",  # a tile has both rows and columns, or neither
        "  %width1 = select i1 %none, i8 0, i8 %width",
        "  %whole1 = select i1 %none, i8 0, i8 64",
    ]
    for i, (rows, width) in enumerate(tiles):
        lines += [
            f"  %w{i} = getelementptr i8, ptr %table, i64 {16 + 2 * i}",
            f"  store i8 {width}, ptr %w{i}",
            f"  %h{i} = getelementptr i8, ptr %table, i64 {48 + i}",
            f"  store i8 {rows}, ptr %h{i}",
        ]
    lines += ["  call void @llvm.x86.ldtilecfg(ptr %table)", "  ret i32 0", "}", ""]
    return "\n".join(lines)


def _product(instruction: str, groups: int) -> str:
    """Sums of tile 2 * group + half: of 16 rows and 16 columns."""
    names = ("a_stride", "a_next", "a_step", "b_stride", "b_next", "b_step", "c_stride", "c_next")
    given = ", ".join(f"i32 %{name}" for name in (*names, "steps"))
    sums = [(group, half) for group in range(groups) for half in range(2)]
    lines = [
        f"define i32 @{_PRODUCT}_{instruction}_{groups}(ptr %a, ptr %b, ptr %c, {given}) {{",
        "entry:",
        *(f"  %{name}64 = sext i32 %{name} to i64" for name in names),
        *(f"  call void @llvm.x86.tilezero(i8 {2 * group + half})" for group, half in sums),
        "  br label %loop",
        "loop:",
        "  %step = phi i32 [ 0, %entry ], [ %step1, %loop ]",
        "  %a0 = phi ptr [ %a, %entry ], [ %a0next, %loop ]",
        "  %b0 = phi ptr [ %b, %entry ], [ %b0next, %loop ]",
        "  %a1 = getelementptr i8, ptr %a0, i64 %a_next64",
        "  %b1 = getelementptr i8, ptr %b0, i64 %b_next64",
    ]
    load = "  call void @llvm.x86.tileloadd64(i8 {}, ptr %{}, i64 %{}_stride64)"
    lines += [load.format(_SUMS + 2 + half, f"b{half}", "b") for half in range(2)]
    for group in range(groups):
        lines.append(load.format(_SUMS + group, f"a{group}", "a"))
        lines += [
            f"  call void @llvm.x86.{instruction}"
            f"(i8 {2 * group + half}, i8 {_SUMS + group}, i8 {_SUMS + 2 + half})"
            for half in range(2)
        ]
    lines += [
        "  %a0next = getelementptr i8, ptr %a0, i64 %a_step64",
        "  %b0next = getelementptr i8, ptr %b0, i64 %b_step64",
        "  %step1 = add i32 %step, 1",
        "  %more = icmp ult i32 %step1, %steps",
        "  br i1 %more, label %loop, label %end",
        "end:",
        "  %c_group = mul i64 %c_stride64, 16",
    ]
    for group, half in sums:
        place = f"%c{group}{half}"
        if half:
            lines.append(f"  {place} = getelementptr i8, ptr %c{group}0, i64 %c_next64")
        else:
            offset = f"i64 {'%c_group' if group else 0}"
            lines.append(f"  {place} = getelementptr i8, ptr %c, {offset}")
        lines.append(
            f"  call void @llvm.x86.tilestored64(i8 {2 * group + half}, ptr {place}, "
            "i64 %c_stride64)"
        )
    return "\n".join([*lines, "  ret i32 0", "}", ""])
