"""What settings of the final distillation, starts and kinds of network give for the same time.

Each line of the result is one network trained with one change against the defaults of
`nasc.distillation.train.DistillConfig`, from one of four starts: ``scratch`` (random weights beside
the teacher's embedding, as the paper), ``initialised`` (as a supernet begins, from the teacher's
weights), ``supernet`` (out of one trained for `--supernet-steps`), ``shipped`` (out of the one that
comes with nasc). The defaults are trained from all starts asked for and on all networks, changes on
the first network from the last start, with as many steps as take about the same time: ``cpu_s``
says what they took.

``crops`` cuts half of the sentences to 3 to 12 words. ``relations`` adds how much each token of a
sentence resembles each other one, in the last hidden states (the divergence of Wang et al.,
MiniLMv2, 2021, Equation 3; a network that ends without attention has not its queries and keys).

    python benchmarks/training/distill_recipes.py --corpus TEXT --steps 150 [--sts STS-B/dev.tsv]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from torch import Tensor
from torch.nn import functional

from nasc.architecture.space import PRESETS
from nasc.context.text_source import MAX_CORPUS
from nasc.data import load_corpus
from nasc.data.tokens import Tokens
from nasc.distillation.masked_lm import scratch
from nasc.distillation.train import DistillConfig, distill, distill_loss
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.from_teacher import teacher_network
from nasc.supernet.batches import TrainBatches
from nasc.supernet.checkpoint import left_blocks, read_supernet_header
from nasc.supernet.initialize import initialize
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.shipped import load_shipped_supernet, shipped_supernet
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import TRAIN_LENGTH, TrainConfig, train
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher, load_teacher
from nasc.utils.masking import MASKED
from nasc.utils.torch_device import has_bf16

NETWORKS = (
    "192: M F M F | 192: M F M F | 192: M F M F",
    "128: M F M F | 128: M F M F | 128: M F M F",
    "384: M F | 384: M F | 384: M F",
    "384: M F | skip | keep",
)
STARTS = ("scratch", "initialised", "supernet", "shipped")
CROPS, RELATIONS = "crops", "relations"
CHANGES: dict[str, dict[str, float]] = {
    "rate-3e-4": {"learning_rate": 3e-4},
    "rate-5e-4": {"learning_rate": 5e-4},
    "rate-2e-3": {"learning_rate": 2e-3},
    "similarity-50": {"similarity_weight": 50.0},
    "similarity-0": {"similarity_weight": 0.0},
    "vectors-0": {"pooled_weight": 0.0},
    "hidden-0.3": {"hidden_weight": 0.3},
    "hidden-0": {"hidden_weight": 0.0},
    "batch-16": {"batch_size": 16},
    "batch-64": {"batch_size": 64},
    "fp32": {"bf16": False},
    CROPS: {},
    RELATIONS: {},
    "passes-1": {"passes": 1},
    "passes-4": {"passes": 4},
}
STEPS = {"batch-16": 2.0, "batch-64": 0.5, "fp32": 0.7, "passes-1": 0.77, "passes-4": 1.15}
"""Steps of a change over those of the defaults, where they cost something else."""


def with_relations(
    config: DistillConfig, states: Tensor, target: Tensor, attention_mask: Tensor
) -> Tensor:
    """`distill_loss` and what tokens have to do with each other, in the last hidden states."""
    real = attention_mask.bool()

    def told(x: Tensor) -> Tensor:
        found = functional.layer_norm(x, x.shape[-1:])
        scores = found @ found.transpose(1, 2) / x.shape[-1] ** 0.5
        return scores.masked_fill(~real[:, None, :], MASKED).log_softmax(-1)

    part = functional.kl_div(told(states), told(target), reduction="none", log_target=True)
    return distill_loss(config, states, target, attention_mask) + part.sum(-1)[real].mean()


def cropped(sentences: Sequence[str], seed: int) -> list[str]:
    """Half of the sentences cut to some of their words in a row."""
    rng = random.Random(seed)
    found = []
    for sentence in sentences:
        words, count = sentence.split(), rng.randint(3, 12)
        if rng.random() < 0.5 and len(words) > count:
            first = rng.randint(0, len(words) - count)
            words = words[first : first + count]
        found.append(" ".join(words))
    return found


def supernet_of(start: str, teacher: Teacher, tokens: Tokens, steps: int, seed: int) -> Supernet:
    """Where networks are cut out; of a scratch start, where only their shapes come from."""
    if start == "shipped":
        return load_shipped_supernet(teacher)
    supernet = Supernet(teacher_initialised_space(PRESETS["minilm-l6"]), teacher)
    batches = TrainBatches(tokens, TrainConfig(0).batch_size, seed)
    calibration = batches.calibration()
    initialize(supernet, calibration.input_ids, calibration.attention_mask, seed)
    if start == "supernet":
        train(supernet, batches, TrainConfig(steps, seed=seed, bf16=has_bf16()))
    return supernet


def check_left(supernet: Supernet, text: str, teacher: Teacher) -> None:
    """Leave unless shrinking left all blocks of a network, so that it was trained for long."""
    path = shipped_supernet(teacher.sha256)
    assert path is not None
    left = left_blocks(supernet.space, read_supernet_header(path))
    for position, block in enumerate(supernet.space.parse(text).blocks):
        if left is not None and block not in left[position]:
            raise SystemExit(f"the shipped supernet has no '{block}' at {position + 1}: {text}")


def main() -> None:
    """Train, judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", action="append", help="default: the text that comes with nasc")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--sts", type=Path)
    parser.add_argument("--supernet-steps", type=int, default=150)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS[:3]))
    parser.add_argument("--changes", nargs="*", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    teacher = load_teacher()
    corpus = load_corpus(args.corpus, seed=args.seed, max_sentences=MAX_CORPUS)
    texts = {False: corpus.train, True: cropped(corpus.train, args.seed)}
    tokens = {c: teacher.tokenize(t, max_length=TRAIN_LENGTH) for c, t in texts.items()}
    supernets = {
        start: supernet_of(start, teacher, tokens[False], args.supernet_steps, args.seed)
        for start in args.starts
    }
    for text, start in itertools.product(args.networks, args.starts):
        if start == "shipped":
            check_left(supernets[start], text, teacher)
    full_size = teacher_network(teacher, PRESETS["minilm-l6"].teacher)
    judged = list(corpus.heldout[-512:])
    wanted = teacher.vectors(judged)
    pairs = None if args.sts is None else read_sts(args.sts)
    plans = [(text, start, "") for text in args.networks for start in args.starts]
    plans += [(args.networks[0], args.starts[-1], change) for change in args.changes]
    rows = []
    for text, start, change in plans:
        architecture = supernets[start].space.parse(text)
        if start == "scratch":
            network = scratch(full_size, architecture, args.seed).with_head("embed")
        else:
            network = supernets[start].extract(architecture)
        changed = CHANGES.get(change, {})
        steps = round(args.steps * STEPS.get(change, 1.0))
        config = dataclasses.replace(DistillConfig(steps=steps, seed=args.seed), **changed)
        row: dict[str, Any] = {"network": text, "change": change, "start": start, "steps": steps}
        for when in ("before", "after"):
            if when == "after":
                begin = time.process_time()
                batches = TrainBatches(tokens[change == CROPS], config.batch_size, config.seed)
                loss = with_relations if change == RELATIONS else distill_loss
                with mock.patch("nasc.distillation.train.distill_loss", loss):
                    network, _ = distill(network, teacher, batches, config)
                row["cpu_s"] = round(time.process_time() - begin, 1)
            row[when] = dataclasses.asdict(
                compare(wanted, pooled_vectors(teacher, network, judged))
            )
            if pairs is not None:
                trained = network
                row[when]["sts_spearman"] = evaluate_sts(
                    lambda s, n=trained: pooled_vectors(teacher, n, s), pairs
                )
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    found = {
        "benchmark": "distill_recipes",
        "steps": args.steps,
        "supernet_steps": args.supernet_steps,
        "text": corpus.description,
        "rows": rows,
    }
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
