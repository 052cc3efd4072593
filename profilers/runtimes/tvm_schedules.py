"""Schedules of kernels that nothing was tuned for: blocked, vectorised, parallel.

TVM by itself runs such kernels as they are written, one value after the other. Here the first rule
that fits is followed:

* a product, or another sum whose results lie next to each other, is computed in tiles that stay in
  registers while the sum runs, its constants stored in the order in which they are read;
* sums along the axis that lies in one piece are computed as vectors of sums, row by row;
* all else is computed in vectors.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.meta_schedule.postproc import RewriteLayout
from tvm.s_tir.schedule.schedule import ScheduleError

_LANES = {"x86-64-v4": 16, "x86-64-v3": 8}
"""float32 values of a vector, by processor; elsewhere 4."""

_ROWS = {16: 8, 8: 4, 4: 8}
"""Rows of a tile, by values of a vector: with `_VECTORS` in a row as many registers as there are,
those aside that hold what is multiplied."""

_VECTORS = 2
"""Vectors in a row of a tile."""


def schedule(module: tvm.ir.IRModule, target: tvm.target.Target) -> tvm.ir.IRModule:
    """A module all of whose kernels are scheduled; those that were stay as they are."""
    lanes = _LANES.get(str(target.attrs.get("mcpu", "")), 4)
    made = {
        variable: _scheduled(function, lanes)
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc) and not function.attrs.get("tirx.is_scheduled")
    }
    return tvm.IRModule({**dict(module.functions_items()), **made}, attrs=module.attrs)


def _scheduled(function: tirx.PrimFunc, lanes: int) -> tirx.PrimFunc:
    """A kernel by the first rule that fits; as it is where none does, or where axes are free."""
    for rule in (_in_tiles, _in_rows, _elementwise):
        trial = s_tir.Schedule(function)
        try:
            if rule(trial, lanes):
                return trial.mod["main"].with_attr("tirx.is_scheduled", True)
        except (ScheduleError, TypeError):  # the latter: an axis is no number
            continue
    return function


def _in_tiles(trial: s_tir.Schedule, lanes: int) -> bool:
    """One sum whose results lie next to each other, and what follows it."""
    blocks = _inlined(trial)
    sums = [block for block in blocks if "R" in _kinds(trial, block)]
    if len(sums) != 1 or len(blocks) > 2 or not _reads_along_results(trial, sums[0]):
        return False
    main = sums[0]
    if main is not blocks[0]:
        return False
    after = blocks[1] if len(blocks) == 2 else trial.cache_write(main, 0, "global")
    loops = trial.get_loops(main)
    kinds = _kinds(trial, main)
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "S"]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "R"]
    *outer, column = spatial
    outer_columns, columns = trial.split(column, [None, _width(_extent(trial, column), lanes)])
    tile = [columns]
    if outer:
        *outer, row = outer
        most = _ROWS[lanes]
        outer_rows, rows = trial.split(row, [None, _divisor(_extent(trial, row), most)])
        outer, tile = [*outer, outer_columns, outer_rows], [rows, columns]
    else:
        outer = [outer_columns]
    trial.reorder(*outer, *summed, *tile)
    around = trial.fuse(*outer)
    trial.parallel(around)
    trial.reverse_compute_at(after, around, preserve_unit_loops=True)
    _write_out(trial, tile)
    _write_out(trial, trial.get_loops(after)[1:])
    _write_out(trial, trial.get_loops(trial.decompose_reduction(main, summed[0]))[1:])
    RewriteLayout().apply(trial)
    return True


def _write_out(trial: s_tir.Schedule, tile: list[Any]) -> None:
    """Write out the loops of a tile, the last as vectors: so that results get registers."""
    *rows, columns = tile
    trial.vectorize(columns)
    for loop in rows:
        trial.unroll(loop)


def _in_rows(trial: s_tir.Schedule, lanes: int) -> bool:
    """Sums along the last axis, and what is made of them: softmax, normalisation."""
    blocks = _inlined(trial, once=True)
    last = blocks[-1]
    if "R" in _kinds(trial, last) or len(blocks) < 2:
        return False
    before, vectors_of_sums = [], []
    for block in blocks[:-1]:
        kinds = _kinds(trial, block)
        if kinds.count("R") == 1 and kinds[-1] == "R":
            summed = trial.get_loops(block)[-1]
            extent = _extent(trial, summed)
            if extent % lanes == 0 and extent > lanes:
                _, inner = trial.split(summed, [None, lanes])
                vectors_of_sums.append(trial.rfactor(inner, len(kinds) - 1))
                before.append(vectors_of_sums[-1])
        before.append(block)
    around = trial.fuse(*trial.get_loops(last)[:-1])
    trial.parallel(around)
    for block in reversed(before):
        trial.compute_at(block, around, preserve_unit_loops=True)
    for block in (*before, last):
        if "R" not in _kinds(trial, block):
            _vectorize(trial, trial.get_loops(block)[-1], lanes)
    for block in vectors_of_sums:
        inner, *_, summed = trial.get_loops(block)[1:]  # as `rfactor` orders its axes
        trial.reorder(summed, inner)
        trial.vectorize(inner)
        trial.vectorize(trial.get_loops(trial.decompose_reduction(block, summed))[-1])
    return True


def _elementwise(trial: s_tir.Schedule, lanes: int) -> bool:
    """What computes every value by itself."""
    blocks = _inlined(trial)
    if len(blocks) != 1 or "R" in _kinds(trial, blocks[0]):
        return False
    *outer, last = trial.get_loops(blocks[0])
    if outer:
        trial.parallel(trial.fuse(*outer))
    _vectorize(trial, last, lanes)
    return True


def _vectorize(trial: s_tir.Schedule, loop: Any, lanes: int) -> None:
    """Compute the values of a loop in vectors, if there are more than one."""
    width = _width(_extent(trial, loop), lanes)
    if width > 1:
        _, inner = trial.split(loop, [None, width])
        trial.vectorize(inner)


def _inlined(trial: s_tir.Schedule, once: bool = False) -> list[Any]:
    """Compute values where they are read; gives the blocks that are left.

    Args:
        trial: Changed.
        once: Those alone that are read in one place.
    """
    for inline in (trial.compute_inline, trial.reverse_compute_inline):
        for block in _blocks(trial):
            if "R" in _kinds(trial, block) or (once and len(trial.get_consumers(block)) != 1):
                continue
            try:
                inline(block)
            except ScheduleError:
                continue
    return _blocks(trial)


def _blocks(trial: s_tir.Schedule) -> list[Any]:
    """Blocks of a kernel, in the order in which they run."""
    return list(trial.get_child_blocks(trial.get_sblock("root")))


def _kinds(trial: s_tir.Schedule, block: Any) -> str:
    """By axis of a block: S, each step a result of its own; R, summed; O, anything else."""
    names = {tirx.IterVar.DataPar: "S", tirx.IterVar.CommReduce: "R"}
    return "".join(names.get(axis.iter_type, "O") for axis in trial.get(block).iter_vars)


def _reads_along_results(trial: s_tir.Schedule, block: Any) -> bool:
    """Whether neighbouring results are made of values that are neighbours."""
    found = trial.get(block)
    column = [v.var for v in found.iter_vars if v.iter_type == tirx.IterVar.DataPar][-1]
    lasts = [read.region[-1].min for read in found.reads]
    return any(column.same_as(v) for e in lasts for v in tirx.analysis.undefined_vars(e))


def _extent(trial: s_tir.Schedule, loop: Any) -> int:
    return int(trial.get(loop).extent)


def _width(extent: int, lanes: int) -> int:
    """Values that are computed at once, out of so many."""
    width = _divisor(extent, _VECTORS * lanes)
    return extent if width < lanes and extent <= 4 * lanes else width


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not above another."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)
