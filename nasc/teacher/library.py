"""A teacher against the library of its own folder: the same tokens, the same vectors, or refused.

The library is sentence-transformers, of scores of two texts its CrossEncoder; where it is not
installed, or cannot load the folder, the network and tokenizer of transformers with the pooling
that nasc reads take its place, and the result says so. All compute in float32, whatever the weights
are stored in.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from nasc.architecture.heads import ANSWERS, SCORES, TOKENS
from nasc.data.batching import without_padding
from nasc.data.texts import Text, columns
from nasc.errors import TeacherDamaged, UnsupportedFamily
from nasc.teacher.encoder import Teacher, sentence_vectors
from nasc.teacher.files import TeacherFiles, reason
from nasc.teacher.modules import read_modules
from nasc.teacher.tokenizer import PROBES, is_failure, quiet_transformers

SENTENCE_TRANSFORMERS = "sentence-transformers"

MAX_ABS = 1e-4
"""Largest difference of a component that float32 in another order explains, of vectors of length 1
and of those that keep theirs. Between libraries on one machine it is around 1e-6."""

LONG = " ".join(f"Sentence {i} of a long text, the {i % 7}th kind." for i in range(250))
"""10,000 characters, some 3,000 tokens: longer than what teachers of the supported families take,
but for ModernBERT's 8,192 tokens, which are not compared to their end."""

TEXTS = (*PROBES, "word " * 40, LONG)
"""Texts that are compared: short, long, of many scripts, with literal special tokens."""

PAIRS = tuple(zip(TEXTS, TEXTS[::-1], strict=True))
"""Pairs of them, for teachers that score two texts."""

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[Text]], Iterable[Vectors]]


@dataclass(frozen=True, slots=True)
class LibraryCheck:
    """What a comparison with the folder's own library found: agreement, or it would be an error.

    Attributes:
        library: Name and version of the library.
        texts: Texts that were compared.
        max_abs: Largest difference of a component of a vector.
        note: Why the library is not sentence-transformers; empty where it is.
    """

    library: str
    texts: int
    max_abs: float
    note: str = ""

    def __str__(self) -> str:
        """One sentence for the console."""
        note = f" ({self.note})" if self.note else ""
        return (
            f"the full-size network gives the vectors of {self.library}: largest "
            f"difference {self.max_abs:.1e} on {self.texts} texts{note}"
        )


class Library(Protocol):
    """A library that has loaded a teacher's folder."""

    @property
    def name(self) -> str:
        """Its name and version."""
        ...

    def token_lists(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of texts as the network gets them, cut and without padding."""
        ...

    def vectors(self, texts: Sequence[Text]) -> Iterable[Vectors]:
        """Sentence vectors of one batch, or scores of each text's tokens without padding."""
        ...


def is_installed() -> bool:
    """Whether sentence-transformers can be imported; it is not."""
    return importlib.util.find_spec("sentence_transformers") is not None


def library_names() -> tuple[str, ...]:
    """The libraries that a comparison would use, with their versions; nothing is imported."""
    names = [f"transformers {transformers.__version__}"]
    if is_installed():
        names.insert(0, _version())
    return tuple(names)


def _version() -> str:
    """Of sentence-transformers, with its name, which alone is left of a broken installation."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{SENTENCE_TRANSFORMERS} {importlib.metadata.version(SENTENCE_TRANSFORMERS)}"
    return SENTENCE_TRANSFORMERS


def check_against_library(
    teacher: Teacher, folder: Path, encode: Encode, texts: Sequence[Text] | None = None
) -> LibraryCheck:
    """Hold vectors against those of the library of a teacher's folder.

    Args:
        teacher: As it was loaded from the folder.
        folder: Its folder.
        encode: Vectors of texts, or scores of their tokens: the network that is to be judged.
        texts: What to compare; None takes `TEXTS`, or `PAIRS` of a teacher that scores pairs.

    Raises:
        UnsupportedFamily: If tokens or vectors differ, with the figures, or the library that has
            loaded the folder fails to make them.
        TeacherDamaged: If no library can load the folder.
    """
    texts = comparable(teacher, texts or (PAIRS if teacher.paired else TEXTS))
    library, note = load_library(teacher, folder)
    with _failing(teacher, library, "tokens"):
        theirs = library.token_lists(texts)
    ours = teacher.tokenize(texts).rows()
    for text, left, right in zip(texts, theirs, ours, strict=True):
        if left != right:
            at = next(
                (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
                min(len(left), len(right)),
            )
            raise UnsupportedFamily(
                f"teacher '{teacher.name}': {library.name} makes {len(left)} tokens of "
                f"{_shown(text)}, nasc {len(right)}; token {at} is the first that differs "
                f"({_row(left, at)} and {_row(right, at)}). Something in its folder is not read as "
                "it is by its library: please report it, with the folder's small files"
            )
    with _failing(teacher, library, "vectors"):
        expected = [*library.vectors(texts), *library.vectors([texts[-1]])]
    found = [*encode(texts), *encode([texts[-1]])]
    differences = [_difference(one, other) for one, other in zip(found, expected, strict=True)]
    worst = float(np.max(differences))  # no number of any is none of all
    if not worst <= MAX_ABS:
        text = [*texts, texts[-1]][int(np.argmax(differences))]
        raise UnsupportedFamily(
            f"teacher '{teacher.name}': its vectors differ from those of {library.name} by up to "
            f"{worst:.1e} (on {_shown(text)}), allowed is {MAX_ABS:g}. Something in its folder is "
            "not read as it is by its library: please report it, with the folder's small files"
        )
    return LibraryCheck(library.name, len(texts), worst, note)


def _difference(one: Vectors, other: Vectors) -> float:
    """Largest of a component; infinite where there are more or fewer."""
    return float(np.abs(one - other).max()) if one.shape == other.shape else np.inf


@contextlib.contextmanager
def _failing(teacher: Teacher, library: Library, what: str) -> Iterator[None]:
    """A block in which a library makes something; that it cannot is an error of nasc."""
    try:
        yield
    except BaseException as error:  # of any of the libraries that it runs
        if not is_failure(error):
            raise
        raise UnsupportedFamily(
            f"teacher '{teacher.name}': {library.name} loads its folder and fails to make {what}: "
            f"{_reason(error)}. Where it fails for other teachers too, look at its installation: "
            "pip check"
        ) from error


def comparable(teacher: Teacher, texts: Sequence[Text]) -> list[Text]:
    """Texts without the literal special token that a network takes for its own.

    RoBERTa and MPNet of transformers count positions by the ids that are not padding, so that those
    after a literal ``<pad>`` in a text move; nasc counts tokens. A literal ``[SEP]`` in the first
    of two texts ends it for nasc (docs/teachers.md).
    """
    offset, separator = teacher.geometry.position_offset, teacher.geometry.separator
    padding, ends = (
        "" if number is None else str(teacher.tokenizer.convert_ids_to_tokens(number))
        for number in (offset - 1 if offset else None, separator)
    )

    def without(text: str, token: str) -> str:
        return text.replace(token, "") if token else text

    return [
        without(text, padding)
        if isinstance(text, str)
        else (without(without(text[0], padding), ends), without(text[1], padding))
        for text in texts
    ]


def _shown(text: Text) -> str:
    return repr(text[:40] if isinstance(text, str) else (text[0][:40], text[1][:40]))


def _row(tokens: Sequence[int], at: int) -> str:
    return str(tokens[at]) if at < len(tokens) else "none"


def load_library(teacher: Teacher, folder: Path) -> tuple[Library, str]:
    """The library that judges a folder, and why it is not sentence-transformers; else empty.

    Raises:
        TeacherDamaged: If none can load the folder.
    """
    crossed = read_modules(TeacherFiles(folder, teacher.name)).cross_encoder
    ours = teacher.paired if teacher.output == SCORES else teacher.output == "embed" and not crossed
    note = f"{SENTENCE_TRANSFORMERS} is not installed" if ours else ""
    if is_installed() and ours:
        try:
            return (CrossEncoderLibrary if teacher.paired else SentenceTransformersLibrary)(
                folder
            ), ""
        except Exception as error:  # of any of the libraries that it imports or runs
            note = f"{_version()} cannot be used for the folder: {_reason(error)}"
    try:
        return TransformersLibrary(teacher, folder), note
    except Exception as error:
        raise TeacherDamaged(
            f"teacher '{teacher.name}': transformers {transformers.__version__} cannot load its "
            f"folder: {_reason(error)}"
        ) from error


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason(error)}"


_LOADED: Any = {
    "device": "cpu",
    "trust_remote_code": False,
    "local_files_only": True,
    "model_kwargs": {"dtype": torch.float32},
}
"""How sentence-transformers loads a folder."""


class SentenceTransformersLibrary:
    """sentence-transformers, in float32 on the CPU, running no code of the folder."""

    def __init__(self, folder: Path) -> None:
        with _quiet():
            from sentence_transformers import SentenceTransformer  # seconds to import

            self._model: Any = SentenceTransformer(str(folder), **_LOADED)
        self._preprocess = self._model.preprocess  # older releases have none
        self._prompt = self._model.prompts.get(self._model.default_prompt_name or "")
        self.name = _version()

    def token_lists(self, texts: Sequence[Text]) -> list[list[int]]:
        """See `Library`."""
        features = self._preprocess(list(texts), prompt=self._prompt)
        return _unpadded(features["input_ids"], features["attention_mask"])

    def vectors(self, texts: Sequence[Text]) -> Vectors:
        """See `Library`."""
        with _quiet():
            found: Vectors = self._model.encode(
                list(texts), batch_size=len(texts), show_progress_bar=False
            )
        return np.array(found, np.float32)


class CrossEncoderLibrary:
    """CrossEncoder of sentence-transformers, as `SentenceTransformersLibrary`: scores of pairs.

    They are compared as the network gives them, before the activation that CrossEncoder puts over
    them.
    """

    def __init__(self, folder: Path) -> None:
        with _quiet():
            from sentence_transformers import CrossEncoder  # seconds to import

            self._model: Any = CrossEncoder(str(folder), **_LOADED)
        self._preprocess = self._model.preprocess  # older releases have none
        self.name = _version()

    def token_lists(self, texts: Sequence[Text]) -> list[list[int]]:
        """See `Library`."""
        features = self._preprocess(list(texts))
        return _unpadded(features["input_ids"], features["attention_mask"])

    def vectors(self, texts: Sequence[Text]) -> Vectors:
        """See `Library`."""
        with _quiet():
            found = self._model.predict(
                list(texts),
                batch_size=len(texts),
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
            )
        return np.array(found, np.float32).reshape(len(texts), -1)


_CLASSES: dict[str, Any] = {
    "embed": transformers.AutoModel,
    SCORES: transformers.AutoModelForSequenceClassification,
    TOKENS: transformers.AutoModelForTokenClassification,
    ANSWERS: transformers.AutoModelForQuestionAnswering,
}
"""Of transformers, by what a teacher gives."""


class TransformersLibrary:
    """The network and the tokenizer of transformers, with its own head or the teacher's pooling."""

    def __init__(self, teacher: Teacher, folder: Path) -> None:
        inner = read_modules(TeacherFiles(folder, teacher.name)).transformer.folder
        with _quiet():
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                inner, local_files_only=True, trust_remote_code=False
            )
            self._model: Any = (
                _CLASSES[teacher.output]
                .from_pretrained(
                    inner,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=torch.float32,
                )
                .eval()
            )
        self._max_length = teacher.max_length
        self._before = teacher.prompts.before
        self._output, self._head = teacher.output, teacher.head()
        self._pooling, self._dense = teacher.pooling, teacher.dense
        self.name = f"transformers {transformers.__version__}"

    def _batch(self, texts: Sequence[Text]) -> Any:
        first, second = columns(texts)
        return self._tokenizer(
            [self._before + text for text in first],
            second,
            padding=True,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        )

    def token_lists(self, texts: Sequence[Text]) -> list[list[int]]:
        """See `Library`."""
        batch = self._batch(texts)
        return _unpadded(batch["input_ids"], batch["attention_mask"])

    @torch.inference_mode()
    def vectors(self, texts: Sequence[Text]) -> Iterable[Vectors]:
        """See `Library`."""
        batch = self._batch(texts)
        given = self._model(**batch, return_dict=True)
        if self._output != "embed":
            scores = (
                torch.stack([given.start_logits, given.end_logits], 1)
                if self._output == ANSWERS
                else given.logits
            )
            counts = batch["attention_mask"].sum(1).tolist()
            rows = zip(scores.numpy(), counts, strict=True)
            return [without_padding(row, self._head, count) for row, count in rows]
        states = given.last_hidden_state
        vectors = sentence_vectors(states, batch["attention_mask"], self._pooling, self._dense)
        found: Vectors = vectors.numpy()
        return found


def _unpadded(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[list[int]]:
    return [row[real.bool()].tolist() for row, real in zip(input_ids, attention_mask, strict=True)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, load reports or advice of the libraries."""
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet_transformers():
            yield
    finally:
        logger.setLevel(level)
