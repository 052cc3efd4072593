"""Texts of others that go by a name: fetched from the hub, held to their hash."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_profiles.reading import sha256_of
from nasc.errors import CorpusError
from nasc.utils.progress import Say


@dataclass(frozen=True, slots=True)
class NamedText:
    """A text on the Hugging Face hub.

    Attributes:
        about: What it is, in words for the user.
        licence: Under which it may be used.
        repository: Of the hub, one of data sets.
        revision: The commit of it.
        file: Its path there, a parquet file.
        sha256: Of the file.
        size_bytes: Of the file.
    """

    about: str
    licence: str
    repository: str
    revision: str
    file: str
    sha256: str
    size_bytes: int


NAMED: Mapping[str, NamedText] = {
    "wikipedia-simple": NamedText(
        about="the Simple English Wikipedia of November 2023, 241,787 articles",
        licence="CC BY-SA 3.0",
        repository="wikimedia/wikipedia",
        revision="b04c8d1ceb2f5cd4588862100d08de323dccfbaa",
        file="20231101.simple/train-00000-of-00001.parquet",
        sha256="31bded16768a47c286becd292079122f5d7d4397a17b87d4250a00ccd581e6f0",
        size_bytes=156_885_218,
    ),
}
"""By the name that stands for each in `--corpus`."""


def is_named(source: str | Path) -> bool:
    """Whether a source of text is one of `NAMED`: a file or folder of that name goes before."""
    return str(source) in NAMED and not Path(source).exists()


def fetch(name: str, say: Say | None = None) -> Path:
    """The file of a text in `NAMED`, downloaded once into the hub's own cache.

    Args:
        name: Its name.
        say: Told what it is, under which licence, and what it costs.

    Raises:
        CorpusError: If pyarrow, which reads it, is missing; if it cannot be had; or if it is not
            the file that is meant.
    """
    text = NAMED[name]
    if importlib.util.find_spec("pyarrow") is None:
        raise CorpusError(
            f"'{name}' is read by the pyarrow library, which is not installed. "
            "Install it: pip install 'nasc[datasets]'"
        )
    if say is not None:
        say(
            f"{name}: {text.about}, {text.licence}; {text.size_bytes / 1e6:.0f} MB of the hub, "
            "downloaded once"
        )
    path = _download(name, text)
    if sha256_of(path) != text.sha256:
        path = _download(name, text, anew=True)
    found = sha256_of(path)
    if found != text.sha256:
        raise CorpusError(
            f"'{name}': the hub, asked twice, gave a file with the checksum {found[:16]}..., not "
            f"{text.sha256[:16]}...: it is damaged, or another one. Give a text file or folder"
        )
    return path


def _download(name: str, text: NamedText, anew: bool = False) -> Path:
    """The file in the hub's cache, fetched where it is not there, or `anew`."""
    import huggingface_hub  # a fifth of a second, for this alone

    try:
        return Path(
            huggingface_hub.hf_hub_download(
                text.repository,
                text.file,
                repo_type="dataset",
                revision=text.revision,
                force_download=anew,
            )
        )
    except Exception as error:  # whatever the hub's client, its transports or the disk raise
        reason = " ".join(str(error).split())[:200]
        raise CorpusError(
            f"'{name}' cannot be had from the hub ({type(error).__name__}: {reason}). Check the "
            "network, give a text file or folder, or leave --corpus out for the text that comes "
            "with nasc"
        ) from error
