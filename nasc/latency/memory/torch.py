"""torch's files and memory.

A package holds each weight once, 2.1 MB of what calls the kernels, and the kernels: some kilobytes
a layer. Bounds are from packages for processors with free axes (full-size MiniLM-L6 in fp32 and
bf16, and two layers of hidden 32; lowering version 1, torch 2.13, x86-64 with AMX, 2026-11). bf16
and fp16: the head stays fp32, up to 512 x 768 values of it are in its bound. tf32 and fp16,
which are for GPUs alone, were not measured, nor was any package for a GPU: they have the bounds of
fp32 and bf16.

Memory of the host alone. From two measured peaks (full-size MiniLM-L6 in fp32 and bf16, batch 1,
128 tokens; torch 2.13 on Sapphire Rapids, 2026-11): 194 and 147 MB over the process without a
model. The margin is wide, and the finished artifact is measured.
"""

from nasc.latency.memory.base import MemoryModel

_CODE = {
    "embedding": 40_000,
    "border": 20_000,
    "mha": 40_000,
    "ffn": 40_000,
    "sep": 60_000,
    "head": 40_000,
}
_HALF = _CODE | {"head": 850_000}
_ALL = ("fp32", "tf32", "bf16", "fp16")

MODEL = MemoryModel(
    value_bytes={"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2},
    activation_bytes={"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2},
    file_base_bytes=2_300_000,
    structure_bytes={"fp32": _CODE, "tf32": _CODE, "bf16": _HALF, "fp16": _HALF},
    layer_bytes=0,
    embedding_copies={"fp32": 2.5, "tf32": 2.5, "bf16": 3.0, "fp16": 3.0},
    matrix_copies={"fp32": 2.5, "tf32": 2.5, "bf16": 3.0, "fp16": 3.0},
    activation_copies=dict.fromkeys(_ALL, 1.0),
    session_bytes=80_000_000,
    peak_margin=0.2,
)
