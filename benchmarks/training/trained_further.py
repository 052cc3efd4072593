"""What texts, losses and trained words bring to a network that comes trained with nasc.

Each recipe trains it further for as many steps, from the same start and with the loss of vectors
and similarities that it was trained by. Texts are sentences, several joined, and the questions of
SQuAD's training file, in the shares that the recipe names; the teacher is asked for the vector of
each once.

``neighbours`` makes batches of texts whose teacher's vectors are close, eight at a time, so that
similarities within a batch are not all near 0. ``queue`` adds the divergence of the softmax of
similarities with 8,192 vectors of the teacher (rank distillation: Fang et al., SEED, ICLR 2021,
Equation 2, with a temperature of 0.05), the text itself left out. ``words`` trains the embedding's
rows, too.

    OMP_NUM_THREADS=1 python benchmarks/training/trained_further.py --corpus wiki-en/train-00.txt.gz
        --questions train-v1.1.json --squad dev-v1.1.json --sts STS-B/dev.tsv.gz
        --text wikitext-2/valid.txt.gz > trained_further.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nasc.data.corpus import corpus_from_sentences, load_corpus
from nasc.data.joined import joined
from nasc.data.sources import Reading, read_all
from nasc.data.tokens import Batch, Tokens
from nasc.distillation import train as training
from nasc.distillation.train import DistillConfig, distill, distill_loss
from nasc.distillation.trained import FOLDER, read_trained
from nasc.evaluation.agreement import compare
from nasc.evaluation.retrieval import ranking_ndcg
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.networks.from_teacher import is_the_teachers
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, pool
from nasc.supernet.batches import TrainBatches
from nasc.supernet.train import TRAIN_LENGTH
from nasc.tasks.retrieval import read_retrieval, retrieval_places, retrieval_scores
from nasc.tasks.squad import read_squad
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher, load_teacher

SENTENCES = 512
QUERIES = 2_000
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


RECIPES = {
    "sentences": Recipe(joined=0.0),
    "joined": Recipe(),
    "joined-30": Recipe(joined=0.3),
    "passes-4": Recipe(passes=4),
    "questions": Recipe(questions=0.3),
    "neighbours": Recipe(questions=0.3, neighbours=True),
    "queue": Recipe(questions=0.3, queue=True),
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
    parser.add_argument("--questions", required=True, help="a file of SQuAD to train on")
    parser.add_argument("--squad", required=True, help="another one to judge by")
    parser.add_argument("--sts", required=True)
    parser.add_argument("--text", required=True, help="text of another source to judge by")
    parser.add_argument("--start", type=Path, default=next(FOLDER.glob("minilm-l6.safetensors")))
    parser.add_argument("--networks", nargs="+", help="default: all of --start")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    teacher = load_teacher()
    asked, pairs = read_retrieval(args.squad, QUERIES), read_sts(args.sts)
    judged = load_corpus(args.text, seed=0).heldout[:SENTENCES]
    wanted = teacher_vectors(teacher, judged)
    networks = {
        str(one.network.architecture).split(" @ ")[0]: one.network
        for one in read_trained(args.start, teacher)
    }
    unknown = [name for name in args.networks or () if name not in networks]
    if unknown:
        parser.error(f"{args.start} holds no {', no '.join(unknown)}, but {', '.join(networks)}")

    def scores(network: Network) -> dict[str, float]:
        def encode(texts: Sequence[Any]) -> NDArray[np.float32]:
            return pooled_vectors(teacher, network, texts)

        places = retrieval_places(asked, encode(asked.questions), encode(asked.paragraphs))
        found = encode(judged)
        agreement = compare(wanted, found)
        rows = {
            "mrr_at_10": retrieval_scores(asked, places)["mrr_at_10"].value,
            "ranking_ndcg": ranking_ndcg(wanted, found),
            "similarity": agreement.similarity_spearman,
            "cosine": agreement.pooled_cosine,
            "sts_spearman": evaluate_sts(encode, pairs),
        }
        return {name: round(float(value), 4) for name, value in rows.items()}

    rows: list[dict[str, Any]] = []

    def tell(**row: Any) -> None:
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    names = args.networks or list(networks)
    for name in names:
        tell(network=name, recipe="as it comes", **scores(networks[name]))
    config = DistillConfig(args.steps, learning_rate=args.learning_rate, hidden_weight=0.0)
    questions = [one.question.strip() for one in read_squad(args.questions)]
    vectors: dict[str, NDArray[np.float32]] = {}
    for seed, kind in itertools.product(args.seeds, args.recipes):
        recipe = RECIPES[kind]
        count = args.steps * config.batch_size // recipe.passes
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
        for name in names:
            taught = Taught(tokens, known, recipe, config.batch_size)
            begin = time.process_time()
            after = trained(
                networks[name], teacher, taught, dataclasses.replace(config, seed=seed), recipe
            )
            cpu_s = round(time.process_time() - begin)
            tell(network=name, recipe=kind, seed=seed, cpu_s=cpu_s, **scores(after))
    found = {"benchmark": "trained_further", "steps": args.steps, "rows": rows}
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
