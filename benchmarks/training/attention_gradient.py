"""What attention with its gradient takes in bfloat16 and in float32, by torch's fused kernel.

Shapes are those of a distillation: 32 texts, heads of 32 values. Both formats take their turns;
milliseconds are the tenth percentile of processor time, ratios are paired (median).

    OMP_NUM_THREADS=1 python benchmarks/training/attention_gradient.py > attention_gradient.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
from torch.nn import functional

TEXTS, HEAD_SIZE = 32, 32


def timed(heads: int, length: int, kind: torch.dtype) -> float:
    """Processor seconds of one attention with its gradient."""
    given = (
        torch.randn(TEXTS, length, heads, HEAD_SIZE, dtype=kind).transpose(1, 2) for _ in range(3)
    )
    q, k, v = (one.requires_grad_() for one in given)
    scores = torch.zeros(TEXTS, 1, 1, length, dtype=kind)
    start = time.process_time()
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=scores)
    mixed.backward(torch.ones_like(mixed))  # type: ignore[no-untyped-call]
    return time.process_time() - start


def main() -> None:
    """Time in turn, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    rows = []
    for heads in args.heads:
        for length in args.lengths:
            took = np.array(
                [
                    [timed(heads, length, kind) for kind in (torch.bfloat16, torch.float32)]
                    for _ in range(args.repeats + 1)
                ][1:]
            )
            low = 1e3 * np.quantile(took, 0.1, axis=0)
            ratio = np.median(took[:, 0] / took[:, 1])
            row = {"heads": heads, "length": length, "bf16_ms": low[0], "fp32_ms": low[1]}
            rows.append({name: round(float(v), 2) for name, v in (row | {"ratio": ratio}).items()})
            print(rows[-1], file=sys.stderr)
    found = {"benchmark": "attention_gradient", "torch": torch.__version__, "rows": rows}
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
