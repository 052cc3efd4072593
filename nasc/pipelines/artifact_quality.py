"""What an artifact as it would ship is worth: parity, its precision, quality, scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import gives_answers, gives_scores, scores_tokens
from nasc.context.context import RunContext
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences
from nasc.data.prompts import DOCUMENT, prompted
from nasc.data.texts import Text, columns
from nasc.errors import LimitsMissed
from nasc.evaluation.agreement import ScoreAgreement, compare, compare_classes, compare_scores
from nasc.evaluation.encode_blocks import encode_blocks
from nasc.evaluation.encoder import Encoder, OpenEncoder, Vectors
from nasc.evaluation.parity import check_parity, check_reduced, conformance
from nasc.evaluation.parity_report import ParityReport, ReducedPrecisionReport, accept_reduced
from nasc.evaluation.token_agreement import TokenAgreement, compare_answers, compare_tokens
from nasc.latency.session import MeasurementSession
from nasc.lowering import Artifact
from nasc.networks.network import Network
from nasc.package.quality import INTERVAL
from nasc.pipelines.options import TOKEN_METRICS
from nasc.pipelines.score_vectors import as_much_of, found_places
from nasc.tasks.retrieval import Retrieval, retrieval_scores
from nasc.tasks.sts import SentencePair, evaluate_sts
from nasc.teacher import Teacher

if TYPE_CHECKING:
    from nasc.tasks.shipping import PackagedTask

PARITY_SENTENCES = 64
"""Held-out sentences that exports are checked on."""

PARITY_LENGTH = 128
"""Tokens of them at most."""


def check_reached(record: Mapping[str, Any], least_by_name: Mapping[str, float]) -> None:
    """Raise where a quality that is asked for is not reached.

    Args:
        record: Figures of a file as shipped, see `ArtifactEvaluator.quality`.
        least_by_name: What each must be at least.

    Raises:
        LimitsMissed: With what to change.
    """
    for name, least in least_by_name.items():
        if name not in record and name in TOKEN_METRICS:
            raise LimitsMissed(
                f"--min-quality {name}: the text has no entities, the teacher finds none in the "
                f"{record['sentences']:,} sentences held out. Give text that has: --corpus FILE"
            )
        if name not in record:
            raise LimitsMissed(
                f"--min-quality {name} needs first texts that have several second ones each "
                f"among the pairs held out; those have not. Give more: --pairs FILE"
            )
        if record[name] < least:
            raise LimitsMissed(
                f"{name} is {record[name]:.4f}, --min-quality asks for {least}. Train "
                "longer (--distill-minutes; the supernet: nasc train, then --supernet FILE), "
                "give more or closer text (--corpus), or loosen a limit"
            )


def parity_tokens(context: RunContext) -> list[list[int]]:
    """Token ids of the held-out sentences that exports are checked on."""
    sentences = judging_sentences(context.corpus, PARITY_SENTENCES)
    length = min(PARITY_LENGTH, context.teacher.geometry.max_positions)
    teacher = dataclasses.replace(context.teacher, tokenizer=context.tokenizer)
    return teacher.tokenize(sentences, max_length=length).rows()


@dataclass(slots=True)
class _Taught:
    """What the teacher gives of the texts that are judged on, made once for files of all kinds.

    Attributes:
        tokens: Its scores of each sentence's tokens.
        paragraphs: (paragraphs, size) its vectors of what questions ask for.
    """

    tokens: Sequence[Vectors] | None = None
    paragraphs: Vectors | None = None


class ArtifactEvaluator:
    """Judges files on held-out text and, where there are labels, on those.

    Attributes:
        labelled: Pairs with the similarity that people gave them; None where there are none.
        task: What the network is fine-tuned on; None of sentence vectors.
        asked: Questions whose paragraphs are to be found; None where there are none.
    """

    def __init__(
        self,
        context: RunContext,
        labelled: Sequence[SentencePair] | None,
        task: PackagedTask | None,
        open_encoder: OpenEncoder | None = None,
        asked: Retrieval | None = None,
    ) -> None:
        """Nothing is judged yet.

        Args:
            context: Of the run.
            labelled: See the class.
            task: See the class.
            open_encoder: Runs a file; None runs it as the device does.
            asked: See the class.
        """
        self._context = context
        self.labelled = labelled
        self.task = task
        self.asked = asked
        self._open_encoder = open_encoder or context.open_encoder
        self._session: MeasurementSession | None = None  # None is the context's
        self._taught = _Taught()

    def opening_by(self, open_encoder: OpenEncoder) -> ArtifactEvaluator:
        """The same judge of files that are run in another way."""
        task = None if self.task is None else self.task.opening_by(open_encoder)
        found = ArtifactEvaluator(self._context, self.labelled, task, open_encoder, self.asked)
        found._taught = self._taught
        return found

    def on(self, session: MeasurementSession) -> ArtifactEvaluator:
        """The same judge of files that are lowered and run by another session than the context's.

        Args:
            session: By the runtime of the files.
        """
        found = self.opening_by(session.open_encoder)
        found._session = session
        return found

    def parity(self, network: Network, artifact: Artifact) -> tuple[ParityReport, str | None]:
        """Parity of an artifact with its network.

        Args:
            network: In the artifact's precision.
            artifact: As it ships.

        Returns:
            What was found, and why the precision is refused; None where it is not.

        Raises:
            ParityError: If the file in fp32 gives other vectors than the network.
        """
        context = self._context
        stage = context.reporter.stage("Parity of the export")
        stage(0, 1, f"running {artifact.runtime} and torch")
        tokens = parity_tokens(context)
        precision = artifact.precision
        with context.timed("parity"), temporary_folder() as folder:
            if precision == "fp32":
                with self._open_encoder(artifact) as encoder:
                    return check_parity(network, encoder, tokens), None
            wide = network.with_precision("fp32")
            exact = self._lower(wide, artifact, folder, "fp32")
            with self._open_encoder(exact) as encoder:
                check_parity(wide, encoder, tokens)
            report = self._reduced_body(network, artifact, tokens, folder)
            before, after = self.score(exact), self.score(artifact)
        accepted, reason = accept_reduced(report, fp32_score=before, reduced_score=after)
        context.reporter.say(f"{precision} {'accepted' if accepted else 'refused'}: {reason}")
        return report, None if accepted else reason

    def conformance(self, network: Network, artifact: Artifact) -> tuple[dict[str, Any], ...]:
        """See `nasc.evaluation.parity.conformance`, up to the length that texts are cut to.

        Args:
            network: In the artifact's precision.
            artifact: As it ships.
        """
        context = self._context
        longest = context.max_length if self.task is None else self.task.options.max_length
        with context.timed("parity"), self._open_encoder(artifact) as encoder:
            return conformance(network, encoder, parity_tokens(context), longest=longest)

    def _lower(self, network: Network, like: Artifact, folder: Path, name: str) -> Artifact:
        """A network for the same runtime."""
        session = self._session or self._context.session(like.runtime)
        return session.lower(network, folder, name, self._context.settings.shape)

    def _reduced_body(
        self, network: Network, artifact: Artifact, tokens: Sequence[Sequence[int]], folder: Path
    ) -> ReducedPrecisionReport:
        """What a precision does to sentence vectors, or to the scores of tokens by its own head.

        A head that scores texts is fp32 in int8 and adds nothing to what vectors show. Mean over
        the tokens, these say nothing of one.
        """
        if self.task is not None or gives_scores(network.head):
            network = network.body()
            artifact = self._lower(network, artifact, folder, "body")
        with self._open_encoder(artifact) as encoder:
            return check_reduced(network, encoder, tokens)

    @property
    def has_labels(self) -> bool:
        """Whether there is labelled data, a task's or pairs of sentences."""
        return self.task is not None or self.labelled is not None

    def score(self, artifact: Artifact) -> float | None:
        """The score of record: on labelled data, or of tokens the agreement with the teacher.

        None without labels, and where the teacher finds nothing in the text.
        """
        if self.task is not None:
            return next(iter(self.task.scores(artifact).values()))
        if scores_tokens(self._context.head):
            figures = self._token_figures(artifact)
            return figures.get("answer_f1", figures.get("token_f1"))
        return None if self.labelled is None else self._sts(artifact, self.labelled)

    def _sts(self, artifact: Artifact, pairs: Sequence[SentencePair]) -> float:
        with self._encoder(artifact) as encoder:
            return evaluate_sts(prompted(encoder.encode, self._prompt), pairs)

    @property
    def _prompt(self) -> str:
        """What stands before every text."""
        return self._context.teacher.prompts.before

    def _encoder(self, artifact: Artifact) -> AbstractContextManager[Encoder]:
        """An artifact as the package promises it: its length, its batch size."""
        context = self._context
        return self._open_encoder(
            artifact,
            context.tokenizer,
            max_length=context.max_length,
            batch_size=context.settings.batch,
        )

    def quality(self, artifact: Artifact) -> dict[str, Any]:
        """Figures on the task's dev file, or on held-out text that did not choose the network."""
        with self._context.timed("quality"):
            if self.task is None:
                return self._agreement(artifact)
            return self._task_figures(self.task, artifact)

    @staticmethod
    def _task_figures(task: PackagedTask, artifact: Artifact) -> dict[str, Any]:
        """Scores of the file and of the teacher, fine-tuned the same way, on the dev file."""
        teacher = {f"teacher_{name}": value for name, value in task.teacher_scores.items()}
        counts = {"dev_examples": task.dev_count, "train_examples": task.train_count}
        return task.scores(artifact) | teacher | counts

    def _agreement(self, artifact: Artifact) -> dict[str, Any]:
        context = self._context
        context.reporter.stage("Quality on held-out text")(0, 1, "encoding")
        if scores_tokens(context.head):
            return self._token_figures(artifact)
        sentences = judging_sentences(context.corpus, JUDGING_SENTENCES)
        wanted = context.teacher.vectors(sentences, max_length=context.max_length)
        documents = context.inputs.document_vectors(
            sentences, wanted, max_length=context.max_length
        )
        with self._encoder(artifact) as encoder:
            given = prompted(encoder.encode, self._prompt)(sentences)
            head = encoder.head
        if gives_scores(head):
            return _score_figures(wanted, given, sentences)
        record: dict[str, Any] = dataclasses.asdict(compare(wanted, given, documents))
        if self.labelled is not None:
            record["sts_spearman"] = self._sts(artifact, self.labelled)
        if self.asked is not None:
            record |= self._retrieval(artifact, self.asked)
        return record

    def _retrieval(self, artifact: Artifact, asked: Retrieval) -> dict[str, Any]:
        """How well questions find their paragraphs, as `nasc evaluate --task retrieval` says it.

        Each metric, its two-sided 90% bootstrap interval (``_low``, ``_high``), how many questions
        and paragraphs of which file.

        Raises:
            ExportError: If a vector is zero or no number.
        """
        context = self._context
        with self._encoder(artifact) as encoder:
            paragraphs = None
            if context.settings.query_only:
                paragraphs = self._paragraphs_taught(asked, encoder)
            prompts = context.inputs.loaded_teacher.prompts
            places = found_places(encoder, asked, prompts, context.reporter, paragraphs)
        found = retrieval_scores(asked, places, seed=context.settings.seed)
        ends = {
            f"{name}{ending}": end
            for name, one in found.items()
            for ending, end in zip(INTERVAL, (one.low, one.high), strict=True)
        }
        about = {
            "questions": len(asked.questions),
            "paragraphs": len(asked.paragraphs),
            "retrieval_data": asked.source,
            "retrieval_sha256": asked.sha256,
        }
        return {name: one.value for name, one in found.items()} | ends | about

    def _paragraphs_taught(self, asked: Retrieval, encoder: Encoder) -> Vectors:
        """(paragraphs, size) vectors by the teacher, of as much of them as the package reads."""
        if self._taught.paragraphs is None:
            find = as_much_of(self._context.inputs.loaded_teacher.with_prompt(DOCUMENT), encoder)
            stage = self._context.reporter.stage("The teacher's vectors of paragraphs")
            self._taught.paragraphs = encode_blocks(find, asked.paragraphs, stage)
        return self._taught.paragraphs

    def _token_figures(self, artifact: Artifact) -> dict[str, Any]:
        """Agreement with the teacher's scores of tokens, by its own tokens.

        Figures that there are none of are left out.
        """
        teacher, length = self._context.teacher, self._context.max_length
        sentences = judging_sentences(self._context.corpus, JUDGING_SENTENCES)
        if self._taught.tokens is None:
            self._taught.tokens = teacher.outputs(sentences, max_length=length)
        wanted = self._taught.tokens
        with self._encoder(artifact) as encoder:
            given = prompted(encoder.outputs_of, self._prompt)(sentences)
        if gives_answers(teacher.head()):
            passages = _parts(teacher, sentences, length, last=True)
            return dataclasses.asdict(compare_answers(wanted, given, passages))
        words = _parts(teacher, sentences, length)
        return _known(compare_tokens(wanted, given, words, teacher.labels))

    def tokenisation_ms(self) -> float:
        """Median time to tokenise a text of as many tokens as the measured input holds."""
        tokenizer, length = self._context.tokenizer, self._context.inputs.seq_len
        first, second = columns(judging_sentences(self._context.corpus, JUDGING_SENTENCES))
        before = [] if second is None else [min(first, key=len)]
        text = " ".join(first if second is None else second)
        cut = tokenizer(
            *before, text, truncation=True, max_length=length, return_offsets_mapping=True
        )
        parts = zip(cut["offset_mapping"], cut.sequence_ids(), strict=True)
        text = text[: max((end for (_, end), part in parts if part == len(before)), default=1)]
        times = []
        for _ in range(30):
            start = time.perf_counter()
            tokenizer(*before, text, truncation=True, max_length=length)
            times.append(1e3 * (time.perf_counter() - start))
        return float(np.median(times))


def _parts(
    teacher: Teacher, sentences: Sequence[Text], length: int, *, last: bool = False
) -> list[NDArray[np.bool_]]:
    """Of each text (tokens,), which tokens are of its words; of a pair's second text where last."""
    encoded = teacher.tokenizer(*columns(sentences), truncation=True, max_length=length)
    parts = (encoded.sequence_ids(place) for place in range(len(sentences)))
    return [np.array([one == 1 if last else one is not None for one in each]) for each in parts]


def _score_figures(wanted: Vectors, given: Vectors, sentences: Sequence[Text]) -> dict[str, Any]:
    """Figures of scores by the teacher's own head; those that there are none of are left out."""
    if wanted.shape[1] > 1:
        return dataclasses.asdict(compare_classes(wanted, given))
    return _known(compare_scores(wanted[:, 0], given[:, 0], columns(sentences)[0]))


def _known(found: ScoreAgreement | TokenAgreement) -> dict[str, Any]:
    """The figures by name, without those that there are none of."""
    return {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
