"""OpenVINO's files and memory.

Structure: bounds from IRs of up to 48 layers (lowering version 3001); an XML says everything in
words, so that a layer takes ten times what it does in ONNX. Memory: a compiled model takes 37 MB by
itself and 1.5 MB a layer; matrices are there as they are stored and as they are multiplied; of the
activations that live at the same time less than half, as operators are fused. From 50 measured
peaks (5 networks, fp32, bf16, fp16 and int8, batch 1 and 8, 128 and 512 tokens; OpenVINO 2026.4.1
on Sapphire Rapids, 2026-11): estimate / measured lies between 0.948 and 1.039.
"""

from nasc.latency.memory.base import MemoryModel

_HALF = {
    "embedding": 18000,
    "border": 5500,
    "mha": 34500,
    "ffn": 16200,
    "sep": 49000,
    "head": 15500,
}
_ALL = ("fp32", "bf16", "fp16", "int8")

MODEL = MemoryModel(
    value_bytes={"fp32": 4, "bf16": 2, "fp16": 2, "int8": 4},
    activation_bytes=dict.fromkeys(_ALL, 4),
    file_base_bytes=3500,
    structure_bytes={
        "fp32": {
            "embedding": 15500,
            "border": 3600,
            "mha": 26200,
            "ffn": 11400,
            "sep": 41000,
            "head": 12500,
        },
        "bf16": _HALF,
        "fp16": _HALF,
        "int8": {
            "embedding": 17000,
            "border": 5000,
            "mha": 31700,
            "ffn": 14200,
            "sep": 43800,
            "head": 13500,
        },
    },
    layer_bytes=1_500_000,
    embedding_copies=dict.fromkeys(_ALL, 1.03),
    matrix_copies={"fp32": 1.9, "bf16": 1.76, "fp16": 1.76, "int8": 1.22},
    activation_copies=dict.fromkeys(_ALL, 0.45),
    session_bytes=37_300_000,
    peak_margin=0.06,
)
