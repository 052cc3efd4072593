"""What searches and compilations on one device and teacher share, made once and cached.

Teacher, device, latency tables, text, trained and scored supernet: each is loaded, found
in the cache or made when it is first asked for. What may measure or train is a verb.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import device_profiles
import profilers
from nasc.architecture.heads import (
    graph_head,
    is_task_head,
    leaves_own_head,
    scores_tokens,
)
from nasc.architecture.space import (
    PRECISIONS,
    SMALLER,
    Architecture,
    Block,
    Geometry,
    SearchSpace,
)
from nasc.architecture.variant import Variant
from nasc.context.read_lengths import read_lengths
from nasc.context.read_vocabulary import CutVocabulary, read_vocabulary
from nasc.context.settings import AUTO, ESTIMATED_RUNTIME, NOT_BY_AUTO, Settings
from nasc.context.teacher_check import check_pairs, check_teacher
from nasc.data import Corpus, load_corpus
from nasc.data.heldout import scored_sentences
from nasc.data.pairs import load_pairs
from nasc.data.prompts import DOCUMENT, QUERY
from nasc.data.texts import Text
from nasc.errors import ExportError, NascError, TableMissing, UsageError
from nasc.evaluation.agreement import pooled_cosine
from nasc.evaluation.encoder import BATCH_SIZE, Encoder, Vectors
from nasc.evaluation.torch_vectors import teacher_vectors
from nasc.latency.away import AwaySession, away, unreachable
from nasc.latency.costs import TableCosts
from nasc.latency.estimate import estimated_precisions, estimated_table, peak_of
from nasc.latency.find import find_table, tables_of
from nasc.latency.key import LatencyKey
from nasc.latency.lengths import LengthMixture
from nasc.latency.mixed_table import mixed
from nasc.latency.places import tables_folder
from nasc.latency.profile import make_key, profile
from nasc.latency.session import MeasurementSession, check_real
from nasc.latency.table import LatencyTable
from nasc.latency.ways_on import without_device
from nasc.lowering import PRECISIONS as LOWERED
from nasc.lowering import Artifact, get_lowering, unfit
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.package.formats import SHIPPED, format_of
from nasc.supernet.checkpoint import left_blocks, read_space, read_supernet_header
from nasc.supernet.parallel import Parallel
from nasc.supernet.precision_loss import (
    load_or_measure_loss,
    sentences_as_tokens,
    vectors_as_shipped,
)
from nasc.supernet.prepare import Prepared, load_prepared, prepare, teacher_initialised_space
from nasc.supernet.score_candidates import scorer_for
from nasc.supernet.scorer import Scorer
from nasc.supernet.shipped import shipped_supernet
from nasc.supernet.space_for import space_for
from nasc.supernet.teacher_pruning import PrunedLoss
from nasc.supernet.train import TrainConfig, train_length
from nasc.teacher import Teacher, load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import has_bf16, training_device
from profilers.devices.base import Worker
from profilers.runtimes import runtimes_on

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

MAX_TABLE_ROUNDS = 3
"""So often tables are measured whose scale a later one shows to be another."""

MAX_CORPUS = 200_000
"""Training sentences used at most; minutes of training see fewer."""

PRUNING_SENTENCES = 32
PRUNING_BATCH = 8
"""Held-out sentences that decide which operations of the teacher are left out; so many at a time,
of similar length, for little padding."""


class RunContext:
    """Everything of some `Settings`, made when first asked for.

    Attributes:
        settings: As given.
        reporter: Told of the progress.
        seconds: Spent by stage so far.
        probed_ms: By variant, latencies of the few whole networks that were measured to see whether
            its table is needed.
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
        self.settings = settings
        self.reporter: Reporter = reporter or Silent()
        self.seconds: dict[str, float] = {}
        self.probed_ms: dict[Variant, Mapping[Architecture, float]] = {}
        self.cache = cache_folder(settings.cache)
        self.device = device_profiles.find(settings.device)
        self._why_away: profilers.DeviceUnreachable | None = None
        if promises_latency:
            check_real(self.device)
        if settings.estimate:
            peak_of(self.device, self.estimate_threads)  # raises
            opener = _open_nothing
        else:
            try:
                profilers.check_device(self.device)
            except profilers.DeviceUnreachable as error:
                if not predicts_alone or not tables_of(
                    [tables_folder(self.cache)], self.device.name
                ):
                    raise without_device(self.device, error) from error
                self._why_away = error
        self._predicts_alone = predicts_alone
        self._limits_bytes = limits_bytes
        self._opener = opener
        self._said: set[str] = set()
        self._sessions: dict[str, MeasurementSession] = {}
        self._baselines: dict[str, profilers.ReferenceBaseline] = {}
        self._tables: dict[Variant, LatencyTable] = {}
        self._by_length: dict[Variant, tuple[LatencyTable, ...]] = {}
        self._costs: dict[tuple[Variant, ...], TableCosts] = {}
        self._losses: dict[Variant, float] = {}
        self._whole_losses: dict[Variant, float] = {}
        self._scorers: dict[int, Scorer] = {}
        self._prepared: Prepared | None = None

    def say_once(self, text: str) -> None:
        """Tell the reporter what it was not told before."""
        if text not in self._said:
            self._said.add(text)
            self.reporter.say(text)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start

    @cached_property
    def loaded_teacher(self) -> Teacher:
        """The teacher as its folder has it."""
        with self.timed("teacher"):
            s = self.settings
            paired, bare = s.pairs is not None, leaves_own_head(s.head)
            return load_teacher(s.teacher, paired=paired, bare=bare)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher; of queries alone with their prompt before every text.

        Raises:
            UsageError: If these are asked of a teacher that gives scores.
        """
        found = self.loaded_teacher
        if self.settings.query_only and found.output != "embed":
            raise UsageError(
                f"--query-only is about sentence vectors, and the teacher {found.name!r} gives "
                "scores by a head of its own. Take its encoder alone: --head embed"
            )
        return found.with_prompt(QUERY) if self.settings.query_only else found

    def document_vectors(
        self, sentences: Sequence[Text], queries: Vectors, *, max_length: int | None = None
    ) -> Vectors | None:
        """What networks for queries alone are compared with: the teacher's vectors of documents.

        Args:
            sentences: The texts.
            queries: `teacher`'s vectors of them, which are the same where no prompt tells queries
                and documents apart.
            max_length: Tokens to cut them to; None is the teacher's own.

        Returns:
            (sentences, size); None where networks are for documents, too.
        """
        if not self.settings.query_only:
            return None
        by = self.loaded_teacher.with_prompt(DOCUMENT)
        if by.prompts.before == self.teacher.prompts.before:
            return queries
        return by.vectors(sentences, max_length=max_length)

    @property
    def head(self) -> str:
        """The head of what is made: a task's, or the teacher's own with its pooling.

        Raises:
            UsageError: If another pooling than the teacher's is asked for.
        """
        return self.teacher.own_head(self.settings.head)

    @property
    def trained_head(self) -> str:
        """The head that networks are trained with: a task's takes its place at the end."""
        asked = self.settings.head
        return self.teacher.head() if asked is not None and is_task_head(asked) else self.head

    @property
    def graph_head(self) -> str:
        """The head of the graphs that tables are measured of."""
        return graph_head(self.head)

    @property
    def max_length(self) -> int:
        """Tokens that texts are cut to: the teacher's, or what a network of fixed shape takes."""
        longest = self.teacher.max_length
        return min(longest, self.settings.seq_len) if self.settings.fixed_shape else longest

    @cached_property
    def mixture(self) -> LengthMixture | None:
        """The lengths that latencies are means over; None where all texts are of one.

        Raises:
            CorpusError: If the file that was named cannot be read, or holds no lengths.
        """
        path = self.settings.lengths
        if path is None:
            return None
        counts = self.teacher
        if self.vocabulary is not None:  # a cut one makes more tokens of a text
            counts = dataclasses.replace(counts, tokenizer=self.tokenizer)
        return read_lengths(path, counts, self.reporter.say)

    @property
    def lengths(self) -> Mapping[int, float]:
        """Shares of texts by the length that is measured, the shortest first."""
        mixture = self.mixture
        if mixture is None:
            return {self.settings.seq_len: 1.0}
        return dict(zip(mixture.lengths, mixture.shares, strict=True))

    @property
    def seq_len(self) -> int:
        """Tokens of the longest text that is measured."""
        return max(self.lengths)

    @cached_property
    def supernet_path(self) -> Path | None:
        """The trained supernet: the one named, or that which comes with nasc for the teacher.

        None if one is to be trained: there is none, or a space or a training is asked for.
        """
        s = self.settings
        if s.supernet is not None:
            return s.supernet
        if (s.space, s.train_minutes, s.train_steps) != (None, None, None):
            return None
        return shipped_supernet(self.teacher.sha256, self.teacher.pooling.mode)

    @cached_property
    def whole_space(self) -> SearchSpace:
        """The search space in all its precisions: the supernet's, or the teacher's.

        Raises:
            UsageError: If a supernet and another space are given.
            CheckpointError: If the supernet is missing, damaged or another teacher's.
        """
        s = self.settings
        if self.supernet_path is None:
            return space_for(self.teacher, s.space)
        found = read_space(self.supernet_path, self.teacher)
        if s.space is None:
            return found
        named = space_for(self.teacher, s.space)
        if named.restrict(precisions=found.precisions) != found:
            raise UsageError(
                f"supernet '{s.supernet}' was trained for search space {found.name!r}, which is "
                f"not --space {s.space}: leave --space out"
            )
        return named

    @cached_property
    def space(self) -> SearchSpace:
        """The search space in the precisions that are allowed."""
        found, wanted = self.whole_space, self.settings.precisions
        if wanted is None:
            return found
        foreign = [p for p in wanted if p not in found.precisions]
        if foreign:
            raise UsageError(
                f"--precision {foreign[0]} is not in search space {found.name!r}: "
                f"{', '.join(found.precisions)}"
            )
        return found.restrict(precisions=wanted)

    @cached_property
    def vocabulary(self) -> CutVocabulary | None:
        """What is kept of the teacher's vocabulary; None where that is all of it.

        Raises:
            CorpusError, UsageError: See `nasc.context.read_vocabulary.read_vocabulary`.
            UsageError: If the teacher scores tokens, which a cut vocabulary makes others of.
        """
        path = self.settings.vocab_from
        if path is not None and scores_tokens(self.teacher.head()):
            raise UsageError(
                f"--vocab-from {path} makes other tokens of a text than those that the teacher "
                f"{self.teacher.name!r} scores one by one: leave it out"
            )
        return None if path is None else read_vocabulary(path, self.teacher, self.reporter.say)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the packages: the teacher's, or what is left of it."""
        cut = self.vocabulary
        return self.teacher.tokenizer if cut is None else cut.cut.tokenizer

    @property
    def kept_words(self) -> int | None:
        """Words that are kept of the teacher's; None where those are all."""
        return None if self.vocabulary is None else self.vocabulary.tokens

    @property
    def geometry(self) -> Geometry:
        """Of the networks that ship."""
        found, cut = self.space.geometry, self.vocabulary
        return found if cut is None else found.with_words(cut.cut.ids.tolist())

    def as_shipped(self, network: Network) -> Network:
        """A network with the head and the vocabulary that ship."""
        network, cut = network.with_head(self.head), self.vocabulary
        return network if cut is None else network.with_words(cut.cut.ids)

    def with_vocabulary(self, network: Network) -> Network:
        """A network with the vocabulary that ships."""
        return network if self.vocabulary is None else network.with_words(self.vocabulary.cut.ids)

    @cached_property
    def choices(self) -> tuple[tuple[Block, ...], ...]:
        """By position the blocks that may be chosen."""
        if self.supernet_path is not None:
            left = left_blocks(self.whole_space, read_supernet_header(self.supernet_path))
            return left or (tuple(self.space.blocks()),) * self.space.n_blocks
        return (tuple(teacher_initialised_space(self.space).blocks()),) * self.space.n_blocks

    # Where and how networks run

    def session(self, runtime: str) -> MeasurementSession:
        """Where latencies are measured by a runtime."""
        if runtime not in self._sessions:
            session = MeasurementSession.on(
                self.device,
                self.cache,
                self.settings.threads,
                runtime,
                sustained_minutes=self.settings.sustained_minutes,
                opener=self._opener,
                say=self.reporter.say,
                tuned=self.settings.tuned,
            )
            if self._predicts_alone and not self.settings.estimate:
                session = self._or_away(session)
            self._sessions[runtime] = session
        return self._sessions[runtime]

    def _or_away(self, session: MeasurementSession) -> MeasurementSession:
        """A session, or what stands for it where its device cannot be reached.

        Raises:
            TableMissing: If it cannot be reached, and there is no table of it.
        """
        if self._why_away is None and self.device.connection.kind != "local":
            self._why_away = unreachable(session)
        if self._why_away is None:
            return session
        found = away(session, self._why_away)
        if found is None:
            raise without_device(self.device, self._why_away) from self._why_away
        self.say_once(found.note)
        return found

    @property
    def is_away(self) -> bool:
        """Whether the device was found not to be there, so that nothing can be measured."""
        return self._why_away is not None

    def _has_tables(self, variant: Variant) -> bool:
        """Whether the cache has the tables of a variant."""
        try:
            for key in self.table_keys(variant):
                find_table([tables_folder(self.cache)], key, self.space)
        except TableMissing:
            return False
        return True

    def open_encoder(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> AbstractContextManager[Encoder]:
        """An artifact as the device runs it, see `MeasurementSession.open_encoder`."""
        return self.session(artifact.runtime).open_encoder(
            artifact, tokenizer, max_length=max_length, batch_size=batch_size
        )

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """What may be chosen: runtimes and the precisions that the device computes in by them.

        The truest precision comes first; the device's own runtime before others.

        Raises:
            UsageError: If a precision that is asked for is computed by none of the runtimes, or by
                none that makes networks of the space in it.
            profilers.RuntimeMissing: If the runtime that is asked for is not installed there.
            profilers.ProfilerError: If the device cannot be reached.
        """
        own, wanted = self.device.default_runtime, self.settings.runtime
        if self.settings.estimate:
            offered = {ESTIMATED_RUNTIME: estimated_precisions(self.device, self.estimate_threads)}
        elif wanted == AUTO:
            offered = self._installed(sorted(self._tried, key=lambda runtime: runtime != own))
        else:
            offered = {wanted or own: self.session(wanted or own).precisions()}
        why: dict[Variant, str | None] = {
            Variant(runtime, precision): unfit(runtime, precision, self.space, self.trained_head)
            for precision in PRECISIONS
            for runtime in offered
            if precision in offered[runtime]
            and precision in self.space.precisions
            and self._is_wanted(precision)
        }
        found = tuple(variant for variant, reason in why.items() if reason is None)
        for variant, reason in why.items():
            if reason is not None:
                self.say_once(f"{variant} is left out: {reason}")
        if self.is_away:
            found = self._with_tables(found)
        known = "; ".join(f"{runtime}: {', '.join(each)}" for runtime, each in offered.items())
        for precision in self.settings.precisions or ():
            if all(variant.precision != precision for variant in found):
                elsewhere = [r for r in runtimes_on(self.device) if precision in LOWERED[r]]
                others = [r for r in elsewhere if r not in offered]
                advice = f" Another runtime may: --runtime {others[0]}" if others else ""
                unmade = [text for v, text in why.items() if text and v.precision == precision]
                if unmade:
                    raise UsageError(f"--precision {precision}: {'; '.join(unmade)}.{advice}")
                raise UsageError(
                    f"--precision {precision} is not computed on device {self.device.name!r} by "
                    f"what may be taken there ({known}).{advice}"
                )
        if not found and (unmade := [text for text in why.values() if text]):
            others = [runtime for runtime in runtimes_on(self.device) if runtime not in offered]
            advice = f" Take another runtime: --runtime {others[0]}" if others else ""
            raise UsageError(
                f"no network of the teacher {self.teacher.name!r} can be made: "
                f"{'; '.join(dict.fromkeys(unmade))}.{advice}"
            )
        if not found:
            raise UsageError(
                f"search space {self.space.name!r} is in {', '.join(self.space.precisions)}, "
                f"device {self.device.name!r} computes in {known}"
            )
        return found

    def _is_wanted(self, precision: str) -> bool:
        """Whether a precision is looked at: one that is only smaller than another is where asked.

        It is asked for by name, in a space's own precisions, or by limiting bytes.
        """
        if precision not in SMALLER or self._limits_bytes:
            return True
        return self.settings.precisions is not None or self.space.precisions != PRECISIONS

    def _with_tables(self, found: tuple[Variant, ...]) -> tuple[Variant, ...]:
        """Variants that can be priced without the device.

        Raises:
            TableMissing: If there is none.
        """
        priced = tuple(variant for variant in found if self._has_tables(variant))
        left_out = [str(variant) for variant in found if variant not in priced]
        if not priced:
            assert self._why_away is not None
            raise without_device(self.device, self._why_away) from self._why_away
        if left_out:
            self.say_once(
                f"left out, as no latency table of device {self.device.name!r} prices it under "
                f"these conditions: {', '.join(left_out)}"
            )
        return priced

    @property
    def _tried(self) -> tuple[str, ...]:
        """Runtimes that are looked for where none is named."""
        left_out = NOT_BY_AUTO.get(self.device.accelerator.kind, ())
        there = runtimes_on(self.device)
        return tuple(r for r in SHIPPED if r in there and r not in left_out)

    def _installed(self, runtimes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What the device computes in by those runtimes that it and this machine have.

        Raises:
            profilers.RuntimeMissing, ExportError: If none can be had.
        """
        offered: dict[str, tuple[str, ...]] = {}
        missing: Exception | None = None
        for runtime in runtimes:
            try:
                offered[runtime] = self.session(runtime).precisions(ask=True)
                get_lowering(runtime)
                if refusal := self.why_not_packed(runtime):
                    offered.pop(runtime)
                    self.say_once(f"{runtime} is left out: {refusal}")
            except (profilers.RuntimeMissing, ExportError, TableMissing) as error:
                offered.pop(runtime, None)
                missing = error
                self.say_once(f"{runtime} is left out: {error}")
        if missing is not None and not offered:
            raise missing
        return offered

    def why_not_packed(self, runtime: str) -> str:
        """Why no package can be written here for a runtime on the device; empty if one can.

        Args:
            runtime: One of `SHIPPED`.

        Raises:
            TableMissing, profilers.ProfilerError: If the device cannot be asked.
        """
        form = format_of(runtime)
        if not form.CODE:  # for any processor: the device need not be asked
            return ""
        with self._saying_ways_on():
            processor = self.session(runtime).processor or {}
        return form.refusal(str(processor.get("arch", platform.machine())))

    @contextmanager
    def _saying_ways_on(self) -> Iterator[None]:
        """Adds to a device that cannot be reached what can be done.

        Raises:
            TableMissing: In place of `profilers.DeviceUnreachable`.
        """
        try:
            yield
        except profilers.DeviceUnreachable as error:
            raise without_device(self.device, error) from error

    @property
    def estimate_threads(self) -> int:
        """Threads that an estimate is for."""
        return self.settings.threads or self.device.default_threads

    def _estimate(self, variant: Variant) -> None:
        """What the device's file says of a variant. No measurement."""
        s = self.settings
        tables = tuple(
            estimated_table(
                self.device,
                self.space,
                runtime=variant.runtime,
                precision=variant.precision,
                seq_len=seq_len,
                batch=s.batch,
                threads=self.estimate_threads,
                head=self.graph_head,
                fixed_shape=s.fixed_shape,
            )
            for seq_len in self.lengths
        )
        self._by_length[variant] = tables
        self._tables[variant] = mixed(tables, tuple(self.lengths.values()), self.space)
        self.say_once(str(self.table_note(variant)))

    def record_baseline(self, runtime: str) -> profilers.ReferenceBaseline:
        """The reference baseline: the scale of this run, taken anew where a table was measured."""
        if runtime not in self._baselines:
            with self._saying_ways_on():
                self._baselines[runtime] = self.session(runtime).baseline(
                    progress=self.reporter.stage(f"Reference of device {self.device.name!r}")
                )
        return self._baselines[runtime]

    def table_key(self, variant: Variant) -> LatencyKey:
        """What a latency table of a variant holds for under these settings, at the longest."""
        s = self.settings
        return make_key(
            self.record_baseline(variant.runtime),
            self.session(variant.runtime),
            self.space.geometry,
            precision=variant.precision,
            seq_len=self.seq_len,
            batch=s.batch,
            head=self.graph_head,
            fixed_shape=s.fixed_shape,
        )

    def table_keys(self, variant: Variant) -> tuple[LatencyKey, ...]:
        """The same at each of `lengths`."""
        key = self.table_key(variant)
        return tuple(dataclasses.replace(key, seq_len=seq_len) for seq_len in self.lengths)

    def measure_costs(self, variants: Iterable[Variant]) -> TableCosts:
        """Prices in some variants, from latency tables that are measured where there are none.

        Raises:
            CacheBusy: If another process measures for an hour.
            profilers.ProfilerError: If the device cannot be reached or measured.
            NascError: If the device changes its speed faster than tables are measured.
        """
        with self._saying_ways_on():
            return self._costs_of(tuple(variants))

    def _costs_of(self, variants: tuple[Variant, ...]) -> TableCosts:
        if self.settings.estimate:
            for variant in variants:
                if variant not in self._tables:
                    self._estimate(variant)
            tables = [self._tables[v] for v in variants]
            return TableCosts.of(tables, vocab_size=self.kept_words)
        for _ in range(MAX_TABLE_ROUNDS):
            missing = [v for v in variants if v not in self._tables]
            for runtime in dict.fromkeys(v.runtime for v in missing):
                own = [v.precision for v in missing if v.runtime == runtime]
                self._measure_tables(runtime, own)
                self._costs.clear()  # what is known of a runtime's memory may have grown
        if missing := [v for v in variants if v not in self._tables]:
            raise NascError(
                f"device {self.device.name!r} changes its speed faster than the latency tables of "
                f"{', '.join(map(str, missing))} are measured. Try again when it is quiet; what "
                "was measured is kept"
            )
        if variants not in self._costs:
            tables = [self._tables[v] for v in variants]
            reach = max(self.record_baseline(v.runtime).scale.reach for v in variants)
            self._costs[variants] = TableCosts.of(
                tables,
                self._tables.values(),
                reach,
                emulated=self.device.emulated,
                vocab_size=self.kept_words,
            )
        return self._costs[variants]

    def table_note(self, variant: Variant) -> str | None:
        """What is to be said of the latency tables of a variant: every `LatencyTable.note`."""
        notes = [table.note for table in self._by_length.get(variant, ())]
        session = self._sessions.get(variant.runtime)
        if notes and isinstance(session, AwaySession):
            notes.append(session.note)
        return "; ".join(dict.fromkeys(note for note in notes if note is not None)) or None

    @property
    def table_notes(self) -> tuple[str, ...]:
        """Those of all latency tables so far, and of the one that the supernet was shrunk by."""
        shrunk = (self.supernet_header or {}).get("shrinking") or {}
        notes = (*map(self.table_note, self._by_length), shrunk.get("latency_table"))
        return tuple(dict.fromkeys(note for note in notes if note is not None))

    def known_ms(self, architecture: Architecture) -> dict[Variant, float]:
        """What a network takes in each variant, by the tables and probes that there are so far."""
        found: dict[Variant, float] = {}
        for variant in self.variants:
            own = architecture.with_precision(variant.precision)
            if variant in self._tables:
                found[variant] = self._tables[variant].latency_ms(own)
            elif own in self.probed_ms.get(variant, {}):
                found[variant] = self.probed_ms[variant][own]
        return found

    def _measure_tables(self, runtime: str, precisions: list[str]) -> None:
        s = self.settings
        with self.timed("profile"):
            found = profile(
                self.space,
                self.session(runtime),
                precisions=precisions,
                seq_lens=tuple(self.lengths),
                batches=(s.batch,),
                head=self.graph_head,
                fixed_shape=s.fixed_shape,
                seed=s.seed,
                accept_transferred=True,
                progress=self.reporter.stage(f"Latency tables of device {self.device.name!r}"),
            )
        # A table's minutes tell more of the quiet time than the seconds before it: what was
        # measured on a busy machine must not be brought back to the scale of those, and tables of
        # several runtimes are compared in milliseconds.
        self._baselines[runtime] = baseline = self.session(runtime).baseline()
        for precision in precisions:
            variant = Variant(runtime, precision)
            own = (one.table for one in found if one.table.key.variant == variant)
            self._by_length[variant] = tuple(own)
        for note in self.table_notes:
            self.say_once(note)
        for variant, tables in list(self._by_length.items()):
            if variant.runtime != runtime:
                continue
            if all(table.is_near(baseline.quiet_ms) for table in tables):
                rescaled = tuple(table.rescaled(baseline.quiet_ms) for table in tables)
                self._by_length[variant] = rescaled
                shares = tuple(self.lengths.values())
                self._tables[variant] = mixed(rescaled, shares, self.space)
            else:  # to be measured again
                del self._by_length[variant]
                self._tables.pop(variant, None)

    # Text and supernet

    def check_inputs(self, *, searched: bool = True) -> None:
        """Raise for what is missing, damaged or does not belong together before the slow part.

        Args:
            searched: Whether there is a search space; a network of the literature needs none.

        Raises:
            UsageError, CheckpointError: See `whole_space` and `variants`.
            TeacherError: If its own library makes other vectors: see `check_teacher`.
            CorpusError: From the text, or the lengths, that were named.
        """
        teacher = self.loaded_teacher
        check_pairs(teacher, self.settings.pairs, self.settings.head)
        if searched:
            _ = self.variants
        with self.timed("teacher"):
            check_teacher(teacher, self.cache, self.reporter)
        _ = self.mixture
        _ = self.vocabulary
        if self.settings.corpus or self.settings.pairs is not None:
            _ = self.corpus

    @cached_property
    def corpus(self) -> Corpus:
        """The text."""
        with self.timed("text"):
            self.reporter.stage("Text")(0, 1, "reading")
            s = self.settings
            check_pairs(self.teacher, s.pairs)
            if s.pairs is not None:
                found = load_pairs(s.pairs, seed=s.seed, most=MAX_CORPUS)
                self.reporter.say(f"pairs: {found.description} ({len(found.train):,} to train on)")
                return found
            found = load_corpus(
                s.corpus or None,
                seed=s.seed,
                max_sentences=MAX_CORPUS,
                text_column=s.text_column,
                say=self.reporter.say,
            )
            self.reporter.say(f"text: {found.description} ({len(found.train):,} sentences)")
            return found

    def prepare_supernet(self) -> Prepared:
        """The supernet with its scores, trained now where there is none."""
        if self._prepared is None:
            self._prepared = self._prepare()
        return self._prepared

    def _prepare(self) -> Prepared:
        s, path = self.settings, self.supernet_path
        if path is not None:
            # Scores that it has with it will do, unless there is a text that matters more.
            scored = not s.corpus and "scores" in read_supernet_header(path)
            corpus = None if scored else self.corpus
            with self.timed("supernet"):
                return load_prepared(path, self.teacher, corpus, self.cache, self.reporter)
        text, device = self.corpus, training_device()
        with self.timed("supernet"):
            return prepare(
                self.teacher,
                teacher_initialised_space(self.whole_space),
                text,
                TrainConfig(steps=s.train_steps or 0, bf16=has_bf16(device), seed=s.seed),
                seconds=s.train_seconds,
                cache_dir=self.cache,
                reporter=self.reporter,
                parallel=Parallel(device=device),
            )

    @property
    def supernet_header(self) -> Mapping[str, Any] | None:
        """What the supernet's file says of its training; None where none was needed so far."""
        return None if self._prepared is None else self._prepared.header

    def measure_variant_loss(self, variant: Variant) -> float:
        """What a variant adds to the final loss of a network: scored with the supernet, or run now.

        Raises:
            profilers.ProfilerError: If its runtime is missing, or the device cannot be reached.
        """
        if variant not in self._losses:
            prepared = self.prepare_supernet()
            known = prepared.scores.known_loss(variant)
            if known is None:
                with self.timed("precision loss"):
                    self.reporter.stage("Loss of a precision")(0, 1, str(variant))
                    known = load_or_measure_loss(
                        prepared.supernet,
                        prepared.scores,
                        self.corpus,
                        self.session(variant.runtime),
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
            whole = self.space.teacher.with_precision(variant.precision)
            rows = sentences_as_tokens(self.teacher, self.corpus)
            with self.timed("precision loss"):
                self.reporter.stage("Loss of a precision")(0, 1, str(variant))
                network = teacher_network(self.teacher, whole)
                lower = self.session(variant.runtime).lower
                found = vectors_as_shipped(network, rows, lower, self.open_encoder)
            length = train_length(self.teacher)
            wanted = teacher_vectors(self.teacher, scored_sentences(self.corpus), max_length=length)
            self._whole_losses[variant] = 1 - pooled_cosine(wanted, found)
        return self._whole_losses[variant]

    def load_scorer(self, sentences: int | None = None) -> Scorer:
        """Takes losses of whole networks, on so many held-out sentences; None takes all."""
        chosen = scored_sentences(self.corpus)[:sentences]
        if len(chosen) not in self._scorers:
            self._scorers[len(chosen)] = scorer_for(self.prepare_supernet().supernet, chosen)
        return self._scorers[len(chosen)]

    @cached_property
    def pruned_loss(self) -> PrunedLoss:
        """Losses of pruned teachers; each is taken once, whatever the limits."""
        sentences = scored_sentences(self.corpus)[:PRUNING_SENTENCES]
        tokens = self.teacher.tokenize(sentences, max_length=train_length(self.teacher))
        batches = [tokens.batch(indices) for indices in tokens.buckets(PRUNING_BATCH)]
        return PrunedLoss(self.teacher, self.space, batches)


def _open_nothing(device: object, options: object, limits: object = None) -> Worker:
    """What an estimate opens on its device.

    Raises:
        profilers.DeviceUnreachable: Always.
    """
    raise profilers.DeviceUnreachable(
        "with --estimate no device is asked, and what is wanted is not computed on this machine. "
        "Allow fp32 alone: --precision fp32; or measure on the device: leave --estimate out"
    )
