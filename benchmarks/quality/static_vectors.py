"""Static word vectors of a teacher: what model2vec makes of it, as a model for onnxruntime.

Every token of the vocabulary alone, between the special tokens, goes through the teacher; its
vector is the mean over those three tokens. Principal components of all of them are kept, and each
is weighted by a / (a + p), where p is the token's share by Zipf's law (its number in the vocabulary
stands for its rank) and a is 1e-4 (SIF: Arora et al., ICLR 2017). A text is the mean of its tokens,
scaled to length 1. So does model2vec 0.10 (Tulkens and van Dongen, 2024) without a vocabulary of
one's own: far_end.py measures what is made here, and here it is held against model2vec itself,

    pip install --no-deps model2vec==0.10.0 'skeletoken<0.7'
    python benchmarks/quality/static_vectors.py --sts STS-B/dev.tsv
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nasc.evaluation.agreement import rank_correlation
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.similarity import unit_vectors
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import Teacher, default_teacher_folder, load_teacher

SIF = 1e-4
UNUSED = re.compile(r"\[unused\d+\]")
BATCH = 512

Floats = NDArray[np.float32]


def kept_tokens(teacher: Teacher) -> NDArray[np.int64]:
    """Ids of the tokens that have a vector: all but special and unused ones, in order."""
    tokenizer = teacher.tokenizer
    special = set(tokenizer.all_special_ids)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    kept = [i for token, i in vocabulary if i not in special and not UNUSED.fullmatch(token)]
    return np.array(kept)


@torch.no_grad()
def token_vectors(teacher: Teacher, ids: NDArray[np.int64]) -> Floats:
    """What the teacher makes of single tokens: (tokens, hidden), not scaled.

    Args:
        teacher: With a tokenizer that puts one special token before a text and one behind it.
        ids: (tokens,).
    """
    before, behind = teacher.tokenizer("")["input_ids"]
    found = np.empty((len(ids), teacher.geometry.hidden), np.float32)
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        rows = np.stack([np.full(len(some), before), some, np.full(len(some), behind)], 1)
        tokens = torch.from_numpy(rows)
        states = teacher.hidden_states(tokens, torch.ones_like(tokens))[-1]
        found[start : start + BATCH] = states.mean(1).numpy()
    return found


def principal(vectors: Floats, size: int) -> Floats:
    """Vectors in the basis of their first principal components: (n, size)."""
    centred = vectors.astype(np.float64)
    centred = centred - centred.mean(0)
    _, basis = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ basis[:, ::-1][:, :size], np.float32)


def zipf_weights(count: int, sif: float = SIF) -> NDArray[np.float64]:
    """Weights of tokens by their rank: (count,)."""
    share = 1 / np.arange(2, count + 2)
    return np.asarray(sif / (sif + share / share.sum()))


def static_table(
    teacher: Teacher, ids: NDArray[np.int64], vectors: Floats, size: int | None
) -> Floats:
    """The vectors of a whole vocabulary: (vocab_size, size), zero where a token has none.

    Args:
        teacher: Whose vocabulary.
        ids: (tokens,) of `kept_tokens`.
        vectors: (tokens, hidden) of `token_vectors`.
        size: Principal components that are kept.
    """
    size = size or vectors.shape[1]
    table = np.zeros((teacher.geometry.vocab_size, size), np.float32)
    table[ids] = principal(vectors, size) * zipf_weights(len(ids))[:, None]
    return table


def write_static(table: Floats, path: Path, max_positions: int) -> None:
    """A model that looks vectors up: inputs, output and metadata as those that nasc writes.

    Args:
        table: (vocab_size, size).
        path: The ONNX file.
        max_positions: Longest input in tokens.
    """
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["mask"]),
        helper.make_node("Mul", ["rows", "mask"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["sentence_embedding"], axis=-1, p=2),
    ]
    axes: Sequence[str] = ["batch", "seq_len"]
    graph = helper.make_graph(
        nodes,
        "static",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, axes)
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info(
                "sentence_embedding", TensorProto.FLOAT, ["batch", table.shape[1]]
            )
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    about = {
        "nasc.architecture": f"static {table.shape[1]}",
        "nasc.head": "embed",
        "nasc.max_positions": str(max_positions),
    }
    helper.set_model_props(model, about)
    onnx.save(model, path)


def against_model2vec(sts: Path, size: int, sentences: int) -> dict[str, float]:
    """How far similarities, and the score on STS-B, are from those of model2vec's own model."""
    distill = importlib.import_module("model2vec.distill").distill
    teacher = load_teacher()
    ids = kept_tokens(teacher)
    table = static_table(teacher, ids, token_vectors(teacher, ids), size)
    theirs = distill(str(default_teacher_folder()), pca_dims=size, quantize_to="float32")
    pairs = read_sts(sts)
    texts = list(dict.fromkeys(pair.first for pair in pairs))[:sentences]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "static.onnx"
        write_static(table, path, teacher.geometry.max_positions)
        encoder = Encoder(path, teacher.tokenizer, max_length=teacher.max_length)
        found = {}
        similar = []
        for name, encode in (("ours", encoder.encode), ("model2vec", theirs.encode)):
            unit = unit_vectors(encode(texts), name)
            similar.append((unit @ unit.T)[np.triu_indices(len(texts), k=1)])
            found[f"sts_{name}"] = evaluate_sts(encode, pairs)
    return found | {
        "largest_difference": float(np.abs(similar[0] - similar[1]).max()),
        "rank_correlation": rank_correlation(*similar),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sts", type=Path, required=True, help="dev.tsv of GLUE's STS-B")
    parser.add_argument("--size", type=int, default=256, help="values a token")
    parser.add_argument("--sentences", type=int, default=400, help="whose similarities are held")
    arguments = parser.parse_args()
    found = against_model2vec(arguments.sts, arguments.size, arguments.sentences)
    print(json.dumps({"benchmark": "static_vectors"} | found, indent=1))


if __name__ == "__main__":
    main()
