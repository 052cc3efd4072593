"""What a file as it would ship is worth: parity, what int8 does to it, quality, scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.temporary import temporary_folder
from nasc.context.context import RunContext
from nasc.evaluation.agreement import compare
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import (
    Parity,
    ReducedPrecisionReport,
    accept_reduced,
    check_parity,
    check_reduced,
)
from nasc.networks.network import Network
from nasc.supernet.score_candidates import JUDGING_SENTENCES, judging_sentences
from nasc.tasks.sts import SentencePair, evaluate_sts

if TYPE_CHECKING:
    from nasc.tasks.shipping import PackagedTask

PARITY_SENTENCES = 64
"""Held-out sentences that exports are checked on."""

PARITY_LENGTH = 128
"""Tokens of them at most."""


class ArtifactEvaluator:
    """Judges files on held-out text and, where there are labels, on those.

    Attributes:
        labelled: Pairs with the similarity that people gave them; None where there are none.
        task: What the network is fine-tuned on; None of sentence vectors.
    """

    def __init__(
        self,
        context: RunContext,
        labelled: Sequence[SentencePair] | None,
        task: PackagedTask | None,
    ) -> None:
        self._context = context
        self.labelled = labelled
        self.task = task

    def parity(
        self, network: Network, path: Path
    ) -> tuple[Parity | ReducedPrecisionReport, str | None]:
        """Parity of a file with its network.

        Args:
            network: In the file's precision.
            path: The file.

        Returns:
            What was found, and why int8 is refused; None where it is not, or is not the
            precision.

        Raises:
            ParityError: If the file in fp32 gives other vectors than the network.
        """
        context = self._context
        context.reporter.stage("Parity of the export")(0, 1, "running onnxruntime and torch")
        sentences = judging_sentences(context.corpus, PARITY_SENTENCES)
        length = min(PARITY_LENGTH, context.teacher.geometry.max_positions)
        tokens = context.teacher.tokenize(sentences, max_length=length).rows()
        with context.timed("parity"), temporary_folder() as folder:
            wide = network.with_precision("fp32")
            if network.architecture.precision == "fp32":
                return check_parity(network, path, tokens), None
            wide_path = context.session.lowering.lower(wide, folder, "fp32").path
            check_parity(wide, wide_path, tokens)
            report = self._int8_body(network, path, tokens, folder)
            before, after = self._score(wide_path), self._score(path)
        accepted, reason = accept_reduced(report, fp32_score=before, reduced_score=after)
        context.reporter.say(f"int8 {'accepted' if accepted else 'refused'}: {reason}")
        return report, None if accepted else reason

    def _int8_body(
        self, network: Network, path: Path, tokens: Sequence[Sequence[int]], folder: Path
    ) -> ReducedPrecisionReport:
        """What int8 does to sentence vectors; a task's head is fp32 and adds nothing to that."""
        if self.task is None:
            return check_reduced(network, path, tokens)
        body = network.body()
        made = self._context.session.lowering.lower(body, folder, "body")
        return check_reduced(body, made.path, tokens)

    def _score(self, path: Path) -> float | None:
        """The score of record on labelled data; None without."""
        if self.task is not None:
            return next(iter(self.task.scores(path).values()))
        return None if self.labelled is None else self._sts(path, self.labelled)

    def _sts(self, path: Path, pairs: Sequence[SentencePair]) -> float:
        return evaluate_sts(self._encoder(path).encode, pairs)

    def _encoder(self, path: Path) -> Encoder:
        """A file as the package promises it: its length, its batch size."""
        teacher, batch = self._context.teacher, self._context.settings.batch
        return Encoder(path, teacher.tokenizer, max_length=teacher.max_length, batch_size=batch)

    def quality(self, path: Path) -> dict[str, Any]:
        """Figures of a file: on the task's dev file, or on held-out text that did not choose it."""
        with self._context.timed("quality"):
            return (
                self._agreement(path) if self.task is None else self._task_figures(self.task, path)
            )

    @staticmethod
    def _task_figures(task: PackagedTask, path: Path) -> dict[str, Any]:
        """Scores of the file and of the teacher, fine-tuned the same way, on the dev file."""
        teacher = {f"teacher_{name}": value for name, value in task.teacher_scores.items()}
        counts = {"dev_examples": task.dev_count, "train_examples": task.train_count}
        return task.scores(path) | teacher | counts

    def _agreement(self, path: Path) -> dict[str, Any]:
        context = self._context
        context.reporter.stage("Quality on held-out text")(0, 1, "encoding")
        sentences = judging_sentences(context.corpus, JUDGING_SENTENCES)
        found = compare(
            context.teacher.vectors(sentences, max_length=context.teacher.max_length),
            self._encoder(path).encode(sentences),
        )
        record: dict[str, Any] = dataclasses.asdict(found)
        if self.labelled is not None:
            record["sts_spearman"] = self._sts(path, self.labelled)
        return record

    def tokenisation_ms(self) -> float:
        """Median time to tokenise a text of as many tokens as the measured input holds."""
        teacher, length = self._context.teacher, self._context.settings.seq_len
        text = " ".join(judging_sentences(self._context.corpus, JUDGING_SENTENCES))
        cut = teacher.tokenizer(
            text, truncation=True, max_length=length, return_offsets_mapping=True
        )
        text = text[: max(end for _, end in cut["offset_mapping"])]
        times = []
        for _ in range(30):
            start = time.perf_counter()
            teacher.tokenizer(text, truncation=True, max_length=length)
            times.append(1e3 * (time.perf_counter() - start))
        return float(np.median(times))
