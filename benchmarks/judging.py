"""What vectors are worth on what no training saw, as several benchmarks judge them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.data.corpus import load_corpus
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.networks.network import Network
from nasc.tasks.retrieval import read_retrieval, retrieval_places, retrieval_scores
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher

SENTENCES = 512
"""Held out of a text of another source than any training's."""

QUERIES = 2_000

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[Any]], Vectors]


def add_judging_options(parser: argparse.ArgumentParser) -> None:
    """The files that networks are judged by."""
    parser.add_argument("--squad", required=True, help="a file of SQuAD v1.1: questions to ask")
    parser.add_argument("--sts", required=True, help="dev.tsv of GLUE's STS-B (or .gz)")
    parser.add_argument("--text", required=True, help="of another source than any training's")
    parser.add_argument("--queries", type=int, default=QUERIES)


class Judging:
    """Scores of vectors beside the teacher's, in float32."""

    def __init__(self, teacher: Teacher, arguments: argparse.Namespace) -> None:
        self.teacher = teacher
        self._asked = read_retrieval(arguments.squad, arguments.queries)
        self._pairs = read_sts(arguments.sts)
        self._sentences = load_corpus(arguments.text, seed=0).heldout[:SENTENCES]
        self._wanted = teacher_vectors(teacher, self._sentences)

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Scores by name: retrieval of questions' paragraphs, agreement with the teacher, STS-B."""
        questions, paragraphs = encode(self._asked.questions), encode(self._asked.paragraphs)
        places = retrieval_places(self._asked, questions, paragraphs)
        found = encode(self._sentences)
        agreement = compare(self._wanted, found)
        scores = {
            "mrr_at_10": retrieval_scores(self._asked, places)["mrr_at_10"].value,
            "ranking_ndcg": agreement.ranking_ndcg,
            "similarity": agreement.similarity_spearman,
            "cosine": agreement.pooled_cosine,
            "sts_spearman": evaluate_sts(encode, self._pairs),
        }
        return {name: round(float(value), 4) for name, value in scores.items()}

    def network(self, network: Network) -> dict[str, float]:
        """Those of a network, its weights as they are stored."""
        return self(lambda texts: pooled_vectors(self.teacher, network, texts))
