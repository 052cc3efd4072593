"""Does an exported file compute what its network computes?

fp32 files are held against the network in torch, on real tokenised text of exact lengths,
alone and padded in a batch. Files of reduced precision cannot agree to the last digits: they
are held against the fp32 network by the cosine of sentence vectors, and the influence that the
neighbours in a batch have on a vector is measured (onnxruntime's int8 scales activations by the
largest value in the whole batch) and bounded. The bounds are the same whatever the precision:
they say what may be shipped in place of fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nasc.architecture.heads import gives_states, pooling_of
from nasc.data.batching import TokenList, by_length, pad, without_padding
from nasc.errors import ExportError, ParityError, UsageError
from nasc.evaluation.agreement import cosines
from nasc.evaluation.encoder import Encoder, Vectors
from nasc.evaluation.parity_report import (
    PADDING_TOLERANCE,
    TORCH_TOLERANCE,
    Parity,
    ReducedPrecisionReport,
)
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork, pool

LENGTHS = (1, 2, 3, 5, 8, 16, 32, 64, 128, 256, 512)
"""Tokens of the texts that a file is checked on, as far as its positions reach."""

LONGEST = 1024
"""Tokens of the longest text that conformance is logged of: attention's memory grows with their
square, and all texts are run in one batch."""

NEIGHBOUR_BATCHES = (8, 32)
NEIGHBOUR_LENGTH = 128
"""Sentences in the batches, and tokens of the long text that is in each of them."""


def check_parity(
    network: Network,
    encoder: Encoder,
    token_lists: Sequence[TokenList],
    *,
    lengths: Sequence[int] = LENGTHS,
) -> Parity:
    """Hold an fp32 file against its network in torch.

    One text of each length is made of the tokens at hand and run alone by both; then
    the runtime runs all of them in one padded batch.

    Args:
        network: What was exported, precision fp32.
        encoder: The file, opened where it is to be judged.
        token_lists: Real tokenised text, special tokens included.
        lengths: Tokens of the texts; those beyond the file's positions are left out.

    Raises:
        ParityError: Naming length, difference and tolerance.
        ExportError, ProfilerError: If the network is not fp32, or the file cannot be run.
        UsageError: If there are no tokens.
    """
    if network.architecture.precision != "fp32":
        raise ExportError(f"this check is for fp32 networks, got '{network.architecture}'")
    module = TorchNetwork(network).eval()
    fitting = tuple(n for n in lengths if n <= encoder.max_positions)
    texts = texts_of_lengths(token_lists, fitting)
    together = encoder.run(*pad(texts))
    found, share = {"torch": 0.0, "padding": 0.0}, 0.0
    for row, (text, n) in enumerate(zip(texts, fitting, strict=True)):
        ids, mask = pad([text])
        alone, wanted = encoder.run(ids, mask)[0], _torch_run(module, ids, mask)[0]
        padded = without_padding(together[row], network.head, n)
        scale = max(1.0, float(np.abs(wanted).max()))
        for kind, what, first, second, tolerance in (
            ("torch", "alone against torch", alone, wanted, TORCH_TOLERANCE),
            ("torch", "padded against torch", padded, wanted, TORCH_TOLERANCE),
            ("padding", "alone against padded", alone, padded, PADDING_TOLERANCE),
        ):
            difference = float(np.abs(first - second).max())
            if not difference <= tolerance * scale:
                raise ParityError(
                    f"'{encoder.path}' ({network.architecture}): at length {n}, {what}: "
                    f"the largest difference is {difference:.3g}, allowed is "
                    f"{tolerance * scale:.3g}. The file does not compute the network; "
                    "please report this as a bug of the lowering"
                )
            found[kind] = max(found[kind], difference)
            share = max(share, difference / (tolerance * scale))
    return Parity(found["torch"], found["padding"], fitting, len(texts), share)


def conformance(
    network: Network,
    encoder: Encoder,
    token_lists: Sequence[TokenList],
    *,
    longest: int,
) -> tuple[dict[str, Any], ...]:
    """How far a file is from its network in fp32 at each length, alone and padded in a batch.

    A log, which judges nothing: `check_parity` and `check_reduced` do.

    Args:
        network: What was exported, with its fp32 weights, in the precision of the file.
        encoder: The file, opened where it is to be judged.
        token_lists: Real tokenised text, special tokens included.
        longest: Tokens that texts are cut to: the last length, `LENGTHS` below it are the others.
            Those beyond the file's positions, or `LONGEST`, are left out.

    Returns:
        A row a length as plain data: largest absolute differences, and cosines, to three digits.

    Raises:
        ParityError: If outputs hold values that are no numbers.
        ProfilerError: If the file cannot be run.
        UsageError: If there are no tokens.
    """
    module = TorchNetwork(network).eval()
    most = min(longest, encoder.max_positions, LONGEST)
    fitting = sorted({n for n in (*LENGTHS, min(longest, LONGEST)) if n <= most})
    texts = texts_of_lengths(token_lists, fitting)
    together = encoder.run(*pad(texts))
    rows = []
    for row, (text, n) in enumerate(zip(texts, fitting, strict=True)):
        ids, mask = pad([text])
        wanted = _torch_run(module, ids, mask)[0]
        padded = without_padding(together[row], network.head, n)
        found: dict[str, Any] = {"tokens": n, "precision": network.architecture.precision}
        for name, given in (("alone", encoder.run(ids, mask)[0]), ("padded", padded)):
            difference = float(np.abs(given - wanted).max())
            if not np.isfinite(difference):
                raise ParityError(f"'{encoder.path}' at length {n}: an output is no number")
            found[f"{name}_max_abs_diff"] = float(f"{difference:.3g}")
            found[f"{name}_cosine"] = round(_cosine(given, wanted), 6)
        rows.append(found)
    return tuple(rows)


def _cosine(first: Vectors, second: Vectors) -> float:
    """Of two outputs, each as one vector; of two of which one is zero, whether both are."""
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if norms == 0.0:
        return float(not np.any(first) and not np.any(second))
    return float(np.clip(np.vdot(first, second) / norms, -1.0, 1.0))


def check_reduced(
    network: Network,
    encoder: Encoder,
    token_lists: Sequence[TokenList],
    *,
    batches: Sequence[int] = NEIGHBOUR_BATCHES,
    seed: int = 0,
) -> ReducedPrecisionReport:
    """Hold a file of reduced precision against its network in fp32; `accept_reduced` judges.

    Args:
        network: What was exported, with its fp32 weights, in the precision of the file.
        encoder: The file, opened where it is to be judged.
        token_lists: Held-out tokenised text, special tokens included.
        batches: Sizes of the batches in which neighbours are tried.
        seed: Of the choice of neighbours.

    Raises:
        ExportError, ProfilerError: If the network is in fp32, or the file cannot be run.
        ParityError: If vectors hold values that are no numbers.
        UsageError: If there are no tokens.
    """
    precision = network.architecture.precision
    if precision == "fp32":
        raise ExportError(
            f"this check is for networks of reduced precision, got '{network.architecture}'"
        )
    token_lists = [tokens[: encoder.max_positions] for tokens in token_lists if tokens]
    if not token_lists:
        raise UsageError("no tokenised text to check the export on")
    alone = encoder.encode_tokens(token_lists, batch_size=1)
    try:
        cosine = cosines(_torch_vectors(TorchNetwork(network).eval(), token_lists), alone)
        drift = list(_neighbours(encoder, token_lists, alone, batches, seed))
    except ValueError as error:
        raise ParityError(f"'{encoder.path}' ({network.architecture}): {error}") from error
    return ReducedPrecisionReport(
        precision=precision,
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        n_texts=len(token_lists),
        neighbour_max_abs_diff=max((difference for difference, _ in drift), default=0.0),
        neighbour_min_cosine=min((closeness for _, closeness in drift), default=1.0),
        neighbour_batches=tuple(batches),
    )


def texts_of_lengths(token_lists: Sequence[TokenList], lengths: Sequence[int]) -> list[list[int]]:
    """Texts of exact lengths out of real ones, joined and cut; each begins at another text.

    Args:
        token_lists: Real tokenised texts.
        lengths: Tokens wanted.

    Raises:
        UsageError: If there are no tokens.
    """
    stream = [token for tokens in token_lists for token in tokens]
    if not stream:
        raise UsageError("no tokenised text to check the export on")
    starts = np.cumsum([0] + [len(tokens) for tokens in token_lists])
    found = []
    for index, length in enumerate(lengths):
        start = int(starts[index * len(token_lists) // len(lengths)])
        found.append([stream[(start + place) % len(stream)] for place in range(length)])
    return found


@torch.no_grad()
def _torch_run(
    module: TorchNetwork, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
) -> Vectors:
    output: Vectors = module(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).numpy()
    return output


@torch.no_grad()
def _torch_vectors(module: TorchNetwork, token_lists: Sequence[TokenList]) -> Vectors:
    """Vectors (lists, hidden) of the fp32 network, pooled where its head does not."""
    found: dict[int, Vectors] = {}
    for indices in by_length(token_lists, 32):
        ids, attention_mask = map(torch.from_numpy, pad([token_lists[i] for i in indices]))
        output = module(ids, attention_mask)
        if gives_states(module.head):
            output = pool(output, Mask.of(attention_mask), pooling_of(module.head).mode)
        found.update(zip(indices, output.numpy(), strict=True))
    return np.stack([found[i] for i in range(len(token_lists))])


def _neighbours(
    encoder: Encoder,
    token_lists: Sequence[TokenList],
    alone: Vectors,
    batches: Sequence[int],
    seed: int,
) -> Iterator[tuple[float, float]]:
    """Difference and cosine of each text's vector in a batch to that alone.

    Every batch holds one long text and random others, so that nearly all of them have longer
    neighbours.
    """
    rng = np.random.default_rng(seed)
    length = min(NEIGHBOUR_LENGTH, encoder.max_positions)
    for size in batches:
        order = rng.permutation(len(token_lists))[: 4 * (size - 1)]
        for start in range(0, len(order), size - 1):
            chosen = order[start : start + size - 1]
            texts = [token_lists[i] for i in chosen]
            (long,) = texts_of_lengths([token_lists[i] for i in rng.permutation(order)], [length])
            together = encoder.pooled(*pad([*texts, long]))[:-1]
            differences = np.abs(together - alone[chosen]).max(axis=1)
            for difference, cosine in zip(
                differences, cosines(together, alone[chosen]), strict=True
            ):
                yield float(difference), float(cosine)
