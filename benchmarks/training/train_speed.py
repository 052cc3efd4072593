"""How long steps of training take in float32 and in bfloat16, and at which share of the peak.

Distillation of two networks and block-wise distillation of the supernet, in batches of 32 real
sentences, updates of the weights included. Both formats take every batch in turn; ratios are
paired. The peak of a format is a large product in it, timed in turn as well.

    python benchmarks/training/train_speed.py --corpus TEXT > train_speed.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from nasc.architecture.layers import macs
from nasc.architecture.space import PRESETS, Architecture
from nasc.data import load_corpus
from nasc.data.tokens import Batch
from nasc.distillation.train import DistillConfig, step_loss, teacher_target, trainable
from nasc.supernet.batches import TrainBatches
from nasc.supernet.initialize import initialize
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import TRAIN_LENGTH, Objective, TrainConfig, whole_space
from nasc.teacher import load_teacher
from nasc.utils.torch_device import has_bf16, use_fastest_threads

NETWORKS = ("384: M F | skip | 384: F M F", "192: M F | 256: F | 256: M F")
SIDE = 2048
"""Of the matrices whose product is the peak."""

WARM = 3
"""Batches whose time is not counted."""


def product(bf16: bool) -> None:
    """A large product."""
    x = torch.ones(SIDE, SIDE, dtype=torch.bfloat16 if bf16 else torch.float32)
    x @ x


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Time in turn, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="append", help="default: the text that comes with nasc")
    parser.add_argument("--batches", type=int, default=20)
    args = parser.parse_args()
    threads = use_fastest_threads()
    teacher = load_teacher()
    corpus = load_corpus(args.corpus, seed=0, max_sentences=30_000)
    space = teacher_initialised_space(PRESETS["minilm-l6"])
    batches = TrainBatches(teacher.tokenize(corpus.train, max_length=TRAIN_LENGTH), 32, 0)
    supernet = Supernet(space, teacher)
    calibration = batches.calibration()
    initialize(supernet, calibration.input_ids, calibration.attention_mask, 0)
    whole = space.teacher

    def flops(batch: Batch, students: float) -> float:
        rows, length = batch.input_ids.shape
        one = 2 * macs(whole, space.geometry, length)
        return rows * (one + 6 * students)

    def update(module: torch.nn.Module) -> Callable[[], None]:
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-6, foreach=True)

        def run() -> None:
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return run

    def distillation(text: str) -> Callable[[Batch, int, bool], float]:
        architecture = space.parse(text)
        model = trainable(supernet.extract(architecture))
        finish = update(model)

        def run(batch: Batch, step: int, bf16: bool) -> float:
            config = DistillConfig(1, bf16=bf16)
            target = teacher_target(teacher, config, batch).float()
            step_loss(model, config, batch, target).backward()
            finish()
            return flops(batch, macs(architecture, space.geometry, batch.input_ids.shape[1]))

        return run

    finish_supernet = update(supernet.blocks)

    def block_wise(batch: Batch, step: int, bf16: bool) -> float:
        config = TrainConfig(1, bf16=bf16)
        sample = whole_space(supernet, config)
        Objective(supernet, config, sample).backward(batch, step)
        finish_supernet()
        rng = np.random.default_rng((config.seed, step))  # the paths that it took
        blocks = tuple(sample(index, rng) for index in range(space.n_blocks))
        length = batch.input_ids.shape[1]
        return flops(batch, macs(Architecture(blocks), space.geometry, length))

    stages = {f"distillation, {text}": distillation(text) for text in NETWORKS}
    stages["supernet"] = block_wise
    taken: dict[str, dict[bool, list[float]]] = {n: {False: [], True: []} for n in stages}
    peak: dict[bool, list[float]] = {False: [], True: []}
    work: dict[str, list[float]] = {n: [] for n in stages}
    tokens: list[int] = []
    for step in range(WARM + args.batches):
        batch = batches.at(step)
        tokens.append(int(batch.attention_mask.sum()))
        both = (False, True) if step % 2 else (True, False)
        for bf16 in both:
            peak[bf16].append(seconds(lambda b=bf16: product(b)))  # type: ignore[misc]
        for name, run in stages.items():
            for bf16 in both:
                start = time.perf_counter()
                done = run(batch, step, bf16)
                taken[name][bf16].append(time.perf_counter() - start)
            work[name].append(done)
        print(f"batch {step + 1} of {WARM + args.batches}", file=sys.stderr)
    best = {bf16: 2 * SIDE**3 / min(times) for bf16, times in peak.items()}
    rows = []
    for name in stages:
        exact, rounded = (np.array(taken[name][bf16][WARM:]) for bf16 in (False, True))
        ratio = np.quantile(exact / rounded, [0.25, 0.5, 0.75])
        for bf16, times in ((False, exact), (True, rounded)):
            rate = float(np.median(np.array(work[name][WARM:]) / times))
            rows.append(
                {
                    "stage": name,
                    "format": "bf16" if bf16 else "fp32",
                    "step_s": [round(float(q), 4) for q in np.quantile(times, [0.25, 0.5, 0.75])],
                    "tokens_per_s": round(float(np.median(np.array(tokens[WARM:]) / times))),
                    "gflops": round(rate / 1e9, 1),
                    "share_of_peak": round(rate / best[bf16], 3),
                    "speedup_of_bf16": [round(float(q), 3) for q in ratio],
                }
            )
    json.dump(
        {
            "benchmark": "train_speed",
            "threads": threads,
            "bf16_in_hardware": has_bf16(),
            "peak_gflops": {("bf16" if b else "fp32"): round(v / 1e9, 1) for b, v in best.items()},
            "rows": rows,
        },
        sys.stdout,
        indent=1,
    )


if __name__ == "__main__":
    main()
