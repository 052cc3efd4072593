"""Word embeddings of low rank: the table as (words x r) times (r x hidden), beside int8 and 4 bits.

A row of the table is its projection on r directions, plus the mean of all rows, which costs
nothing where it is added to the positions. Directions and mean are those of least square error, of
all words alike ("plain"), weighted by how often a word is in a text ("often") or by the root of
that ("root"); one is added to every count. Factors are stored in fp32, in int8, or with the words'
factor in 4 bits and the other one in int8, by the formats that nasc ships whole tables in.

Of each: bytes of the words; agreement of the vectors with the teacher's on held-out sentences,
Spearman's correlation on STS-B, MRR@10 of SQuAD's questions among its paragraphs. Size 0 is the
whole table. All but the words is in fp32, whose products are rounded to bfloat16 where the
processor has them, in every row of a table alike.

    python benchmarks/quality/low_rank_words.py --sts dev.tsv.gz --squad dev-v1.1.json \\
        --corpus wiki-en/train-00.txt.gz --counts wiki-en/valid.txt.gz

With --steps each network is distilled first, as `nasc compile` distils the one it chose, both
factors trained with it (of size 0 the words stay the teacher's, as there):

    python benchmarks/quality/low_rank_words.py ... --steps 400 --weights root \\
        --network "192: M F | 192: M F | 384: M F"

Prints a line of JSON each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nasc.architecture.layers import group_size
from nasc.architecture.space import PRESETS, Architecture
from nasc.context.text_source import MAX_CORPUS
from nasc.data import Corpus, load_corpus
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences
from nasc.distillation.train import DistillConfig, batches_of, distill, trainable
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.export.onnx import build
from nasc.export.quantization import ZERO_4BIT, quantize_rows, quantize_rows_4bit
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork, apply_layer, normalized_rows
from nasc.supernet.shipped import load_shipped_supernet
from nasc.tasks.retrieval import read_retrieval, retrieval_means, retrieval_places
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher, load_teacher
from nasc.utils.torch_device import has_bf16

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

Floats = NDArray[np.float32]

WHOLE = "keep | keep | keep"
STORED = ("fp32", "int8", "4bit")
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A word embedding as a product.

    Attributes:
        words: (words, size).
        back: (size, hidden).
        mean: (hidden,), of every row; it ships within the positions.
    """

    words: Floats
    back: Floats
    mean: Floats

    @property
    def table(self) -> Floats:
        """The words' rows, (words, hidden)."""
        return self.words @ self.back + self.mean


def factors(table: Floats, size: int, counts: NDArray[np.float64]) -> Factors:
    """The product of least square error, rows weighted by their counts.

    Args:
        table: (words, hidden).
        size: Of a row.
        counts: (words,).
    """
    share = counts / counts.sum()
    mean = share @ table
    centred = table - mean
    _, basis = np.linalg.eigh((centred * share[:, None]).T @ centred)
    kept = basis[:, ::-1][:, :size]
    return Factors(
        (centred @ kept).astype(np.float32), kept.T.astype(np.float32), mean.astype(np.float32)
    )


def in_int8(table: Floats) -> tuple[Floats, int]:
    """A table as int8 gives it back, and its bytes."""
    values, scales = quantize_rows(table)
    return values * scales[:, None], values.nbytes + scales.nbytes


def in_4bit(table: Floats) -> tuple[Floats, int]:
    """A table as 4 bits give it back, and its bytes."""
    packed, scales = quantize_rows_4bit(table)
    bits = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - ZERO_4BIT
    wide = scales.astype(np.float32).repeat(group_size(table.shape[1]), axis=1)
    return bits * wide, packed.nbytes + scales.nbytes


def as_stored(table: Floats, how: str) -> tuple[Floats, int]:
    """A table as one of `STORED` gives it back, and its bytes."""
    if how == "fp32":
        return table, table.nbytes
    return in_4bit(table) if how == "4bit" else in_int8(table)


def stored(found: Factors, how: str) -> tuple[Floats, int]:
    """The words' rows as factors that are stored give them, and their bytes."""
    words, size = as_stored(found.words, how)
    # Outputs of the product have a scale each, as every matrix in int8.
    back, more = as_stored(np.ascontiguousarray(found.back.T), "fp32" if how == "fp32" else "int8")
    return Factors(words, back.T, found.mean).table, size + more


def with_words(network: Network, table: Floats) -> Network:
    """The network with other rows of words."""
    embedding = {**network.tensors[0], "word": np.asarray(table, np.float32)}
    return dataclasses.replace(network, tensors=(embedding, *network.tensors[1:]))


class LowRankNetwork(TorchNetwork):
    """A network whose words are a product, both factors of which are trained."""

    def __init__(self, network: Network, found: Factors) -> None:
        """Begin with factors.

        Args:
            network: Whose other tensors are trained as `nasc.distillation.train.trainable` says.
            found: In place of its words; their mean goes into the positions.
        """
        super().__init__(network)
        for mine, theirs in zip(self.parameters(), trainable(network).parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
        own = self.tensors[0]
        own["position"].data += torch.from_numpy(found.mean)  # type: ignore[index]
        del own["word"]  # type: ignore[arg-type,attr-defined]
        self.mean = found.mean
        own["words"] = nn.Parameter(torch.from_numpy(found.words))  # type: ignore[index]
        own["back"] = nn.Parameter(torch.from_numpy(found.back))  # type: ignore[index]

    def hidden_state(self, input_ids: Tensor, mask: Mask) -> Tensor:
        """See `TorchNetwork`."""
        t = dict(self.tensors[0].named_parameters())
        x = functional.embedding(input_ids, t["words"]) @ t["back"]
        x = normalized_rows(t, x + t["position"][: input_ids.shape[1]], self.eps)
        for layer, own in zip(self.layers[1:-1], list(self.tensors)[1:-1], strict=True):
            x = apply_layer(layer, own, x, mask, self.geometry, self.eps)  # type: ignore[arg-type]
        return x

    @property
    def factors(self) -> Factors:
        """The factors now, with the mean that they began with."""
        t = {name: value.detach().numpy() for name, value in self.tensors[0].named_parameters()}
        return Factors(t["words"], t["back"], self.mean)

    def export(self) -> Network:
        """The network with the product of its factors as words, and positions as they were."""
        tensors = [dict(own.named_parameters()) for own in self.tensors]
        arrays = [{n: v.detach().numpy().copy() for n, v in own.items()} for own in tensors]
        del arrays[0]["words"], arrays[0]["back"]
        arrays[0]["position"] -= self.mean
        arrays[0]["word"] = self.factors.table
        return Network(self.architecture, self.geometry, self.head, tuple(arrays), self.eps)


class Judge:
    """Figures of networks in torch."""

    def __init__(self, teacher: Teacher, corpus: Corpus, given: argparse.Namespace) -> None:
        """Read what they are judged on.

        Args:
            teacher: What they agree with.
            corpus: Whose held-out sentences they are judged on.
            given: The command's options.
        """
        self._teacher = teacher
        self._sentences = list(judging_sentences(corpus, JUDGING_SENTENCES))
        self._wanted = teacher.vectors(self._sentences)
        self._pairs = read_sts(given.sts)
        self._asked = None
        if given.squad is not None:
            self._asked = read_retrieval(given.squad, given.queries)

    def _vectors(self, network: Network, texts: Sequence[str]) -> Floats:
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            return pooled_vectors(self._teacher, network, texts).astype(np.float32)

    def __call__(self, network: Network) -> dict[str, float]:
        """Figures of one."""
        agreed = compare(self._wanted, self._vectors(network, self._sentences))
        found = dataclasses.asdict(agreed)
        found["sts_spearman"] = evaluate_sts(lambda s: self._vectors(network, s), self._pairs)
        if self._asked is not None:
            questions, paragraphs = (
                self._vectors(network, texts)
                for texts in (self._asked.questions, self._asked.paragraphs)
            )
            places = retrieval_places(self._asked, questions, paragraphs)
            found |= retrieval_means(places)
        return {name: round(value, 4) for name, value in found.items()}


def counted(teacher: Teacher, texts: Sequence[str]) -> NDArray[np.float64]:
    """How often each word is in texts, and one more: (words,)."""
    ids = teacher.tokenize(texts).flat.numpy()
    return np.bincount(ids, minlength=teacher.geometry.vocab_size) + 1.0


def weights(how: str, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """What rows are weighted by: (words,)."""
    return {"plain": np.ones_like(counts), "root": np.sqrt(counts), "often": counts}[how]


def start(teacher: Teacher, architecture: Architecture) -> Network:
    """A network before it is distilled: the teacher's own, or out of the supernet that ships."""
    if str(architecture) == str(PRESETS["minilm-l6"].teacher):
        return teacher_network(teacher, architecture)
    return load_shipped_supernet(teacher).extract(architecture)


def rest_bytes(network: Network) -> int:
    """Bytes of an int8 file without the rows of words."""
    wide = network.with_precision("int8")
    table = network.tensors[0]["word"]
    return len(build(wide).SerializeToString()) - in_int8(table)[1]


def distilled(
    network: Network,
    teacher: Teacher,
    corpus: Corpus,
    config: DistillConfig,
    begin: Factors | None,
) -> tuple[Network, Factors | None]:
    """A network trained, and the factors of its words where they are two."""
    if not config.steps:
        return network if begin is None else with_words(network, begin.table), begin
    batches = batches_of(teacher, corpus, config, config.steps * config.batch_size)
    progress = Lines().stage(f"{config.steps} steps")
    if begin is None:
        return distill(network, teacher, batches, config, progress=progress)[0], None
    model = LowRankNetwork(network, begin)
    with mock.patch("nasc.distillation.train.trainable", return_value=model):
        trained = distill(network, teacher, batches, config, progress=progress)[0]
    return trained, model.factors


def rows(
    network: Network,
    teacher: Teacher,
    corpus: Corpus,
    judge: Judge,
    counts: NDArray[np.float64],
    given: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """What every size and way to store it gives of one network."""
    config = DistillConfig(given.steps, learning_rate=given.rate, seed=given.seed)
    table, rest = network.tensors[0]["word"], rest_bytes(network)
    for size in given.sizes:
        for how in given.weights if size else [""]:
            begin = factors(table, size, weights(how, counts)) if size else None
            trained, found = distilled(network, teacher, corpus, config, begin)
            for kind in given.stored:
                if found is None:
                    words, taken = as_stored(table, kind)
                else:
                    words, taken = stored(found, kind)
                yield {
                    "network": str(network.architecture),
                    "size": size,
                    "weights": how,
                    "steps": given.steps,
                    "stored": kind,
                    "words_bytes": taken,
                    "file_bytes": rest + taken,
                    **judge(with_words(trained, words)),
                }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sts", type=Path, required=True, help="STS-B's dev.tsv, or .gz")
    parser.add_argument("--squad", type=Path, help="SQuAD's dev-v1.1.json, or .gz")
    parser.add_argument("--queries", type=int, default=2000, help="of its questions")
    parser.add_argument("--corpus", nargs="+", help="default: the text that comes with nasc")
    parser.add_argument("--counts", nargs="+", help="what words are counted in; default: --corpus")
    parser.add_argument("--sizes", nargs="+", type=int, default=[0, 64, 96, 128, 192, 256])
    parser.add_argument("--weights", nargs="+", default=["plain", "root", "often"])
    parser.add_argument("--stored", nargs="+", choices=STORED, default=list(STORED))
    parser.add_argument("--network", nargs="+", default=[WHOLE])
    parser.add_argument("--steps", type=int, default=0, help="of distillation")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    teacher = load_teacher()
    corpus = load_corpus(given.corpus, seed=given.seed, max_sentences=MAX_CORPUS)
    texts = corpus.train
    if given.counts is not None:
        texts = load_corpus(given.counts, seed=given.seed).train
    counts, judge = counted(teacher, texts), Judge(teacher, corpus, given)
    for text in given.network:
        network = start(teacher, PRESETS["minilm-l6"].parse(text))
        for row in rows(network, teacher, corpus, judge, counts, given):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
