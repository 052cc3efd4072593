"""What packages for apps share, whose model is that of the ONNX folder beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from device_profiles.reading import read_bytes, read_json
from nasc.architecture.heads import gives_scores, gives_vector, scores_tokens, vector_size
from nasc.errors import PackageError
from nasc.export.onnx import output_name
from nasc.package.hashes import record_file
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN
from nasc.package.tokenizer_golden import golden_lines

_MAX_SOURCE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AppFile:
    """A file that an app loads.

    Attributes:
        name: Without its folder.
        size_bytes: Of it.
        sha256: Of its content, in hexadecimal digits.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AppContents:
    """What the code of a package has to know of its model.

    Attributes:
        model: The file of the model.
        tokenizer: The file of the tokenizer's tables.
        dimensions: Numbers of a vector.
        max_length: Tokens that a text is cut to.
        pad_token: The token that fills a text up.
        shape: (batch, seq_len) of the only inputs that the model takes; None if both are free.
        output: Name of the output that holds the vectors.
        precision: Of the model.
        threads: That it was measured with.
    """

    model: AppFile
    tokenizer: AppFile
    dimensions: int
    max_length: int
    pad_token: int
    shape: tuple[int, ...] | None
    output: str
    precision: str
    threads: int


def check_vectors(name: str, head: str) -> None:
    """Raise where a network gives something that such packages have no call for.

    Args:
        name: Of the format.
        head: Of the network.

    Raises:
        PackageError: With what it has.
    """
    if not gives_vector(head) or gives_scores(head):
        own = gives_scores(head) or scores_tokens(head)
        advice = ", or take the encoder alone: --head embed" if own else ""
        raise PackageError(
            f"--format {name} gives vectors of texts (embed); there is no call yet for the head "
            f"{head!r}. Leave --format {name} out{advice}"
        )


def app_contents(folder: Path, manifest: Manifest, model: str, tables: str) -> AppContents:
    """What is in a package whose model, tables and config.json are written.

    Args:
        folder: The package.
        manifest: Of it.
        model: Name of the model's file in it.
        tables: Name of the file of the tokenizer's tables in it.

    Raises:
        OSError, FileRefused: If a file cannot be read.
    """
    config = read_json(folder / "config.json", schema={"type": "object"})
    conditions = manifest.conditions
    return AppContents(
        _file(folder / model),
        _file(folder / tables),
        vector_size(manifest.head, manifest.geometry.hidden),
        manifest.max_length,
        int(config["pad_token_id"]),
        conditions.shape,
        output_name(manifest.head),
        manifest.precision,
        conditions.threads,
    )


def write_tables(folder: Path, tables: str) -> None:
    """Write the tables and golden texts of a package's tokenizer.json.

    Args:
        folder: The package.
        tables: Name of the file of tables in it.

    Raises:
        PackageError: If ports do not do what the tokenizer does.
        OSError: If a file cannot be written.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (folder / tables).parent.mkdir(parents=True, exist_ok=True)
    (folder / tables).write_bytes(compile_tokenizer(tokenizer))
    lines = "".join(golden_lines(tokenizer))
    (folder / TOKENIZER_GOLDEN).write_text(lines, encoding="ascii", newline="\n")


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files of text into a package.

    Args:
        folder: The package.
        texts: By name.

    Raises:
        OSError: If one cannot be written.
    """
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def wrong_texts(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """What of a package's files of text is not as nasc writes it; one phrase each.

    Raises:
        OSError, FileRefused: If one cannot be read.
    """
    return [
        f"{name} is not as nasc writes it"
        for name, text in texts.items()
        if read_bytes(folder / name, _MAX_SOURCE_BYTES) != text.encode()
    ]


def _file(path: Path) -> AppFile:
    record = record_file(path)
    return AppFile(path.name, record.size_bytes, record.sha256)
