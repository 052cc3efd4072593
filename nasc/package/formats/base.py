"""What a format says of the files that a runtime opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from device_profiles.reading import shown
from nasc.architecture.heads import MAX_ANSWER_TOKENS, gives_answers
from nasc.package.tokenizer_binary import FILE as TABLES

if TYPE_CHECKING:
    from nasc.evaluation.encoder import EncoderSession
    from nasc.package.manifest import Manifest


SENTENCES = '["A man is playing a guitar.", "Someone plays an instrument."]'
"""What READMEs encode."""

PAIRS = '[("A man is playing a guitar.", "Someone plays an instrument.")]'
"""What READMEs score."""

QUESTIONS = '[("Who plays the guitar?", "In the park a man plays the guitar.")]'
"""What READMEs ask."""

NOT_MEASURED = "not measured"
"""Of a latency that could be, in another compilation."""

QUERY = "Who is playing music?"
QUERIES = f'["{QUERY}"]'
"""What READMEs of networks for queries alone encode."""

TOKENIZER_TOO = "`AutoTokenizer.from_pretrained` of transformers reads the tokenizer."


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Facts read from a model's files, to be held against what a manifest says.

    Attributes:
        architecture: Text form, from the metadata.
        head: From the metadata.
        params: Parameters, counted from the tensors: constants of the graph and scales of
            int8 are none. None where they cannot be counted, as in compiled code.
        size_bytes: Of all its files.
        shape: (batch, seq_len) of the only inputs that it takes; None if both are free.
        outputs: Names of what it gives, in order.
        computed_in: Precision that the runtime computes in, as the file asks for it.
        unexpected: What of it nasc does not write; one phrase each.
        not_here: Why this machine's processor cannot run it; empty if it can.
    """

    architecture: str
    head: str
    params: int | None
    size_bytes: int
    shape: tuple[int, ...] | None
    outputs: tuple[str, ...]
    computed_in: str
    unexpected: tuple[str, ...]
    not_here: str = ""


class PackageFormat(Protocol):
    """A module of this folder.

    Everything else of a package is the same in all formats.
    """

    NAME: str
    """Of the model's files, in words."""

    LOWERED_FOR: str
    """The runtime whose lowering makes the model."""

    OPENED_BY: str | None
    """The runtime of `profilers` that opens the model; None where none does, see `open_session`."""

    PRECISIONS: tuple[str, ...]
    """In which it is made, as far as its lowering makes them."""

    VECTORS_ALONE: bool
    """Whether its programs give vectors of texts, and nothing else that networks give."""

    NOT_PROMISED: str
    """Why its folders state no latency where another package was measured."""

    MODEL: str
    """Name of the file that the runtime opens."""

    COMPANIONS: tuple[str, ...]
    """Names of the other files that it reads with it: with the same stem as `MODEL`."""

    MORE_FILES: tuple[str, ...]
    """Names of other files of this format, which no runtime of nasc opens: those of programs that
    use the package."""

    OPTIONAL_FILES: tuple[str, ...]
    """Names of files of the model that a package may hold, by what it was made for."""

    CODE: str
    """What of the model is code, which runs where that is opened, in words; empty: nothing."""

    PROGRAMS: str
    """What of `MORE_FILES` `run_more` runs, in words; empty: nothing."""

    NEEDS: str
    """What must be installed for the lines of Python in the README, in words."""

    TOLERANCE: Mapping[str, float]
    """By precision, the largest absolute difference that a vector's values may have from the golden
    ones, relative to the largest of them where that is above 1."""

    IMPORT: str
    """The line of Python that imports the runtime, in the README."""

    RUN: str
    """What computes there the first output of ``ids`` and ``mask``, as an expression."""

    def load_lines(self, manifest: Manifest) -> str:
        """The lines of Python that load the model there, the last one with its line break."""

    def precision_note(self, manifest: Manifest) -> str:
        """What a user must know there of the package's precision, as a paragraph; or nothing."""

    def other_libraries(self, manifest: Manifest) -> str:
        """How other libraries load the package of an encoder, as sections of the README."""

    def other_languages(self, manifest: Manifest) -> str:
        """How other languages use the package, as a section of the README; or nothing."""

    def own_usage(self, manifest: Manifest) -> str:
        """The README's section on how to use it, in place of lines of Python; or nothing."""

    def open_session(
        self, path: Path, timeout_s: float | None = None
    ) -> AbstractContextManager[EncoderSession] | None:
        """The model where no runtime of `profilers` opens it; None where one does.

        Args:
            path: The file `MODEL`.
            timeout_s: Seconds that a run may take; None takes the default.
        """

    def refusal(self, arch: str) -> str:
        """Why no package can be written here for a device; empty if one can.

        Args:
            arch: Of the device's processor, as `platform.machine` says it.
        """

    def check_ready(self, name: str) -> None:
        """Raise, before anything is searched, where what makes its files is not installed here.

        Args:
            name: Of the format, as `nasc compile --format` takes it.

        Raises:
            UsageError, PackageError, profilers.RuntimeMissing: With what to install.
        """

    def write_model(self, source: Path, target: Path) -> None:
        """Write one of the model's files into a package.

        Args:
            source: As the lowering made it.
            target: Its place in the package.

        Raises:
            OSError: If it cannot be read or written.
        """

    def write_more(self, folder: Path, manifest: Manifest) -> None:
        """Write `MORE_FILES` into a package whose model's files are there.

        Raises:
            PackageError: If they cannot be had here.
            OSError: If one cannot be written.
        """

    def wrong_more(self, folder: Path, manifest: Manifest) -> list[str]:
        """What of `MORE_FILES` is not as nasc writes it, once all files are as hashed.

        Returns:
            One phrase each.

        Raises:
            OSError, FileRefused: If a file cannot be read.
        """

    def run_more(self, folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
        """Whether programs of `MORE_FILES`, which are as nasc writes them, give what is recorded.

        Returns:
            None where they cannot be run here; and what was found.

        Raises:
            PackageError, OSError, ValueError: If they cannot be tried.
        """

    def inspect(self, path: Path) -> ModelFile:
        """Read and check a model's files.

        What somebody else made is read in a process of its own: see `nasc.package.process`.

        Args:
            path: The file that the runtime opens; its companions lie beside it.

        Raises:
            OSError, FileRefused: If a file cannot be read.
            Exception: If it is no valid model of one operator after the other, all of whose
                weights lie in its own files; libraries raise what they like.
        """


@runtime_checkable
class CFormat(PackageFormat, Protocol):
    """A format that holds the network as C code, in place of a file for a runtime."""

    C_FOLDER: str
    """Of the library in a package; empty where it is the package."""

    C_PROCESSORS: tuple[Mapping[str, Any] | None, ...]
    """That there is code for, as `profilers.context.read_context` gives them; None is this
    machine's."""

    SAME_CODE: bool
    """Whether the code is what a package for `LOWERED_FOR` holds, so that its vectors are the same
    in every precision."""


def shape_of(axes: Iterable[Sequence[int | None]]) -> tuple[int, ...] | None:
    """What inputs of such axes take: None if all are free.

    Args:
        axes: Of each input; None of a free axis.

    Raises:
        ValueError: If the inputs take different shapes, or some of the axes are free.
    """
    found = {tuple(each) for each in axes}
    if found == {(None, None)}:
        return None
    fixed = [tuple(a for a in each if a is not None) for each in found]
    if [len(each) for each in fixed] != [2]:
        raise ValueError(f"its inputs have axes of {shown(sorted(map(str, found)))}")
    return fixed[0]


def model_files(form: PackageFormat) -> tuple[str, ...]:
    """Names of all files of a model, the one that the runtime opens first."""
    return (form.MODEL, *form.COMPANIONS)


def tables_of(form: PackageFormat) -> str | None:
    """Name of the file of the tokenizer's tables in a package; None where there is none."""
    names = (name for name in form.MORE_FILES if PurePosixPath(name).name == TABLES)
    return next(names, None)


def sentence_transformers_usage(
    manifest: Manifest, arguments: str, *, imports: str = "", before: str = ""
) -> str:
    """The lines of Python that use an encoder through sentence-transformers.

    Args:
        manifest: Of the package.
        arguments: Of the model's class, after the folder.
        imports: Lines before the library's import.
        before: Lines before the model's.
    """
    if manifest.query_only:
        return f"""\
import numpy as np
{imports}from sentence_transformers import SentenceTransformer

{before}model = SentenceTransformer(".", {arguments})
queries = model.encode({QUERIES}, batch_size={manifest.conditions.batch})
documents = np.load("documents.npy")  # yours: (document, value), by the teacher
print(model.similarity(queries, documents))
"""
    return f"""\
{imports}from sentence_transformers import SentenceTransformer

{before}model = SentenceTransformer(".", {arguments})
vectors = model.encode({SENTENCES}, batch_size={manifest.conditions.batch})
print(model.similarity(vectors, vectors))
"""


def cross_encoder_usage(
    manifest: Manifest, arguments: str, *, imports: str = "", before: str = ""
) -> str:
    """The lines of Python that score pairs through sentence-transformers.

    Args:
        manifest: Of the package.
        arguments: Of the model's class, after the folder.
        imports: Lines before the library's import.
        before: Lines before the model's.
    """
    return f"""\
{imports}from sentence_transformers import CrossEncoder

{before}model = CrossEncoder(".", {arguments})
scores = model.predict({PAIRS}, batch_size={manifest.conditions.batch})
print(scores)
"""


def token_usage(
    manifest: Manifest,
    library: str,
    prefix: str,
    arguments: str = "",
    *,
    imports: str = "",
    before: str = "",
) -> str:
    """The lines of Python that use a teacher's head over tokens as transformers does.

    Args:
        manifest: Of the package.
        library: That has the model's class.
        prefix: With which the name of that begins.
        arguments: Of its `from_pretrained`, after the folder.
        imports: Lines before the library's import.
        before: Lines before the model's.
    """
    answers = gives_answers(manifest.head)
    name = f"{prefix}For{'QuestionAnswering' if answers else 'TokenClassification'}"
    more, use, imports = "", _ANSWER, "import numpy as np\n" * answers + imports
    if not answers:
        more, use = ", pipeline", _ENTITIES
    return f"""\
{imports}from {library} import {name}
from transformers import AutoTokenizer{more}

{before}model = {name}.from_pretrained(".{'", ' if arguments else '"'}{arguments})
tokenizer = AutoTokenizer.from_pretrained(".")
{use}"""


_ENTITIES = f"""\
ner = pipeline("token-classification", model=model, tokenizer=tokenizer)
for found in ner({SENTENCES}[0]):
    print(found["word"], found["entity"], found["score"])
"""


def answer_lines(parts: str, offsets: str, passage: str, *, none: bool = True) -> str:
    """The lines of Python that print the best answer by ``starts`` and ``ends``, each (tokens,).

    It is that of `nasc.evaluation.token_agreement.best_answer`.

    Args:
        parts: Expression of the number of each token's text; None of special tokens.
        offsets: Of the first and the last character of each token, plus one.
        passage: Of the second text.
        none: Whether the first token scores that there is none.
    """
    found = f"{passage}[{offsets}[first][0] : {offsets}[last][1]]"
    if none:
        found = f'{found} if sums[first, last] >= sums[0, 0] else "no answer"'
    return f"""\
passage = np.array({parts}) == 1  # an answer lies in the passage, not in the question
tokens = np.arange(len(passage))
length = 1 + tokens - tokens[:, None]
fits = passage & passage[:, None] & (length >= 1) & (length <= {MAX_ANSWER_TOKENS})
sums = starts[:, None] + ends
first, last = np.unravel_index(np.where(fits, sums, -np.inf).argmax(), sums.shape)
print({found})
"""


_ANSWER = f"""\
question, text = {QUESTIONS}[0]
batch = tokenizer(
    question, text, truncation="only_second", return_offsets_mapping=True, return_tensors="pt"
)
offsets = batch.pop("offset_mapping")[0].tolist()
found = model(**batch)
starts, ends = (one[0].detach().numpy() for one in (found.start_logits, found.end_logits))
{answer_lines("batch.sequence_ids(0)", "offsets", "text")}"""


def precision_of(architecture: str) -> str:
    """The precision in an architecture's text form; empty where there is none."""
    return architecture.rpartition("@")[2].strip()


def is_parameter(name: str) -> bool:
    """Whether the emitter's name of a tensor is that of a parameter: ``layer.kind.tensor``."""
    return name.count(".") == 2 and not name.endswith("_scale")


def no_text(manifest: Manifest) -> str:
    """A section of the README that a format does not have."""
    return ""


def no_session(path: Path, timeout_s: float | None = None) -> None:
    """See `PackageFormat.open_session`: a runtime of `profilers` opens the model."""
    return None


def no_refusal(arch: str) -> str:
    """See `PackageFormat.refusal`: packages can be written for every device."""
    return ""


def always_ready(name: str) -> None:
    """See `PackageFormat.check_ready`: nothing is needed but what nasc needs."""


def as_it_is(source: Path, target: Path) -> None:
    """See `PackageFormat.write_model`: files ship as they were made."""
    shutil.copyfile(source, target)


def nothing_written(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat.write_more`: there are no more files."""


def nothing_wrong(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat.wrong_more`: there are no more files."""
    return []


def nothing_run(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat.run_more`: there are no programs."""
    return True, "there are none"
