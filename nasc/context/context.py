"""What searches and compilations on one device and teacher share, made once and cached.

Inputs, device, latency tables, trained and scored supernet: each is loaded, found in the cache or
made when it is first asked for. What may measure or train is a verb.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import device_profiles
import profilers
from nasc.architecture.space import SearchSpace
from nasc.architecture.variant import Variant
from nasc.context.inputs import RunInputs
from nasc.context.sessions import Sessions
from nasc.context.settings import Settings
from nasc.context.supernet import ScoredSupernet
from nasc.context.tables import LatencyTables
from nasc.context.teacher_check import check_pairs, check_teacher
from nasc.context.variants import find_variants
from nasc.data import Corpus
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.latency.lengths import LengthMixture
from nasc.latency.session import MeasurementSession, check_real
from nasc.lowering import Artifact
from nasc.teacher import Teacher
from nasc.utils.progress import Reporter

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class RunContext:
    """The inputs of a run, and what is made of them on a device, all when first asked for.

    Attributes:
        inputs: What the settings name.
        settings: As given.
        reporter: Told of the progress.
        cache: Folder of what is kept from one run to the next.
        seconds: Spent by stage so far.
        device: Where networks run.
        sessions: On it, one for each runtime.
        tables: Its latency tables.
        supernet: With its scores, and the losses that are taken with it.
    """

    def __init__(
        self,
        settings: Settings,
        reporter: Reporter | None = None,
        *,
        opener: profilers.Opener | None = None,
        promises_latency: bool = True,
        predicts_alone: bool = False,
        limits_bytes: bool = False,
    ) -> None:
        """Find the device and the cache; nothing heavy happens yet.

        Args:
            settings: The conditions.
            reporter: Told of the progress; None tells nobody.
            opener: Starts a worker on the device, see `MeasurementSession`.
            promises_latency: Whether anything is said of latencies. Where nothing is, the device
                may be emulated.
            predicts_alone: Whether a device that cannot be reached may be known by its latency
                tables: what is made then says so, and measures nothing.
            limits_bytes: Whether the size of files or memory is limited: only then are precisions
                that are smaller than another, and less true, taken without being asked for.

        Raises:
            DeviceProfileError: If there is no such device.
            DeviceEmulated: If its latencies mean nothing, and any is promised.
            TableMissing: If it is not attached; says what can be done.
            UsageError: If its file states too little for an estimate that is asked for.
            NascError: If the cache cannot be written.
        """
        self.inputs = RunInputs(settings, reporter)
        self.settings = settings
        self.reporter = self.inputs.reporter
        self.cache = self.inputs.cache
        self.seconds = self.inputs.seconds
        self.device = device_profiles.find(settings.device)
        if promises_latency:
            check_real(self.device)
        self.sessions = Sessions(
            self.inputs, self.device, opener=opener, predicts_alone=predicts_alone
        )
        self.supernet = ScoredSupernet(self.inputs, self.sessions)
        self.tables = LatencyTables(self.inputs, self.sessions, self.supernet.table_note)
        self._limits_bytes = limits_bytes

    def say_once(self, text: str) -> None:
        """Tell the reporter what it was not told before."""
        self.inputs.say_once(text)

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the time spent inside to a stage."""
        return self.inputs.timed(stage)

    @property
    def teacher(self) -> Teacher:
        """The teacher; of queries alone with their prompt before every text."""
        return self.inputs.teacher

    @property
    def corpus(self) -> Corpus:
        """The text."""
        return self.inputs.corpus

    @property
    def head(self) -> str:
        """The head of what is made: a task's, or the teacher's own with its pooling."""
        return self.inputs.head

    @property
    def trained_head(self) -> str:
        """The head that networks are trained with: a task's takes its place at the end."""
        return self.inputs.trained_head

    @property
    def graph_head(self) -> str:
        """The head of the graphs that tables are measured of."""
        return self.inputs.graph_head

    @property
    def max_length(self) -> int:
        """Tokens that texts are cut to: the teacher's, or what a network of fixed shape takes."""
        return self.inputs.max_length

    @property
    def mixture(self) -> LengthMixture | None:
        """The lengths that latencies are means over; None where all texts are of one."""
        return self.inputs.mixture

    @property
    def lengths(self) -> Mapping[int, float]:
        """Shares of texts by the length that is measured, the shortest first."""
        return self.inputs.lengths

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the packages: the teacher's, or what is left of it."""
        return self.inputs.tokenizer

    @property
    def supernet_path(self) -> Path | None:
        """The trained supernet's file; None if one is to be trained."""
        return self.inputs.supernet_path

    @property
    def whole_space(self) -> SearchSpace:
        """The search space in all its precisions: the supernet's, or the teacher's."""
        return self.inputs.whole_space

    @property
    def space(self) -> SearchSpace:
        """The search space in the precisions that are allowed."""
        return self.inputs.space

    def session(self, runtime: str) -> MeasurementSession:
        """Where latencies are measured by a runtime."""
        return self.sessions.on(runtime)

    def open_encoder(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> AbstractContextManager[Encoder]:
        """An artifact as the device runs it, see `Sessions.open_encoder`."""
        return self.sessions.open_encoder(
            artifact, tokenizer, max_length=max_length, batch_size=batch_size
        )

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """What may be chosen, see `nasc.context.variants.find_variants`."""
        return find_variants(
            self.inputs, self.sessions, self.tables.has, limits_bytes=self._limits_bytes
        )

    def check_inputs(self, *, searched: bool = True) -> None:
        """Raise for what is missing, damaged or does not belong together before the slow part.

        Args:
            searched: Whether there is a search space; a network of the literature needs none.

        Raises:
            UsageError, CheckpointError: See `whole_space` and `variants`.
            TeacherError: If its own library makes other vectors: see `check_teacher`.
            CorpusError: From the text, or the lengths, that were named.
        """
        teacher = self.inputs.loaded_teacher
        check_pairs(teacher, self.settings.pairs, self.settings.head)
        if searched:
            _ = self.variants
        with self.timed("teacher"):
            check_teacher(teacher, self.cache, self.reporter)
        _ = self.mixture
        _ = self.inputs.vocabulary
        if self.settings.has_own_text:
            _ = self.corpus
