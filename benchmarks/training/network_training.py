"""What texts, losses, trained words and shapes bring to networks that are trained by themselves.

Each recipe trains a network for as many steps, with the loss of vectors and similarities that those
that come with nasc were trained by. Texts are sentences, several joined, and the questions of
SQuAD's training file, in the shares that the recipe names; the teacher is asked for the vector of
each once. Networks are named as ``families.py`` says.

``neighbours`` makes batches of texts whose teacher's vectors are close, eight at a time, so that
similarities within a batch are not all near 0. ``queue`` adds the divergence of the softmax of
similarities with 8,192 vectors of the teacher (rank distillation: Fang et al., SEED, ICLR 2021,
Equation 2, with a temperature of 0.05), the text itself left out. ``words`` trains the embedding's
rows, too; ``average`` keeps an exponential mean of the weights. Other batches are of as many texts
in all, so that their steps are more or fewer.

    OMP_NUM_THREADS=1 python benchmarks/training/network_training.py
        --corpus wiki-en/train-00.txt.gz --questions train-v1.1.json --squad dev-v1.1.json
        --sts STS-B/dev.tsv.gz --text wikitext-2/valid.txt.gz > network_training.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nasc.data.corpus import corpus_from_sentences
from nasc.data.joined import joined
from nasc.data.sources import Reading, read_all
from nasc.data.tokens import Batch, Tokens
from nasc.distillation import train as training
from nasc.distillation.train import DistillConfig, distill, distill_loss
from nasc.distillation.trained import FOLDER, read_trained
from nasc.errors import UsageError
from nasc.evaluation.torch_vectors import teacher_vectors
from nasc.networks.from_teacher import is_the_teachers
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, pool
from nasc.supernet.batches import TrainBatches
from nasc.supernet.train import TRAIN_LENGTH
from nasc.tasks.squad import read_squad
from nasc.teacher import Teacher, load_teacher

sys.path.append(str(Path(__file__).parents[1]))
from families import by_name, network_of
from judging import Judging, add_judging_options

BUCKET = 50
"""Batches among which texts are sorted by length."""

QUEUE, TEMPERATURE = 8_192, 0.05
CLOSE = 8
AMONG = 4_096
"""Texts among which close ones are looked for."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One way to train."""

    joined: float = 0.15
    questions: float = 0.0
    passes: int = 1
    neighbours: bool = False
    queue: bool = False
    words: bool = False
    batch: int = 32
    rate: float = 1.0
    """What the learning rate is multiplied with."""
    average: float = 0.0
    """Decay of the mean of weights over steps that is kept in their place; 0 keeps the last."""


RECIPES = {
    "sentences": Recipe(joined=0.0),
    "joined": Recipe(),
    "joined-30": Recipe(joined=0.3),
    "passes-4": Recipe(passes=4),
    "questions": Recipe(questions=0.3),
    "neighbours": Recipe(questions=0.3, neighbours=True),
    "queue": Recipe(questions=0.3, queue=True),
    "batch-16": Recipe(batch=16, rate=0.7),
    "batch-64": Recipe(batch=64, rate=1.4),
    "rate-2": Recipe(rate=2.0),
    "average": Recipe(average=0.99),
    "words": Recipe(words=True),
    "words-passes-4": Recipe(passes=4, words=True),
}


class Taught:
    """Batches of texts with the teacher's vectors, in a recipe's order."""

    def __init__(self, tokens: Tokens, vectors: Tensor, recipe: Recipe, size: int) -> None:
        self.tokens, self.vectors = tokens, vectors
        self._order = self._batches(recipe, size)

    def at(self, step: int) -> tuple[Batch, Tensor]:
        """The batch of the next step: `distill` asks for them one after the other."""
        rows = next(self._order)
        return self.tokens.batch(torch.from_numpy(rows)), self.vectors[rows]

    def _batches(self, recipe: Recipe, size: int) -> Iterator[NDArray[np.int64]]:
        lengths = self.tokens.lengths.numpy()
        for number in itertools.count():
            rng = np.random.default_rng(number)
            shuffled = rng.permutation(len(lengths))
            if recipe.neighbours:
                parts = np.array_split(shuffled, -(-len(shuffled) // AMONG))
                groups = [group for part in parts for group in self._close(part)]
                shuffled = np.concatenate([groups[n] for n in rng.permutation(len(groups))])
            else:
                parts = np.array_split(shuffled, -(-len(shuffled) // (BUCKET * size)))
                shuffled = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in parts])
            batches = shuffled[: len(shuffled) // size * size].reshape(-1, size)
            yield from batches[rng.permutation(len(batches))]

    def _close(self, places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Groups of texts whose vectors are close, each text in one."""
        found = functional.normalize(self.vectors[places], dim=-1)
        similar = found @ found.T
        left = np.ones(len(places), bool)
        for n in range(len(places)):
            if left[n]:
                near = similar[n].masked_fill(torch.from_numpy(~left), -2.0)
                group = near.topk(min(CLOSE, int(left.sum()))).indices.numpy()
                left[group] = False
                yield places[group]


def with_queue(bank: Tensor, *given: Any, **more: Any) -> Tensor:
    """`distill_loss` and the divergence of similarities with a bank of the teacher's vectors."""
    _, states, target, attention_mask, pooling, *_ = given
    ours = functional.normalize(pool(states, Mask.of(attention_mask), pooling), dim=-1)
    theirs = functional.normalize(target, dim=-1) @ bank.T
    itself = theirs > 1 - 1e-4
    told = [(x / TEMPERATURE).masked_fill(itself, -1e4) for x in (ours @ bank.T, theirs)]
    found, wanted = (x.log_softmax(-1) for x in told)
    part = functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return distill_loss(*given, **more) + part


class Averaging(torch.optim.AdamW):
    """AdamW that leaves the exponential mean of the weights behind after so many steps."""

    def __init__(self, groups: Any, *, decay: float, steps: int, **options: Any) -> None:
        super().__init__(groups, **options)
        self.decay, self.left = decay, steps
        self.weights = [p for group in self.param_groups for p in group["params"]]
        self.means = [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; after the last one the mean takes the place of the weights."""
        found = super().step(closure)
        torch._foreach_lerp_(self.means, self.weights, 1 - self.decay)
        self.left -= 1
        if self.left == 0:
            torch._foreach_copy_(self.weights, self.means)
        return found


def without_the_words(name: str) -> bool:
    """`is_the_teachers`, but for the words."""
    return name != "word" and is_the_teachers(name)


def trained(
    network: Network, teacher: Teacher, taught: Taught, config: DistillConfig, recipe: Recipe
) -> Network:
    """The network after its training by a recipe."""
    with ExitStack() as patches:

        def put(name: str, value: object) -> None:
            patches.enter_context(mock.patch.object(training, name, value))

        put("teacher_batches_of", lambda *given: taught)
        if recipe.queue:
            bank = functional.normalize(taught.vectors[:QUEUE], dim=-1)
            put("distill_loss", lambda *given, **more: with_queue(bank, *given, **more))
        if recipe.average:
            averaging = partial(Averaging, decay=recipe.average, steps=config.steps)
            patches.enter_context(mock.patch.object(torch.optim, "AdamW", averaging))
        if recipe.words:
            put("is_the_teachers", without_the_words)
            first = {**network.tensors[0], "word": network.tensors[0]["word"].copy()}
            network = dataclasses.replace(network, tensors=(first, *network.tensors[1:]))
        unused = TrainBatches(taught.tokens, config.batch_size, config.seed)
        return distill(network, teacher, unused, config)[0]


def main() -> None:
    """Train, judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", action="append", required=True)
    parser.add_argument("--questions", required=True, help="a file of SQuAD v1.1 to train on")
    add_judging_options(parser)
    parser.add_argument("--start", type=Path, default=next(FOLDER.glob("minilm-l6.safetensors")))
    parser.add_argument("--networks", nargs="+", help="default: all of --start")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    teacher = load_teacher()
    held = by_name(read_trained(args.start, teacher))
    names = args.networks or list(held)
    try:
        networks = {name: network_of(name, teacher, held) for name in names}
    except UsageError as error:
        parser.error(str(error))
    judging = Judging(teacher, args)
    rows: list[dict[str, Any]] = []

    def tell(**row: Any) -> None:
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    for name, network in networks.items():
        tell(network=name, recipe="none", **judging.network(network))
    questions = [one.question.strip() for one in read_squad(args.questions)]
    vectors: dict[str, NDArray[np.float32]] = {}
    for seed, kind in itertools.product(args.seeds, args.recipes):
        recipe = RECIPES[kind]
        config = DistillConfig(
            args.steps * Recipe.batch // recipe.batch,
            batch_size=recipe.batch,
            learning_rate=args.learning_rate * recipe.rate,
            hidden_weight=0.0,
            seed=seed,
        )
        count = config.steps * config.batch_size // recipe.passes
        asking = round(count * recipe.questions)
        sentences = read_all(args.corpus, Reading())
        plain = corpus_from_sentences(
            joined(sentences, recipe.joined, seed),
            description="",
            seed=seed,
            max_sentences=count - asking,
        ).train
        drawn = np.random.default_rng(seed).permutation(len(questions))[:asking]
        texts = [*plain, *(questions[n] for n in drawn)]
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        vectors.update(zip(new, teacher_vectors(teacher, new), strict=True) if new else ())
        tokens = teacher.tokenize(texts, max_length=TRAIN_LENGTH)
        known = torch.from_numpy(np.stack([vectors[text] for text in texts]))
        for name, network in networks.items():
            taught = Taught(tokens, known, recipe, config.batch_size)
            begin = time.process_time()
            after = trained(network, teacher, taught, config, recipe)
            cpu_s = round(time.process_time() - begin)
            tell(network=name, recipe=kind, seed=seed, cpu_s=cpu_s, **judging.network(after))
    found = {"benchmark": "network_training", "steps": args.steps, "rows": rows}
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
