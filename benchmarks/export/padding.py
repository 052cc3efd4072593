"""Gate: a sentence alone and the same sentence padded in a batch give the same vector (1e-5).

Networks of every operation at every hidden size, mixtures and the full-size network, with both
heads, in fp32, cut from a supernet that starts from the teacher's weights (not trained). Each is
run on texts of every length from 1 to the most positions, alone and in one padded batch, once with
zeros and once with random tokens as padding. Hidden states exceed 1: their difference is relative
to the largest value of a text where that is above 1.

An untrained separable convolution adds nothing (its last product starts at zero), which would hide
what it reads: it gets random weights here.

    python benchmarks/export/padding.py > padding.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.heads import HEADS
from nasc.architecture.space import Architecture, Block, SearchSpace, kernel_size
from nasc.data import load_corpus
from nasc.data.batching import pad
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import LENGTHS, texts_of_lengths
from nasc.evaluation.parity_report import PADDING_TOLERANCE
from nasc.export.onnx import emit
from nasc.networks.network import Network
from nasc.supernet.initialize import initialize
from nasc.supernet.space_for import space_for
from nasc.supernet.supernet import Supernet
from nasc.teacher import load_teacher

CALIBRATION_SENTENCES = 128
TEXT_SENTENCES = 200


def families(space: SearchSpace) -> Iterator[Architecture]:
    """The full-size network, every operation at every size, and mixtures of all of them."""
    yield space.teacher
    for operation in space.operations:
        for hidden in space.hidden_sizes:
            yield Architecture((Block(hidden, (operation, operation)),) * space.n_blocks)
    sizes, names = space.hidden_sizes, space.operations
    for shift in range(len(names)):
        blocks = tuple(
            Block(
                sizes[(shift + index) % len(sizes)],
                tuple(names[(shift + index + slot) % len(names)] for slot in range(space.slots)),
            )
            for index in range(space.n_blocks)
        )
        yield Architecture(blocks)
        yield Architecture((space.kept_block, *blocks[1:]))


def awake(network: Network, rng: np.random.Generator) -> Network:
    """The network with random weights where a separable convolution starts at zero."""
    tensors = []
    for layer, own in zip(network.layers, network.tensors, strict=True):
        found = dict(own)
        if kernel_size(layer.kind):
            for name, value in own.items():
                if value.ndim == 2 and not value.any():
                    noise = rng.standard_normal(value.shape) * value.shape[1] ** -0.5
                    found[name] = noise.astype(np.float32)
        tensors.append(found)
    return dataclasses.replace(network, tensors=tuple(tensors))


def largest_difference(
    encoder: Encoder, texts: list[list[int]], rng: np.random.Generator
) -> dict[str, float]:
    """Between texts alone and in a padded batch: absolute, and on the gate's scale.

    And without the mask: what the difference is when padding is read.
    """
    ids, mask = pad(texts)
    noisy = np.where(mask == 1, ids, rng.integers(0, max(map(max, texts)), ids.shape))
    batches = [encoder.run(ids, mask), encoder.run(noisy, mask)]
    unmasked = encoder.run(ids, np.ones_like(mask))
    absolute, scaled, seen = [], [], []
    for row, text in enumerate(texts):
        alone = encoder.run(*pad([text]))[0]
        scale = max(1.0, float(np.abs(alone).max())) if encoder.head == "hidden" else 1.0
        for batch in [*batches, unmasked]:
            padded = batch[row] if encoder.head == "embed" else batch[row, : len(text)]
            difference = float(np.abs(alone - padded).max())
            if batch is unmasked:
                seen.append(difference)
            else:
                absolute.append(difference)
                scaled.append(difference / scale)
    return {
        "max_abs_diff": float(np.max(absolute)),
        "max_scaled_diff": float(np.max(scaled)),
        "unmasked_max_abs_diff": float(np.max(seen)),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(arguments.seed)
    teacher = load_teacher(arguments.teacher)
    space = space_for(teacher, None)
    corpus = load_corpus(arguments.corpus or None, seed=arguments.seed)
    supernet = Supernet(space, teacher)
    print("initialising the supernet", file=sys.stderr)
    calibration = teacher.encode(corpus.train[:CALIBRATION_SENTENCES], max_length=64)
    initialize(supernet, calibration.input_ids, calibration.attention_mask, arguments.seed)
    rows = teacher.tokenize(corpus.heldout[:TEXT_SENTENCES]).rows()
    lengths = [
        n for n in LENGTHS if n <= min(arguments.most_tokens, teacher.geometry.max_positions)
    ]
    texts = texts_of_lengths(rows, lengths)
    networks = list(families(space))[: arguments.networks]
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for index, architecture in enumerate(networks):
            found[str(architecture)] = {}
            for head in HEADS:
                emit(awake(supernet.extract(architecture, head), rng), path)
                difference = largest_difference(Encoder(path), texts, rng)
                found[str(architecture)][head] = difference
            words = ", ".join(
                f"{h} {d['max_abs_diff']:.2g}" for h, d in found[str(architecture)].items()
            )
            print(f"{index + 1}/{len(networks)} {architecture}: {words}", file=sys.stderr)
    worst = {
        head: {
            name: max(by_head[head][name] for by_head in found.values())
            for name in ("max_abs_diff", "max_scaled_diff")
        }
        | {"least_unmasked": min(d[head]["unmasked_max_abs_diff"] for d in found.values())}
        for head in HEADS
    }
    return {
        "benchmark": "padding",
        "teacher": teacher.name,
        "tolerance": PADDING_TOLERANCE,
        "lengths": lengths,
        "networks": found,
        "worst": worst,
        "gates_met": {head: worst[head]["max_scaled_diff"] <= PADDING_TOLERANCE for head in HEADS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", help="folder or hub id; default: the default teacher")
    parser.add_argument("--corpus", nargs="+", default=[], help="text; default: that at hand")
    parser.add_argument("--most-tokens", type=int, default=512, help="of the longest text")
    parser.add_argument("--networks", type=int, help="only the first so many")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(run(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
