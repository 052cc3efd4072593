"""What a runtime's precision adds to the loss of a network, measured on networks as they ship."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles import reading
from device_profiles.temporary import temporary_folder
from nasc.architecture.space import Architecture, Block
from nasc.architecture.variant import Variant
from nasc.data import Corpus
from nasc.data.heldout import scored_sentences
from nasc.errors import NascError
from nasc.evaluation.agreement import as_vectors, pooled_cosine
from nasc.evaluation.encoder import OpenEncoder, open_here
from nasc.latency.session import MeasurementSession
from nasc.lowering import Artifact
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.supernet.scores import Scores
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import train_length
from nasc.teacher import Teacher
from nasc.utils.files import content_key, write_atomically

Lower = Callable[[Network, Path], Artifact]
"""Writes what a runtime opens of a network into a folder."""

FORMAT = 1

SPREAD = 6
"""Candidates at even distances in the order of their losses; probes are made of some of them."""

_SCHEMA = {
    "type": "object",
    "required": ["loss"],
    "properties": {"loss": {"type": "number", "minimum": -10, "maximum": 10}},
}


def load_or_measure_loss(
    supernet: Supernet,
    scores: Scores,
    corpus: Corpus,
    session: MeasurementSession,
    variant: Variant,
) -> float:
    """What a variant adds to the final loss of a supernet's networks, measured once.

    Args:
        supernet: To cut the networks from.
        scores: Of its candidates.
        corpus: Its held-out sentences are run.
        session: Of the variant's runtime: what the device computes in decides how networks are
            lowered. They are run there, or here where that gives the same.
        variant: Runtime and precision.

    Raises:
        NascError: If the cache or the temporary folder cannot be written.
        profilers.ProfilerError: See `MeasurementSession.open_encoder`.
    """
    probes = probes_of(scores)
    runtime, exact = (session.evaluated_by(each) for each in (variant.precision, "fp32"))
    about = {
        "format": FORMAT,
        "networks": [supernet.extract(Architecture(blocks)).sha256() for blocks in probes],
        "text": corpus.sha256,
        "variant": str(variant),
        "lowering": session.lowering_version,
        "runtime": runtime,
        "precisions": session.precisions(),
    } | ({} if exact == runtime else {"runtime of fp32": exact})
    records = {p: session.records_sha256(p) for p in ("fp32", variant.precision)}
    if any(records.values()):
        about["records"] = records
    path = session.cache_dir / "precision-losses" / f"{content_key(about)}.json"
    with suppress(OSError, reading.FileRefused):
        return float(reading.read_json(path, 1 << 16, _SCHEMA)["loss"])
    rows = sentences_as_tokens(supernet.teacher, corpus)
    found = measure_losses(
        supernet, probes, rows, [variant.precision], session.lower, session.open_encoder
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"loss": found[variant.precision], "of": about}).encode())
    except OSError as error:
        raise NascError(
            f"cannot write to the cache {path.parent}: {error.strerror or error}. "
            "Make room there, or take another cache: --cache DIR"
        ) from error
    return found[variant.precision]


def sentences_as_tokens(teacher: Teacher, corpus: Corpus) -> list[list[int]]:
    """The held-out sentences that choose networks, as the supernet meets them."""
    return teacher.tokenize(scored_sentences(corpus), max_length=train_length(teacher)).rows()


def probes_of(scores: Scores) -> list[tuple[Block, ...]]:
    """Blocks of the networks that stand for all: the teacher's own, a good one and a middling."""
    space = scores.space
    whole = [space.teacher.blocks] if space.keep else []
    return whole + [
        tuple(
            blocks[spread(range(len(blocks)), losses)[q]]
            for blocks, losses in zip(scores.blocks, scores.losses, strict=True)
        )
        for q in (1, 3)
    ]


def spread(indices: Sequence[int], losses: np.ndarray[Any, Any]) -> list[int]:
    """Some of the candidates at even distances in the order of their losses, best first."""
    order = sorted(indices, key=lambda i: float(losses[i]))
    places = np.linspace(0, 0.75 * (len(order) - 1), SPREAD)
    return [order[round(p)] for p in places]


def measure_losses(
    supernet: Supernet,
    probes: Sequence[tuple[Block, ...]],
    rows: Sequence[Sequence[int]],
    precisions: Sequence[str],
    lower: Lower,
    open_encoder: OpenEncoder = open_here,
) -> dict[str, float]:
    """What each precision adds to the final loss: mean over networks run as they ship.

    Args:
        supernet: To cut the networks from.
        probes: Blocks of the networks.
        rows: Token ids of held-out sentences.
        precisions: To be measured.
        lower: For the runtime.
        open_encoder: Runs what was lowered.

    Returns:
        By precision; fp32 is 0 by definition.

    Raises:
        NascError: If the temporary folder cannot be written.
        profilers.ProfilerError: If the runtime is missing, or the device cannot be reached.
    """
    found = {"fp32": 0.0} if "fp32" in precisions else {}
    reduced = [p for p in precisions if p != "fp32"]
    if not reduced:
        return found

    def vectors(blocks: tuple[Block, ...], precision: str) -> np.ndarray[Any, Any]:
        network = supernet.extract(Architecture(blocks, precision))
        return vectors_as_shipped(network, rows, lower, open_encoder)

    whole = teacher_network(supernet.teacher, supernet.space.teacher)
    wanted = vectors_as_shipped(whole, rows, lower, open_encoder)
    exact = [pooled_cosine(wanted, vectors(blocks, "fp32")) for blocks in probes]
    for precision in reduced:
        added = [
            cosine - pooled_cosine(wanted, vectors(blocks, precision))
            for blocks, cosine in zip(probes, exact, strict=True)
        ]
        found[precision] = math.fsum(added) / len(added)
    return found


def vectors_as_shipped(
    network: Network,
    rows: Sequence[Sequence[int]],
    lower: Lower,
    open_encoder: OpenEncoder = open_here,
) -> np.ndarray[Any, Any]:
    """Vectors (rows, size) of token ids by the artifact of a network, as networks are compared.

    Args:
        network: With its weights.
        rows: Token ids of each text.
        lower: Makes the artifact.
        open_encoder: Runs it.

    Raises:
        NascError: If the temporary folder cannot be written.
        profilers.ProfilerError: If the runtime is missing, or the device cannot be reached.
    """
    try:
        with temporary_folder() as folder, open_encoder(lower(network, folder)) as encoder:
            found = encoder.outputs(rows)
            return np.asarray(as_vectors(found, encoder.head), np.float32)
    except OSError as error:
        raise NascError(
            f"cannot write a network to a temporary folder: {error.strerror or error}. Free the "
            "disk, or name another folder: TMPDIR=DIR; the same command goes on from the "
            "trained supernet"
        ) from error
