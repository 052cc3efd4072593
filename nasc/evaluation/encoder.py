"""Running a lowered network from Python, as it runs when its latency is measured.

The session is the one that `profilers` measures, options and all: what is evaluated,
checked and timed is the same thing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nasc.architecture.heads import (
    gives_answers,
    gives_spans,
    gives_states,
    pooling_of,
    scores_tokens,
)
from nasc.data.batching import (
    TokenList,
    by_length,
    copy_tokenizer,
    pad,
    token_ids,
    without_padding,
)
from nasc.data.texts import Text
from nasc.errors import ExportError, UsageError
from nasc.lowering import Artifact
from nasc.utils import pooling
from profilers import InvalidSetting, RuntimeMissing, RuntimeOptions
from profilers.runtimes import get_runtime

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Vectors = NDArray[np.float32]

MAX_TOKENS = 1 << 22
"""Of a run of a model of fixed axes, padding included: 64 MB of inputs."""

BATCH_SIZE = 32
"""Texts in a run where nobody says otherwise."""


class EncoderSession(Protocol):
    """A loaded model, wherever it runs: what `profilers.runtimes.base.RuntimeSession` has of it."""

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Numpy type name and axes (a number, a symbol, or None) of each input."""
        ...

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """Numpy type name and axes of each output."""
        ...

    def metadata(self) -> dict[str, str]:
        """What the model's maker wrote into it."""
        ...

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """What the model gives for its inputs, in order."""
        ...


class Encoder:
    """A sentence encoder in an artifact of `nasc.lowering`.

    Attributes:
        path: The file that the runtime opens.
        metadata: The model's own, ``nasc.architecture`` for example.
        head: See `nasc.architecture.heads`.
        hidden: Size of a vector, or scores of a text or token; 0 of heads that give spans.
        max_positions: Longest input in tokens.
        shape: (batch, seq_len) of every run of the model; None of an axis that is free. Texts are
            padded and batches filled up to it, which callers see nothing of.
        max_length: Tokens that a text is cut to unless told otherwise.
        batch_size: Texts in a run unless told otherwise. It matters to int8, whose values depend on
            all that is in the batch.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        threads: int = 1,
        *,
        runtime: str = "onnxruntime",
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
        options: RuntimeOptions | None = None,
        session: EncoderSession | None = None,
    ) -> None:
        """Load a model.

        Args:
            path: The file that the runtime opens.
            tokenizer: For `encode`; a fast tokenizer of transformers or one of tokenizers.
                It is copied, never changed.
            threads: Threads that share one operator.
            runtime: Name of what runs the model.
            max_length: Tokens to cut a text to, at most the model's longest input, which None
                stands for. A package states its own.
            batch_size: Texts in a run. A package states its own.
            options: All settings of the runtime at once, for the one named here; None takes the
                defaults with `threads`.
            session: The model where it is loaded already, in another process for example; None
                loads it here.

        Raises:
            ExportError: If the file is missing, damaged, or not written by NASC.
            UsageError: If the model does not take texts so long.
            ProfilerError: If the runtime is not installed, or refuses a setting.
        """
        self.path = Path(path)
        if session is None:
            options = options or RuntimeOptions(threads=threads)
            session = _loaded(self.path, dataclasses.replace(options, runtime=runtime))
        self._session = session
        self.metadata = _metadata(session)
        self.shape = _fixed_axes(session)
        if math.prod(axis or 1 for axis in self.shape) > MAX_TOKENS:
            raise ExportError(
                f"'{self.path}' takes {self.shape[0]} x {self.shape[1]} tokens in every run, "
                f"{MAX_TOKENS:,} are the most"
            )
        try:
            self.head = self.metadata["nasc.head"]
            self.max_positions = int(self.metadata["nasc.max_positions"])
        except (KeyError, ValueError) as error:
            raise ExportError(
                f"'{self.path}' was not written by nasc: its metadata lack {error}"
            ) from error
        self.hidden = 0 if gives_spans(self.head) else _row_size(session)
        self.max_positions = min(self.max_positions, self.shape[1] or self.max_positions)
        self.max_length = self._length(max_length, self.max_positions)
        self.batch_size = batch_size
        self._tokenizer = None if tokenizer is None else copy_tokenizer(tokenizer)

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Vectors:
        """What the model gives for a right-padded batch: in one run, unless its batch is fixed.

        Args:
            input_ids: (batch, seq_len), int64.
            attention_mask: (batch, seq_len), int64; 1 for real tokens and 0 for padding.

        Returns:
            What the model's head gives: see `nasc.architecture.heads`.

        Raises:
            UsageError: If the batch is empty or longer than the model's positions.
        """
        seq_len = input_ids.shape[-1]
        if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape or input_ids.size == 0:
            raise UsageError(
                "input_ids and attention_mask must both be (batch, seq_len) and hold a token, got "
                f"shapes {input_ids.shape} and {attention_mask.shape}"
            )
        if seq_len > self.max_positions:
            raise UsageError(
                f"{seq_len} tokens: the model '{self.path}' takes up to {self.max_positions}"
            )
        size = self.shape[0] or len(input_ids)
        parts = [
            self._run_once(input_ids[start : start + size], attention_mask[start : start + size])
            for start in range(0, len(input_ids), size)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run_once(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Vectors:
        """One run of the model, filled up to its axes where those are fixed."""
        texts, tokens = input_ids.shape
        batch, seq_len = self.shape[0] or texts, self.shape[1] or tokens
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        feeds = {name: _filled(value, batch, seq_len) for name, value in feeds.items()}
        outputs = self._session.outputs(feeds)
        output: Vectors = outputs[0]
        if gives_answers(self.head):
            if [one.shape for one in outputs] != [output.shape] * 2:
                raise ExportError(f"the model '{self.path}' gives no scores of answers")
            output = np.stack(outputs, axis=1)
        self._check_shape(output.shape, batch, seq_len)
        if (batch, seq_len) == (texts, tokens):
            return output
        return without_padding(output[:texts], self.head, tokens)

    def _check_shape(self, shape: tuple[int, ...], batch: int, seq_len: int) -> None:
        wanted: tuple[int | None, ...] = (batch, None)
        if gives_states(self.head) or scores_tokens(self.head):
            wanted = (batch, seq_len, None)
        if gives_spans(self.head):
            wanted = (batch, 2, seq_len)
        fits = len(shape) == len(wanted) and all(
            size in (None, found) for size, found in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise ExportError(
                f"the model '{self.path}' gives an output of shape {shape} for {batch} texts of "
                f"{seq_len} tokens: its head {self.head!r} is none of nasc's"
            )

    def tokenize(self, sentences: Sequence[Text], max_length: int | None = None) -> list[list[int]]:
        """Token ids of sentences, special tokens included.

        Args:
            sentences: What to tokenise.
            max_length: Tokens to cut a sentence to; None is `self.max_length`.

        Raises:
            UsageError: If the encoder has no tokenizer, or the length is not possible.
        """
        if self._tokenizer is None:
            raise UsageError(f"the encoder of '{self.path}' was made without a tokenizer")
        return token_ids(self._tokenizer, sentences, self._length(max_length, self.max_length))

    def encode(
        self,
        sentences: Sequence[Text],
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> Vectors:
        """One vector for each sentence.

        Args:
            sentences: Any number of texts, or of pairs.
            batch_size: Sentences in a run, which are sorted by length, so that little is padding;
                None is `self.batch_size`.
            max_length: Tokens to cut a sentence to; None is `self.max_length`.

        Returns:
            (sentences, hidden), in the order of the sentences; see `encode_tokens`.

        Raises:
            UsageError: If the encoder has no tokenizer, or a number is not possible.
        """
        return self.encode_tokens(self.tokenize(sentences, max_length), batch_size)

    def encode_tokens(
        self, token_lists: Sequence[TokenList], batch_size: int | None = None
    ) -> Vectors:
        """One vector for each list of token ids.

        Args:
            token_lists: Token ids, special tokens included, no padding.
            batch_size: Lists in a run, which are sorted by length, so that little is padding; None
                is `self.batch_size`.

        Returns:
            (lists, hidden), in their order: the model's vectors or scores, or with the head
            ``hidden`` its hidden states, pooled.

        Raises:
            UsageError: If a list is empty or longer than the model's positions, or the head scores
                tokens.
        """
        if gives_spans(self.head) or scores_tokens(self.head):
            raise UsageError(f"the model '{self.path}' scores tokens: it has no vector of a text")
        rows = self.outputs(token_lists, batch_size)
        if not rows:
            return np.empty((0, self.hidden), np.float32)
        return np.stack(rows)

    def outputs_of(
        self,
        sentences: Sequence[Text],
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> list[Vectors]:
        """What the model gives for each sentence, padding left off: see `encode` and `outputs`."""
        return self.outputs(self.tokenize(sentences, max_length), batch_size)

    def outputs(
        self, token_lists: Sequence[TokenList], batch_size: int | None = None
    ) -> list[Vectors]:
        """What the model gives for each list of token ids, padding left off.

        Args:
            token_lists: Token ids, special tokens included, no padding.
            batch_size: Lists in a run, which are sorted by length, so that little is padding; None
                is `self.batch_size`.

        Returns:
            In their order (hidden,) as `encode_tokens`; of heads that score tokens (tokens,
            hidden), or (2, tokens) of those that give spans.

        Raises:
            UsageError: If a list is empty or longer than the model's positions.
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise UsageError(f"batch size must be >= 1, got {batch_size}")
        found: dict[int, Vectors] = {}
        for indices in by_length(token_lists, batch_size):
            rows = self.pooled(*pad([token_lists[i] for i in indices]))
            for i, row in zip(indices, rows, strict=True):
                found[i] = row
                if not gives_states(self.head):  # these are pooled
                    found[i] = without_padding(row, self.head, len(token_lists[i]))
        return [found[i] for i in range(len(token_lists))]

    def pooled(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Vectors:
        """As `run`, but hidden states are pooled as the head says, not scaled: (batch, hidden)."""
        output = self.run(input_ids, attention_mask)
        if not gives_states(self.head):
            return output
        return pooling.pool(output, attention_mask, pooling_of(self.head).mode)

    def _length(self, max_length: int | None, otherwise: int) -> int:
        if max_length is None:
            return otherwise
        if not 1 <= max_length <= self.max_positions:
            raise UsageError(
                f"length {max_length}: the model '{self.path}' takes 1 to "
                f"{self.max_positions} tokens"
            )
        return max_length


class OpenEncoder(Protocol):
    """Opens an artifact to see what it computes: `open_here`, or one on a device.

    `nasc.latency.session.MeasurementSession.open_encoder` decides between the two.
    """

    def __call__(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> AbstractContextManager[Encoder]:
        """The encoder, for as long as the context lasts; for the rest see `Encoder`."""
        ...


@contextmanager
def open_here(
    artifact: Artifact,
    tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
    *,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Encoder]:
    """An artifact in this process; see `OpenEncoder`.

    Args:
        artifact: Lowered for a runtime that is installed here.
        tokenizer: See `Encoder`.
        max_length: See `Encoder`.
        batch_size: See `Encoder`.

    Raises:
        ExportError, UsageError, ProfilerError: See `Encoder`.
    """
    yield Encoder(
        artifact.path,
        tokenizer,
        runtime=artifact.runtime,
        max_length=max_length,
        batch_size=batch_size,
    )


def _loaded(path: Path, options: RuntimeOptions) -> EncoderSession:
    try:
        return get_runtime(options.runtime).open_session(path, options)
    except (RuntimeMissing, InvalidSetting):
        raise
    except Exception as error:  # exceptions of runtimes have no common base
        raise ExportError(
            f"{options.runtime} cannot load '{path}': {_first_line(error)}"
        ) from error


def _metadata(session: EncoderSession) -> dict[str, str]:
    """What the lowering wrote, as in ONNX: an IR has it under ``nasc`` and then the name."""
    found = session.metadata()
    return {f"nasc.{name.removeprefix('nasc.')}": value for name, value in found.items()}


def _fixed_axes(session: EncoderSession) -> tuple[int | None, int | None]:
    """Batch and length of the model's inputs, where those are fixed."""
    _, axes = session.describe_inputs().get("input_ids", ("", []))
    if len(axes) != 2:
        return None, None
    batch, seq_len = (axis if isinstance(axis, int) and axis > 0 else None for axis in axes)
    return batch, seq_len


def _row_size(session: EncoderSession) -> int:
    """Numbers in a row of the first output; 0 where that depends on the input."""
    axes = next((axes for _, axes in session.describe_outputs().values()), [])
    size = axes[-1] if axes else 0
    return size if isinstance(size, int) else 0


def _filled(values: NDArray[np.int64], batch: int, seq_len: int) -> NDArray[np.int64]:
    """Texts padded with zeros to a length, and the last repeated until they are a batch.

    Repeated, so that activations which share a scale with others have the range that they had.
    """
    texts, tokens = values.shape
    if (texts, tokens) == (batch, seq_len):
        return values
    padded = np.pad(values, ((0, 0), (0, seq_len - tokens)))
    return np.pad(padded, ((0, batch - texts), (0, 0)), mode="edge")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
