"""The supernet of a run, and the losses that are taken with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from nasc.architecture.variant import Variant
from nasc.context.inputs import RunInputs
from nasc.context.sessions import Sessions
from nasc.data.heldout import scored_sentences
from nasc.evaluation.agreement import pooled_cosine
from nasc.evaluation.torch_vectors import teacher_vectors
from nasc.networks.from_teacher import teacher_network
from nasc.supernet.checkpoint import read_supernet_header
from nasc.supernet.parallel import Parallel
from nasc.supernet.precision_loss import (
    load_or_measure_loss,
    sentences_as_tokens,
    vectors_as_shipped,
)
from nasc.supernet.prepare import Prepared, load_prepared, prepare, teacher_initialised_space
from nasc.supernet.score_candidates import scorer_for
from nasc.supernet.scorer import Scorer
from nasc.supernet.teacher_pruning import PrunedLoss
from nasc.supernet.train import TrainConfig, train_length
from nasc.utils.torch_device import has_bf16, training_device

PRUNING_SENTENCES = 32
PRUNING_BATCH = 8
"""Held-out sentences that decide which operations of the teacher are left out; so many at a time,
of similar length, for little padding."""

ROUGH_PRUNING_SENTENCES = 8
"""Those that decide which of many pruned teachers are tried on all of them."""


class ScoredSupernet:
    """A supernet with its scores, and losses of networks, each taken once.

    Attributes:
        prepared: The supernet; None where it was not needed so far.
    """

    def __init__(self, inputs: RunInputs, sessions: Sessions) -> None:
        """Nothing is loaded or trained yet.

        Args:
            inputs: Of the run.
            sessions: Where networks run in other precisions than fp32.
        """
        self.prepared: Prepared | None = None
        self._inputs = inputs
        self._sessions = sessions
        self._losses: dict[Variant, float] = {}
        self._whole_losses: dict[Variant, float] = {}
        self._scorers: dict[int, Scorer] = {}

    def prepare(self) -> Prepared:
        """The supernet with its scores, trained now where there is none."""
        if self.prepared is None:
            self.prepared = self._prepare()
        return self.prepared

    def _prepare(self) -> Prepared:
        i, s, path = self._inputs, self._inputs.settings, self._inputs.supernet_path
        if path is not None:
            # Scores that it has with it will do, unless there is a text that matters more.
            scored = not s.has_own_text and "scores" in read_supernet_header(path)
            corpus = None if scored else i.corpus
            with i.timed("supernet"):
                return load_prepared(path, i.teacher, corpus, i.cache, i.reporter)
        text, device = i.corpus, training_device()
        with i.timed("supernet"):
            return prepare(
                i.teacher,
                teacher_initialised_space(i.whole_space),
                text,
                TrainConfig(steps=s.train_steps or 0, bf16=has_bf16(device), seed=s.seed),
                seconds=s.train_seconds,
                cache_dir=i.cache,
                reporter=i.reporter,
                parallel=Parallel(device=device),
            )

    @property
    def header(self) -> Mapping[str, Any] | None:
        """What the supernet's file says of its training; None where none was needed so far."""
        return None if self.prepared is None else self.prepared.header

    def table_note(self) -> str | None:
        """What is to be said of the latency table that it was shrunk by, as far as it is loaded."""
        shrunk = (self.header or {}).get("shrinking") or {}
        note: str | None = shrunk.get("latency_table")
        return note

    def measure_variant_loss(self, variant: Variant) -> float:
        """What a variant adds to the final loss of a network: scored with the supernet, or run now.

        Raises:
            profilers.ProfilerError: If its runtime is missing, or the device cannot be reached.
        """
        if variant not in self._losses:
            prepared = self.prepare()
            known = prepared.scores.known_loss(variant)
            if known is None:
                with self._inputs.timed("precision loss"):
                    self._inputs.reporter.stage("Loss of a precision")(0, 1, str(variant))
                    known = load_or_measure_loss(
                        prepared.supernet,
                        prepared.scores,
                        self._inputs.corpus,
                        self._sessions.on(variant.runtime),
                        variant,
                    )
            self._losses[variant] = known
        return self._losses[variant]

    def measure_whole_loss(self, variant: Variant) -> float:
        """One minus the cosine of the full-size network's vectors in a variant to the teacher's.

        Raises:
            profilers.ProfilerError: If its runtime is missing, or the device cannot be reached.
        """
        if variant not in self._whole_losses:
            i = self._inputs
            whole = i.space.teacher.with_precision(variant.precision)
            rows = sentences_as_tokens(i.teacher, i.corpus)
            with i.timed("precision loss"):
                i.reporter.stage("Loss of a precision")(0, 1, str(variant))
                network = teacher_network(i.teacher, whole)
                lower = self._sessions.on(variant.runtime).lower
                found = vectors_as_shipped(network, rows, lower, self._sessions.open_encoder)
            length = train_length(i.teacher)
            wanted = teacher_vectors(i.teacher, scored_sentences(i.corpus), max_length=length)
            self._whole_losses[variant] = 1 - pooled_cosine(wanted, found)
        return self._whole_losses[variant]

    def load_scorer(self, sentences: int | None = None) -> Scorer:
        """Takes losses of whole networks, on so many held-out sentences; None takes all."""
        chosen = scored_sentences(self._inputs.corpus)[:sentences]
        if len(chosen) not in self._scorers:
            self._scorers[len(chosen)] = scorer_for(self.prepare().supernet, chosen)
        return self._scorers[len(chosen)]

    @cached_property
    def pruned_loss(self) -> PrunedLoss:
        """Losses of pruned teachers; each is taken once, whatever the limits."""
        return self._pruned_loss(PRUNING_SENTENCES)

    @cached_property
    def rough_pruned_loss(self) -> PrunedLoss:
        """The same of fewer sentences."""
        return self._pruned_loss(ROUGH_PRUNING_SENTENCES)

    def _pruned_loss(self, count: int) -> PrunedLoss:
        teacher = self._inputs.teacher
        sentences = scored_sentences(self._inputs.corpus)[:count]
        tokens = teacher.tokenize(sentences, max_length=train_length(teacher))
        batches = [tokens.batch(indices) for indices in tokens.buckets(PRUNING_BATCH)]
        return PrunedLoss(teacher, self._inputs.space, batches, has_bf16(teacher.device))
