import gzip
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasc.data import Corpus, corpus_from_sentences, load_corpus
from nasc.data.corpus import (
    DEFAULT_DESCRIPTION,
    DEFAULT_HELDOUT,
    DEFAULT_TEXT,
    sentence_key,
)
from nasc.data.sentences import split_sentences
from nasc.errors import CorpusError


def sentences(n: int) -> list[str]:
    return [f"Sentence number {i} says something of its own." for i in range(n)]


def make(n: int, **options: int) -> Corpus:
    return corpus_from_sentences(sentences(n), description="test", **{"seed": 0, **options})


# ------------------------------------------------------------------ corpus


@pytest.mark.parametrize(
    ("n", "heldout"), [(24, 6), (100, 25), (2048, 512), (5000, 512), (20000, 1000)]
)
def test_a_disjoint_share_is_held_out(n: int, heldout: int) -> None:
    corpus = make(n)
    assert len(corpus.heldout) == heldout
    assert sorted(corpus.train + corpus.heldout) == sorted(sentences(n))


def test_the_seed_orders_the_training_sentences_and_nothing_else() -> None:
    first, again, other = make(500), make(500), make(500, seed=1)
    assert first == again
    assert first.train != other.train
    assert sorted(first.train) == sorted(other.train)
    assert (first.heldout, first.sha256) == (other.heldout, other.sha256)


def test_the_hash_is_that_of_the_content_in_any_order() -> None:
    backwards = corpus_from_sentences(sentences(99)[::-1], description="test", seed=0)
    assert backwards == make(99)
    assert make(98).sha256 != make(99).sha256


def test_a_limit_holds_for_training_sentences() -> None:
    whole, part = make(500), make(500, max_sentences=50)
    assert part.train == whole.train[:50]
    assert part.heldout == whole.heldout
    with pytest.raises(CorpusError, match="at least 1, got 0"):
        make(500, max_sentences=0)


def test_twins_are_one_sentence_and_never_on_both_sides() -> None:
    twins = [s.upper().replace(".", "!") for s in sentences(200)]
    corpus = corpus_from_sentences(sentences(200) + twins, description="test", seed=0)
    assert sorted(corpus.train + corpus.heldout) == sorted(sentences(200))


def test_too_little_text() -> None:
    with pytest.raises(CorpusError, match=r"test: 23 different sentences .* 24 are needed"):
        make(23)


@pytest.mark.parametrize(("limit", "most"), [(50, 2048), (3000, 3512), (20_000, 21_053)])
def test_a_limit_changes_nothing_but_the_number_up_to_a_size(limit: int, most: int) -> None:
    """Up to that size the choice is the seed's among all; beyond, among the smallest hashes."""
    whole, part = make(most, seed=3), make(most, seed=3, max_sentences=limit)
    assert part.train == whole.train[:limit]
    assert (part.heldout, part.sha256) == (whole.heldout, whole.sha256)
    more = make(most + 2000, seed=3, max_sentences=limit)
    ordered = sorted(sentences(most + 2000), key=sentence_key)[:most]
    assert more == corpus_from_sentences(ordered, description="test", seed=3, max_sentences=limit)
    assert len(more.train) == limit
    assert len(more.heldout) == max(512, round(0.05 * most))


def test_corpora_stay_what_they_were() -> None:
    """Caches depend on it: the same sentences give the same hash with every release."""
    found = make(500, max_sentences=50)
    assert found.sha256.startswith("18e8bb09d66bc058")
    assert found.train[0] == "Sentence number 142 says something of its own."
    assert found.heldout[0] == "Sentence number 447 says something of its own."


def test_a_text_of_any_size_is_read_in_bounded_memory() -> None:
    """Counts the sentences that are alive while ten times as many as are needed are read."""

    class Sentence(str):
        pass

    alive: weakref.WeakSet[Sentence] = weakref.WeakSet()
    peak = 0

    def read() -> Iterator[str]:
        nonlocal peak
        for i in range(20_480):
            sentence = Sentence(f"Sentence number {i} says something of its own.")
            alive.add(sentence)
            peak = max(peak, len(alive))
            yield sentence

    corpus = corpus_from_sentences(read(), description="test", seed=0, max_sentences=50)
    assert len(corpus.heldout) == 512
    assert peak <= 2 * 2048 + 2


def test_of_twins_the_first_is_kept_however_much_is_read() -> None:
    first = sentences(6000)
    twins = [s.upper() for s in first]
    many = corpus_from_sentences(first + twins, description="test", seed=0, max_sentences=50)
    assert many == make(6000, max_sentences=50)


# ------------------------------------------------------------------ splitting


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("One came. Two left! Did three? Yes.", ["One came.", "Two left!", "Did three?", "Yes."]),
        (
            "Mr. Smith met Dr. J. R. Doe. They spoke.",
            ["Mr. Smith met Dr. J. R. Doe.", "They spoke."],
        ),
        ("He said “Go.” She went.", ["He said “Go.”", "She went."]),
        ('It ended (early.) "So soon," he said.', ["It ended (early.)", '"So soon," he said.']),
        ("It costs 3.5 euros, e.g. in France.", ["It costs 3.5 euros, e.g. in France."]),
        (
            "Born in the U.S. Navy base. Étienne left.",
            ["Born in the U.S. Navy base.", "Étienne left."],
        ),
        ("今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
        ("Wait... What? In 1990. 42 came.", ["Wait...", "What?", "In 1990.", "42 came."]),
        ("no end", ["no end"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_they_end(paragraph: str, expected: list[str]) -> None:
    assert split_sentences(paragraph) == expected


# ------------------------------------------------------------------ files


def paragraphs(start: int, n: int) -> list[str]:
    return [
        f"Paragraph {i} begins with this. It has a second sentence, number {i}."
        for i in range(start, start + n)
    ]


def everything(corpus: Corpus) -> set[str]:
    return {*corpus.train, *corpus.heldout}


def test_a_file_with_one_paragraph_a_line(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text("\ufeffA Title\n" + "\n".join(paragraphs(0, 20)) + "\n\n", encoding="utf-8")
    corpus = load_corpus(path, seed=0)
    assert "Paragraph 7 begins with this." in everything(corpus)
    assert "It has a second sentence, number 7." in everything(corpus)
    assert len(everything(corpus)) == 40
    assert corpus.description == "wiki.txt"
    zipped = tmp_path / "wiki.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert load_corpus(str(zipped), seed=0).sha256 == corpus.sha256


def test_a_folder_holds_text_gz_and_markdown(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("\n".join(paragraphs(0, 10)))
    (tmp_path / "deep" / "b.txt.gz").write_bytes(
        gzip.compress("\n".join(paragraphs(10, 10)).encode())
    )
    (tmp_path / "deep" / "er" / "c.md").write_text(
        "# A heading of words\n\nA paragraph that goes on\nover [two](http://x.y) **lines**. "
        "And ends.\n\n```\nprint('code that must not get in')\n```\n\n"
        "| a table | of | cells that stay out |\n|---|---|---|\n- One item of a list.\n"
        "- Another item of it.\n"
    )
    (tmp_path / "ignored.bin").write_bytes(b"\0\1\2")
    found = everything(load_corpus(tmp_path, seed=0))
    assert "Paragraph 19 begins with this." in found
    assert "A paragraph that goes on over two lines." in found
    assert {"A heading of words", "One item of a list.", "Another item of it."} <= found
    assert not [s for s in found if "code" in s or "cells" in s]
    assert "And ends." not in found
    assert len(found) == 44


def test_several_sources(tmp_path: Path) -> None:
    for name, start in (("a.txt", 0), ("b.txt", 10)):
        (tmp_path / name).write_text("\n".join(paragraphs(start, 10)))
    corpus = load_corpus([tmp_path / "a.txt", str(tmp_path / "b.txt")], seed=0)
    assert len(everything(corpus)) == 40
    assert corpus.description == "a.txt, b.txt"
    with pytest.raises(CorpusError, match="list of sources is empty"):
        load_corpus([], seed=0)


def test_hard_wrapped_text_is_joined(tmp_path: Path) -> None:
    words = " ".join(f"The number {i} is followed by the number {i + 1} here." for i in range(40))
    lines: list[str] = []
    for part in (words[:1200], words[1200:]):
        line = ""
        for word in part.split():
            if len(line) + len(word) > 68:
                lines.append(line)
                line = ""
            line = f"{line} {word}".strip()
        lines += [line, ""]
    path = tmp_path / "book.txt"
    path.write_text("\n".join(lines))
    found = everything(load_corpus(path, seed=0))
    assert len([s for s in found if s.startswith("The number") and s.endswith("here.")]) >= 38


def test_short_and_letterless_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(["Hm.", "1234567890 + 0987654321", "", *paragraphs(0, 12)]))
    assert all(s.startswith(("Paragraph", "It")) for s in everything(load_corpus(path, seed=0)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a\.txt: 0 different sentences"),
        ("a.txt", b"\x7fELF\0\0\1\2" * 50, "is binary"),
        ("a.txt", "Grüße aus Köln".encode("latin-1") * 20, r"\(byte 0xfc in line 1\).* iconv -f"),
        ("a.txt.gz", b"plain words", "is named .gz but is not gzip"),
        ("a.txt.gz", gzip.compress(b"Some words here.\n" * 900, mtime=0)[:-9], "is damaged"),
        ("a.gz", gzip.compress(b"\0\1\2\3" * 900, mtime=0), "is binary"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path / name, seed=0)


def test_missing_unreadable_and_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match=r"no corpus at .*nowhere"):
        load_corpus(tmp_path / "nowhere", seed=0)
    with pytest.raises(CorpusError, match=r"holds no text: no \*\.txt, \*\.md, \*\.jsonl.*\.gz"):
        load_corpus(tmp_path, seed=0)
    path = tmp_path / "a.txt"
    path.write_text("words")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CorpusError, match=r"a\.txt' cannot be read: Permission denied"):
        load_corpus(path, seed=0)


# ------------------------------------------------------------------ data sets


def test_datasets_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'nasc\[datasets\]'"):
        load_corpus("datasets:wikitext", seed=0)
    with pytest.raises(CorpusError, match="'datasets:' names no data set"):
        load_corpus("datasets:", seed=0)


def test_a_data_set_that_is_not_there() -> None:
    pytest.importorskip("datasets", reason="needs the datasets library")
    with pytest.raises(CorpusError, match="data set 'no/such-thing' cannot be read"):
        load_corpus("datasets:no/such-thing", seed=0)


def test_a_data_set_is_streamed(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs the datasets library")
    rows = "\n".join(f'{{"id": {i}, "text": "{p}"}}' for i, p in enumerate(paragraphs(0, 20)))
    (tmp_path / "data.jsonl").write_text(rows)
    corpus = load_corpus(f"datasets:{tmp_path}", seed=0)
    assert len(everything(corpus)) == 40
    (tmp_path / "data.jsonl").write_text('{"id": 1, "number": 2}\n' * 20)
    with pytest.raises(CorpusError, match=r"has no column of text; its columns are: id, number"):
        load_corpus(f"datasets:{tmp_path}", seed=0)


@pytest.mark.parametrize("good_rows", [0, 1, 30])
def test_a_data_set_that_breaks_off_is_a_message(
    good_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> Iterator[dict[str, object]]:
        for i, paragraph in enumerate(paragraphs(0, good_rows)):
            yield {"id": i, "text": paragraph}
        raise ConnectionError("the network is gone")

    library = SimpleNamespace(load_dataset=lambda *about, **options: rows())
    monkeypatch.setitem(sys.modules, "datasets", library)
    with pytest.raises(
        CorpusError, match=r"'some/set' cannot be read \(ConnectionError: the network is gone\)"
    ):
        load_corpus("datasets:some/set", seed=0)


def test_every_row_of_a_data_set_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, object]]:
        for i, paragraph in enumerate(paragraphs(0, 20)):
            read.append(i)
            yield {"text": paragraph}

    library = SimpleNamespace(load_dataset=lambda *about, **options: rows())
    monkeypatch.setitem(sys.modules, "datasets", library)
    assert len(everything(load_corpus("datasets:some/set", seed=0))) == 40
    assert read == list(range(20))


# ------------------------------------------------------------------ the text that comes with nasc


def test_where_no_text_is_named_one_comes_with_nasc() -> None:
    corpus = load_corpus(None, seed=0)
    assert len(corpus.train) > 14_000
    assert len(corpus.heldout) >= 2 * 512
    assert not set(map(sentence_key, corpus.train)) & set(map(sentence_key, corpus.heldout))
    sentences = everything(corpus)
    assert sum(s[0].isupper() or s[0] in "\"'" for s in sentences) > 0.98 * len(sentences)
    assert not any(mark in s for s in sentences for mark in ("[[", "{{", "<ref", "|"))
    assert set(corpus.heldout) <= everything(load_corpus(DEFAULT_HELDOUT, seed=1))
    assert set(corpus.train) == everything(load_corpus(DEFAULT_TEXT, seed=1))
    assert "Wikipedia" in corpus.description


def test_sentences_to_hold_out_may_be_named() -> None:
    train, heldout = sentences(30), [*sentences(31)[29:], "One more that is said elsewhere."]
    corpus = corpus_from_sentences(train, description="test", seed=0, heldout=heldout)
    assert set(corpus.train) == set(train)
    assert set(corpus.heldout) == set(heldout[1:])  # the first is among the others
    other = corpus_from_sentences(train, description="test", seed=0, heldout=heldout[:-1])
    assert corpus.sha256 != other.sha256


def test_the_text_s_licence_and_articles_come_with_it() -> None:
    about = (DEFAULT_TEXT.parent / "README.md").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in about
    titles = [line for line in about.splitlines() if line.startswith("- ")]
    assert DEFAULT_DESCRIPTION.startswith(f"{len(titles)} articles")
