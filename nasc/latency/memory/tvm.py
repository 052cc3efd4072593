"""TVM's files and memory.

A library holds each weight once, in the order in which its code reads it, and code: for every kind
of kernel, and of that for every length that it was compiled for; what further layers of the same
kinds add is little. Position embeddings are there once a length, of int8 once. The bounds are for
the five lengths of `nasc.lowering.tvm` and hidden sizes of up to 512: those of fp32 of nine
libraries of up to 10 layers with LLVM's notes for debuggers, which are left out by now (lowering
version 1 of emitter version 3, x86-64-v4, 2026-11), those of int8 of libraries of layers of each
kind at 512 (lowering version 2, with AVX512-VNNI, 2026-11).

bf16 as int8, but positions stay fp32, up to 512 of 1,024 values.

Memory: loading copies the weights out of the library, which is mapped too. These figures were
set without measured peaks: the margin is wide, and the finished artifact is measured.
"""

from nasc.latency.memory.base import MemoryModel

_HANDWRITTEN = {
    "embedding": 10_000,
    "border": 120_000,
    "mha": 380_000,
    "ffn": 250_000,
    "sep": 300_000,
    "head": 10_000,
}

MODEL = MemoryModel(
    value_bytes={"fp32": 4, "bf16": 2, "int8": 4},
    activation_bytes={"fp32": 4, "bf16": 4, "int8": 4},
    file_base_bytes=400_000,
    structure_bytes={
        "fp32": {
            "embedding": 2_100_000,
            "border": 150_000,
            "mha": 450_000,
            "ffn": 300_000,
            "sep": 350_000,
            "head": 300_000,
        },
        "bf16": _HANDWRITTEN | {"embedding": 1_100_000},
        "int8": _HANDWRITTEN,
    },
    layer_bytes=200_000,
    embedding_copies={"fp32": 2.0, "bf16": 2.0, "int8": 2.0},
    matrix_copies={"fp32": 2.0, "bf16": 2.0, "int8": 2.0},
    activation_copies={"fp32": 1.0, "bf16": 1.0, "int8": 1.0},
    session_bytes=30_000_000,
    peak_margin=0.2,
)
