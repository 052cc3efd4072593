"""What a run is given: settings, teacher, text, vocabulary, lengths and search space.

Each is loaded or read once, when it is first asked for. Nothing of it is measured or trained.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nasc.architecture.heads import graph_head, is_task_head, leaves_own_head, scores_tokens
from nasc.architecture.space import Block, Geometry, SearchSpace
from nasc.context.read_lengths import read_lengths
from nasc.context.read_vocabulary import CutVocabulary, read_vocabulary
from nasc.context.settings import Settings
from nasc.context.teacher_check import check_pairs
from nasc.context.text_source import load_text
from nasc.data import Corpus
from nasc.data.heldout import scored_sentences
from nasc.data.prompts import DOCUMENT, QUERY
from nasc.data.texts import Text
from nasc.distillation.trained import TrainedNetwork, shipped_networks
from nasc.errors import UsageError
from nasc.evaluation.encoder import Vectors
from nasc.evaluation.torch_vectors import teacher_vectors
from nasc.latency.lengths import LengthMixture
from nasc.networks.network import Network
from nasc.supernet.checkpoint import left_blocks, read_space, read_supernet_header
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.shipped import shipped_supernet
from nasc.supernet.space_for import space_for
from nasc.teacher import Teacher, load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter, Silent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RunInputs:
    """What some `Settings` name, loaded when first asked for.

    Attributes:
        settings: As given.
        reporter: Told of the progress.
        cache: Folder of what is kept from one run to the next.
        seconds: Spent by stage so far.
    """

    def __init__(self, settings: Settings, reporter: Reporter | None = None) -> None:
        """Find the cache; nothing heavy happens yet.

        Args:
            settings: The conditions.
            reporter: Told of the progress; None tells nobody.

        Raises:
            NascError: If the cache cannot be written.
        """
        self.settings = settings
        self.reporter: Reporter = reporter or Silent()
        self.cache = cache_folder(settings.cache)
        self.seconds: dict[str, float] = {}
        self._said: set[str] = set()

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

    @cached_property
    def scored_vectors(self) -> tuple[Vectors, Vectors | None]:
        """The teacher's vectors of the sentences that choose networks, and `document_vectors`."""
        sentences = scored_sentences(self.corpus)
        found = teacher_vectors(self.teacher, sentences)
        return found, self.document_vectors(sentences, found)

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
    def trained_networks(self) -> tuple[TrainedNetwork, ...]:
        """Networks that come trained with nasc, where nothing else is asked for than it comes with.

        Raises:
            CheckpointError: If their file is damaged.
        """
        if self.supernet_path is None or self.settings.supernet is not None:
            return ()
        if self.trained_head != self.teacher.head():
            return ()
        return shipped_networks(self.teacher)

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
        """The search space in the precisions that are allowed.

        Raises:
            UsageError: If one that is asked for is not in it.
            UsageError, CheckpointError: See `whole_space`.
        """
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

    @cached_property
    def corpus(self) -> Corpus:
        """The text."""
        with self.timed("text"):
            self.reporter.stage("Text")(0, 1, "reading")
            s = self.settings
            check_pairs(self.teacher, s.pairs)
            return load_text(s.corpus, s.text_column, s.pairs, s.seed, self.reporter.say)
