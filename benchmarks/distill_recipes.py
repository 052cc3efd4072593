"""What settings of the final distillation, starts and kinds of network give for the same steps.

Each line of the result is one network trained with one change against the defaults of
`nasc.distill.DistillConfig`, from one of three starts: ``scratch`` (random weights beside the
teacher's embedding, as the paper), ``initialised`` (as a supernet begins, from the teacher's
weights), ``supernet`` (out of one trained for `--supernet-steps`).

    python benchmarks/distill_recipes.py --corpus TEXT --steps 150 [--sts STS-B/dev.tsv]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasc.distill import DistillConfig, distill
from nasc.export.network import Network
from nasc.hf.masked import scratch
from nasc.quality import compare
from nasc.space import PRESETS
from nasc.supernet.batches import TrainBatches
from nasc.supernet.initialize import initialize
from nasc.supernet.modules import TorchNetwork
from nasc.supernet.prepare import first_run_space
from nasc.supernet.supernet import Supernet
from nasc.supernet.teacher_layers import teacher_network
from nasc.supernet.train import TRAIN_LENGTH, TrainConfig, train
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher, load_teacher
from nasc.text import load_corpus

NETWORKS = (
    "192: M F M F | 192: M F M F | 192: M F M F",
    "128: M F M F | 128: M F M F | 128: M F M F",
    "384: M F | 384: M F | 384: M F",
    "384: M F | skip | keep",
)
CHANGES: tuple[dict[str, float], ...] = (
    {},
    {"learning_rate": 3e-4},
    {"learning_rate": 2e-3},
    {"similarity_weight": 50.0},
    {"hidden_weight": 0.3},
    {"batch_size": 16},
    {"bf16": False},
)


@torch.no_grad()
def vectors(teacher: Teacher, network: Network, sentences: list[str]) -> np.ndarray[Any, Any]:
    """Sentence vectors of a network in torch."""
    model = TorchNetwork(network)
    tokens = teacher.tokenize(sentences)
    found = np.empty((len(sentences), network.geometry.hidden), np.float32)
    for indices in tokens.buckets(64):
        batch = tokens.batch(indices)
        found[indices.numpy()] = model(batch.input_ids, batch.attention_mask).numpy()
    return found


def main() -> None:
    """Train, judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="append", help="default: prose on this machine")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--sts", type=Path)
    parser.add_argument("--supernet-steps", type=int, default=150)
    parser.add_argument("--starts-only", action="store_true", help="leave the other changes out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    teacher = load_teacher()
    corpus = load_corpus(args.corpus, seed=args.seed, max_sentences=30_000)
    tokens = teacher.tokenize(corpus.train, max_length=TRAIN_LENGTH)
    space = first_run_space(PRESETS["minilm-l6"])
    supernets = {}
    for start in ("initialised", "supernet"):
        supernets[start] = supernet = Supernet(space, teacher)
        batches = TrainBatches(tokens, TrainConfig(0).batch_size, args.seed)
        calibration = batches.calibration()
        initialize(supernet, calibration.input_ids, calibration.attention_mask, args.seed)
    train(supernet, batches, TrainConfig(args.supernet_steps, seed=args.seed))
    full_size = teacher_network(teacher, space.teacher)
    judged = list(corpus.heldout[-512:])
    wanted = teacher.vectors(judged)
    pairs = None if args.sts is None else read_sts(args.sts)
    rows = []
    plans: list[tuple[str, dict[str, float], str]] = [
        (text, {}, start) for text in NETWORKS for start in ("scratch", "initialised", "supernet")
    ]
    if not args.starts_only:
        plans += [(NETWORKS[0], change, "initialised") for change in CHANGES[1:]]
    for text, change, start in plans:
        architecture = space.parse(text)
        if start == "scratch":
            network = scratch(full_size, architecture, args.seed).with_head("embed")
        else:
            network = supernets[start].extract(architecture)
        config = dataclasses.replace(DistillConfig(steps=args.steps, seed=args.seed), **change)
        row: dict[str, Any] = {"network": text, "change": change, "start": start}
        for when in ("before", "after"):
            if when == "after":
                begin = time.process_time()
                batches = TrainBatches(tokens, config.batch_size, config.seed)
                network, _ = distill(network, teacher, batches, config)
                row["cpu_s"] = round(time.process_time() - begin, 1)
            row[when] = dataclasses.asdict(compare(wanted, vectors(teacher, network, judged)))
            if pairs is not None:
                trained = network
                row[when]["sts_spearman"] = evaluate_sts(
                    lambda s, n=trained: vectors(teacher, n, s), pairs
                )
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    json.dump(
        {
            "benchmark": "distill_recipes",
            "steps": args.steps,
            "supernet_steps": args.supernet_steps,
            "text": corpus.description,
            "rows": rows,
        },
        sys.stdout,
        indent=1,
    )


if __name__ == "__main__":
    main()
