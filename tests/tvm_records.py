"""Tuning records made by hand, in no time: they are slow, and other code than without them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tvm import s_tir
from tvm.s_tir import meta_schedule

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.export.onnx import build
from nasc.lowering.tuning.kernels import Task, find_kernels
from nasc.lowering.tuning.records import RecordsKey, open_for_tuning
from nasc.lowering.tvm_module import fused_module, target_of
from nasc.networks.network import Network, random_network
from profilers.context import fingerprint, read_context

GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=32, intermediate=64, vocab_size=50, max_positions=24
)
SHAPE = (1, 8)


def network(precision: str = "fp32") -> Network:
    blocks = (Block(32, ("mha", "ffn")),)
    return random_network(Architecture(blocks, precision), GEOMETRY, "embed")


def target(threads: int = 1):
    cpu = read_context()["cpu"]
    return target_of(cpu["flags"], cpu["arch"], threads)


def key_here(device: str = "host", threads: int = 1) -> RecordsKey:
    return RecordsKey.of(device, fingerprint(read_context()["cpu"]), target(threads))


def kernels(of: Network | None = None, shape: tuple[int, int] = SHAPE) -> tuple[Task, ...]:
    module = fused_module({"run": build(of or network(), shape=shape)}, target())
    return find_kernels([module], target()).tasks


def keep(folder: Path, key: RecordsKey, tasks: Iterable[Task], seconds: float = 1e-3) -> Path:
    """Records of kernels whose innermost loops are written out, added to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_for_tuning(folder, key) as records:
        for task in tasks:
            made = s_tir.Schedule(task.module)
            for block in made.get_child_blocks(made.get_sblock("root")):
                for loop in made.get_loops(block)[-1:]:
                    made.unroll(loop)
            records.database.commit_tuning_record(
                meta_schedule.database.TuningRecord(
                    made.trace,
                    records.workload(task.module),
                    [seconds],
                    target(),
                    meta_schedule.arg_info.ArgInfo.from_entry_func(task.module),
                )
            )
        records.publish()
    return folder
