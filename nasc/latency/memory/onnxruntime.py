"""onnxruntime's files and memory.

Structure: bounds from emitted graphs of up to 48 layers (emitter version 2). Memory: while a model
loads, its word embedding stands in memory twice and the matrices, packed, a little more than once;
the arena holds about twice the live activations; a session takes 9 MB by itself. From 56 measured
peaks (7 networks, fp32 and int8, batch 1 and 8, 32 to 512 tokens; onnxruntime 1.32 on x86-64,
2026-11): estimate / measured lies between 0.96 and 1.19, so the upper end adds the margin.
"""

from nasc.latency.memory.base import MemoryModel

_ALL = ("fp32", "int8", "int8-emb4")

_INT8 = {
    "embedding": 2300,
    "border": 650,
    "mha": 3300,
    "ffn": 1600,
    "sep": 3160,
    "head": 900,
}

MODEL = MemoryModel(
    value_bytes=dict.fromkeys(_ALL, 4),
    activation_bytes=dict.fromkeys(_ALL, 4),
    file_base_bytes=1000,
    structure_bytes={
        "fp32": {
            "embedding": 1500,
            "border": 180,
            "mha": 1720,
            "ffn": 640,
            "sep": 2120,
            "head": 900,
        },
        "int8": _INT8,
        "int8-emb4": _INT8 | {"embedding": 3200},
    },
    layer_bytes=0,
    embedding_copies=dict.fromkeys(_ALL, 2.0),
    matrix_copies=dict.fromkeys(_ALL, 1.1),
    activation_copies={"fp32": 2.0, "int8": 2.5, "int8-emb4": 2.5},
    session_bytes=9_000_000,
    peak_margin=0.05,
)
