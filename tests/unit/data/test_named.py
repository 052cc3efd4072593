"""Texts that go by a name: fetched once, held to their hash, refused with a message."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from nasc.data import load_corpus, named, sources
from nasc.errors import CorpusError

NAME = "wikipedia-simple"
PROSE = "\n".join(f"The cat number {i} sat on the mat in front of the house." for i in range(40))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """The hub gives a file of text with the hash of `PROSE`; what it was asked for is kept."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    sha256 = hashlib.sha256(PROSE.encode()).hexdigest()
    short: Mapping[str, named.NamedText] = {
        NAME: dataclasses.replace(named.NAMED[NAME], sha256=sha256)
    }
    for module in (named, sources):
        monkeypatch.setattr(module, "NAMED", short)

    def serve(text: str) -> list[Any]:
        asked: list[Any] = []
        path = tmp_path / "served.txt"
        path.write_text(text)

        def download(*about: Any, **more: Any) -> str:
            asked.append((about, more))
            return str(path)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return asked

    return serve


def test_one_file_of_one_commit_is_read(served: Callable[[str], list[Any]]) -> None:
    asked, said = served(PROSE), []
    corpus = load_corpus(NAME, seed=0, say=said.append)
    assert {*corpus.train, *corpus.heldout} == set(PROSE.splitlines())
    assert corpus.description == NAME
    [(about, more)] = asked
    assert about == ("wikimedia/wikipedia", "20231101.simple/train-00000-of-00001.parquet")
    assert more == {
        "repo_type": "dataset",
        "revision": "b04c8d1ceb2f5cd4588862100d08de323dccfbaa",
        "force_download": False,
    }
    assert "CC BY-SA 3.0; 157 MB of the hub, downloaded once" in said[0]


def test_another_file_is_refused(served: Callable[[str], list[Any]]) -> None:
    """It is fetched anew once: what the hub's cache holds may be damaged."""
    asked = served(PROSE + "!")
    with pytest.raises(CorpusError, match=r"asked twice, gave a file with the checksum"):
        load_corpus(NAME, seed=0)
    assert [more["force_download"] for _, more in asked] == [False, True]


def test_a_path_of_that_name_goes_before(
    served: Callable[[str], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = served(PROSE)
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_text(PROSE.replace("cat", "dog"))
    assert "dog" in load_corpus(NAME, seed=0).train[0]
    assert not asked


class Unreachable(Exception):
    """Of a transport of the hub's client: no OSError."""


@pytest.mark.parametrize("kind", [Unreachable, OSError, ValueError])
def test_a_hub_out_of_reach_is_a_message(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)

    def download(*about: Any, **more: Any) -> str:
        raise kind("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(CorpusError, match=r"cannot be had from the hub .*no network.*leave --corp"):
        load_corpus(NAME, seed=0)


def test_nothing_is_fetched_that_cannot_be_read(
    served: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = served(PROSE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"pip install 'nasc\[datasets\]'"):
        load_corpus(NAME, seed=0)
    assert not asked
