"""What vectors are worth on what no training saw, as several benchmarks judge them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nasc.data.corpus import load_corpus
from nasc.evaluation.agreement import pooled_cosine, similarity_spearman
from nasc.evaluation.retrieval import ranking_ndcg
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.networks.network import Network
from nasc.tasks.data import task_files
from nasc.tasks.glue import Examples, find_task, read_examples
from nasc.tasks.metrics import scores
from nasc.tasks.retrieval import read_retrieval, retrieval_places, retrieval_scores
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher

SENTENCES = 512
"""Held out of a text of another source than any training's."""

QUERIES = 2_000

CLASSIFIED = {"sst-2": "SST-2"}
"""Tasks of GLUE of which vectors tell something, with their folders. Of CoLA the teacher's do not
(a correlation of 0.06 to 0.10), of MRPC an untrained network's tell as much (0.74 to 0.75)."""

EXAMPLES = 5_000
"""Of a task that are learnt from, at most."""

STRENGTH = 0.001
"""Inverse of the regularisation (sklearn's C): of it and its tenfold to 1 the teacher's best."""

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[Any]], Vectors]


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    """The files that networks are judged by."""
    parser.add_argument("--squad", required=True, help="a file of SQuAD v1.1: questions to ask")
    parser.add_argument("--sts", required=True, help="dev.tsv of GLUE's STS-B (or .gz)")
    parser.add_argument("--text", required=True, help="of another source than any training's")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument(
        "--glue", type=Path, help="a folder of GLUE's: also what a classifier of vectors learns"
    )


def classified(encode: Encode, name: str, folder: Path) -> float:
    """The score of record of a task by a logistic regression on frozen vectors.

    Of two texts it is given the product of their vectors and how far apart they are (Conneau et
    al., EMNLP 2017, Section 3.1, and SentEval, LREC 2018), all scaled by what is seen in training.

    Args:
        encode: Gives vectors.
        name: Of a task of GLUE with classes.
        folder: Of its files; of the training file as many examples are taken as `EXAMPLES`.
    """
    known = find_task(name)
    train, dev = (read_examples(known, path) for path in task_files(name, folder))

    def features(examples: Examples, rows: NDArray[np.int64]) -> Vectors:
        first, *second = (
            encode([examples.texts[n][part] for n in rows]) for part in range(len(known.texts))
        )
        return np.hstack([first * second[0], np.abs(first - second[0])]) if second else first

    drawn = np.random.default_rng(0).permutation(len(train))[:EXAMPLES]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2_000))
    model.fit(features(train, drawn), train.labels[drawn])
    found = model.predict_proba(features(dev, np.arange(len(dev))))
    return scores(known, found, dev)[known.metrics[0]]


class Judging:
    """Scores of vectors beside the teacher's, in float32."""

    def __init__(self, teacher: Teacher, arguments: argparse.Namespace) -> None:
        self.teacher = teacher
        self._asked = read_retrieval(arguments.squad, arguments.queries)
        self._pairs = read_sts(arguments.sts)
        self._sentences = load_corpus(arguments.text, seed=0).heldout[:SENTENCES]
        self._wanted = teacher_vectors(teacher, self._sentences)
        self._glue: Path | None = arguments.glue

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Scores by name: retrieval of questions' paragraphs, agreement with the teacher, STS-B.

        Also those of `CLASSIFIED`, where a folder of them was given; a cosine where vectors are as
        long as the teacher's.
        """
        questions, paragraphs = encode(self._asked.questions), encode(self._asked.paragraphs)
        places = retrieval_places(self._asked, questions, paragraphs)
        found = encode(self._sentences)
        found_scores = {
            "mrr_at_10": retrieval_scores(self._asked, places)["mrr_at_10"].value,
            "ranking_ndcg": ranking_ndcg(self._wanted, found),
            "similarity": similarity_spearman(self._wanted, found),
            "sts_spearman": evaluate_sts(encode, self._pairs),
        }
        if found.shape == self._wanted.shape:  # static vectors are of another size
            found_scores["cosine"] = pooled_cosine(self._wanted, found)
        if self._glue is not None:
            for name, folder in CLASSIFIED.items():
                found_scores[name] = classified(encode, name, self._glue / folder)
        return {name: round(float(value), 4) for name, value in found_scores.items()}

    def network(self, network: Network) -> dict[str, float]:
        """Those of a network, its weights as they are stored."""
        return self(lambda texts: pooled_vectors(self.teacher, network, texts))
