# ruff: noqa: RUF001
"""Text of every kind, script and size: taken for what it is, or refused in words."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from device_profiles import reading
from nasc.cli import main
from nasc.context.settings import Settings
from nasc.data import corpus_from_sentences, load_corpus, records, stream_text, streams
from nasc.data.corpus import sentence_key
from nasc.data.markdown import without_markdown
from nasc.data.sentences import split_sentences, usable
from nasc.data.sources import Reading, _paragraphs, _unwrap, read_all
from nasc.data.webpage import visible_text
from nasc.errors import CorpusError, UsageError
from nasc.tasks.hub import dataset_rows

WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
SENTENCES = [f"The {a} of them, it is said, saw the {b}." for a in WORDS[:6] for b in WORDS]
ROWS = [{"id": i, "text": s, "label": "positive"} for i, s in enumerate(SENTENCES)]


def everything(path: Path | str, **options: Any) -> set[str]:
    corpus = load_corpus(path, seed=0, **options)
    return {*corpus.train, *corpus.heldout}


# ------------------------------------------------------------------ kinds of files

KINDS = {
    "a.jsonl": "\n\n".join(json.dumps(row) for row in ROWS),
    "a.ndjson": "\n".join(json.dumps(row) for row in ROWS),
    "a.json": json.dumps(ROWS, indent=1),
    "lines.json": "\n".join(json.dumps(row) for row in ROWS),
    "texts.json": json.dumps(SENTENCES),
    "texts.jsonl": "\n".join(map(json.dumps, SENTENCES)),
    "a.csv": "id,text,label\r\n" + "".join(f'{i},"{s}",1\r\n' for i, s in enumerate(SENTENCES)),
    "b.csv": "id;Text\n" + "".join(f"{i};{s}\n" for i, s in enumerate(SENTENCES)),
    "a.tsv": "text\tlabel\n" + "".join(f"{s}\t0\n" for s in SENTENCES),
    "A.HTML": "<!DOCTYPE html><html><head><title>Not of the text at all</title>"
    "<style>p { content: 'No text either of it' }</style></head><body class='x y > z'>"
    "<nav><a href=x>The way to all other pages</a></nav><!-- A comment that is not seen -->"
    + "".join(f"<p class='x'>{s.replace(' of ', ' <b>of</b>&nbsp;')}</p>" for s in SENTENCES)
    + "<script>if (a < b) document.write('<p>This is no text of the page.</p>')</script>",
    "a.md": "---\ntitle: The title of the page\nkind: some field of it\n---\n"
    + "<!-- A comment that is\nnot to be seen -->\n"
    + "".join(f"- {s.replace('them', '[![them](a.svg)](b_(c).html)')}\n" for s in SENTENCES),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_files_are_read_by_their_kind(name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{'.gz' if packed else ''}"
    content = KINDS[name].encode()
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    assert everything(path) == set(SENTENCES)


def test_a_rule_at_the_beginning_of_markdown_is_no_front_matter() -> None:
    text = ["---\n", "It says something here.\n", "---\n", "And here.\n"]
    found = " ".join("".join(without_markdown(text)).split())
    assert found == "It says something here. And here."


def test_a_folder_is_read_each_file_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS[:30]))
    (tmp_path / "b.csv.gz").write_bytes(
        gzip.compress(("text\n" + "\n".join(f'"{s}"' for s in SENTENCES[30:50])).encode())
    )
    (tmp_path / "c.htm").write_text("".join(f"<li>{s}" for s in SENTENCES[50:]))
    (tmp_path / "settings.json").write_text('{"name": "It is not a text of the corpus."}')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    said: list[str] = []
    assert everything(tmp_path, say=said.append) == set(SENTENCES)
    assert said == [
        "text of 'a.jsonl': column 'text'",
        "left out: 'settings.json' holds no list of records, and no JSON lines",
    ]


def test_an_index_beside_text_is_no_text(tmp_path: Path) -> None:
    index = "file\ttitle\n" + "".join(f"a.txt\tA title of the {a} kind\n" for a in WORDS)
    (tmp_path / "index.tsv").write_text(index)
    (tmp_path / "names.csv").write_text("title\nSome name or other\n")
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES))
    said: list[str] = []
    assert everything(tmp_path, say=said.append) == set(SENTENCES)
    assert said == [
        "left out: 'index.tsv' has no column text, sentence, content, passage; its columns are: "
        "file, title. Say which: --text-column NAME",
        "left out: 'names.csv' has no column text, sentence, content, passage; its columns are: "
        "title. Say which: --text-column NAME",
    ]
    assert "A title of the two kind" in everything(tmp_path, text_column="title")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(CorpusError, match=r"index\.tsv' has no column text, .*--text-column NAME"):
        load_corpus(tmp_path, seed=0)


SIDE_FILES = {
    "numbers.csv": b"text\n" + b"1,2,3\n" * 20,
    "page.html": "<p>Grüße aus Köln.</p>".encode("latin-1"),
    "settings.json": b"[ // a comment\n]",
    "table.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", SIDE_FILES)
def test_what_cannot_be_read_beside_prose_is_left_out(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES))
    (tmp_path / name).write_bytes(SIDE_FILES[name])
    said: list[str] = []
    assert everything(tmp_path, say=said.append) == set(SENTENCES)
    [line] = said
    assert line.startswith(f"left out: '{name}' ")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(CorpusError, match=name):
        load_corpus(tmp_path, seed=0)


def test_what_is_damaged_in_the_middle_is_read_up_to_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES[:30]))
    rows = [json.dumps({"text": s}) for s in SENTENCES[30:]] * 10
    (tmp_path / "b.jsonl").write_text("\n".join([*rows, "{"]))
    said: list[str] = []
    assert everything(tmp_path, say=said.append) == set(SENTENCES)
    assert said[-1].startswith("left out: the rest of 'b.jsonl' is damaged: line 421: no JSON")


def test_prose_of_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES))
    (tmp_path / "b.txt").write_bytes("Grüße aus Köln.".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"b\.txt' is not UTF-8 text"):
        load_corpus(tmp_path, seed=0)


def test_hidden_and_installed_files_are_no_text_of_a_folder(tmp_path: Path) -> None:
    root = tmp_path / ".texts"  # that one is asked for
    for folder in (".git/notes", "node_modules/left-pad", "more/deep"):
        (root / folder).mkdir(parents=True)
    (root / "more" / "deep" / "a.txt").write_text("\n".join(SENTENCES))
    for name in (".git/notes/b.txt", "node_modules/left-pad/README.md", "more/._a.txt"):
        (root / name).write_text("It is no text of the folder, is it?")
    assert everything(root) == set(SENTENCES)
    (root / "more" / "deep" / "a.txt").unlink()
    with pytest.raises(CorpusError, match=r"holds no text: .* beside what is hidden"):
        load_corpus(root, seed=0)


def test_the_column_is_the_obvious_one_or_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"id": "x1", "body": s, "title": f"On the {i}. day of it"} for i, s in enumerate(SENTENCES)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(CorpusError, match=r"columns of text: body, title\. .*--text-column"):
        load_corpus(path, seed=0)
    with pytest.raises(CorpusError, match="no column 'text'; its columns are: id, body, title"):
        load_corpus(path, seed=0, text_column="text")
    assert everything(path, text_column="body") == set(SENTENCES)
    corpus = load_corpus(path, seed=0, text_column="body", max_sentences=10)
    assert set(stream_text([path], corpus)) == set(SENTENCES) - set(corpus.heldout)
    path.write_text("\n".join(json.dumps({"id": row["id"], "body": row["body"]}) for row in rows))
    said: list[str] = []
    assert everything(path, say=said.append) == set(SENTENCES)
    assert said == ["text of 'a.jsonl': column 'body'"]
    path.write_text('{"id": 1, "number": 2}\n')
    with pytest.raises(CorpusError, match="no column of text; its columns are: id, number"):
        load_corpus(path, seed=0)


def test_a_column_is_for_text_that_has_some(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES))
    with pytest.raises(CorpusError, match="--text-column body: the corpus has no columns"):
        load_corpus(tmp_path / "a.txt", seed=0, text_column="body")
    with pytest.raises(UsageError, match="--text-column body names a column of --corpus"):
        Settings(text_column="body")


def test_rows_without_text_are_told_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text("\n".join([*lines, '{"id": 1}', '{"text": null}']))
    said: list[str] = []
    assert everything(path, say=said.append) == set(SENTENCES)
    assert said[1:] == ["2 rows of 'a.jsonl' hold no text"]
    for line, message in (
        ('{"text": 5}', "has text = 5 in row 73: no text"),
        ("[1]", "line 73: no object of named values"),
        ('{"text":', "line 73: no JSON"),
        ('{"text": ' + 5000 * "9" + "}", "line 73: no JSON: a number of 5,000 digits"),
        ('{"text": ' + 100_000 * "[", "nested too deeply in line 73"),
    ):
        path.write_text("\n".join([*lines, line]))
        with pytest.raises(CorpusError, match=message):
            load_corpus(path, seed=0)


def test_html_in_rows_is_not_prose(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "".join(f'"{s}<br /><br />{s[::-1]}"\n' for s in SENTENCES))
    found = everything(path)
    assert set(SENTENCES) < found
    assert not [s for s in found if "<" in s or "br" in s]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([f"{s}, and so on" for s in SENTENCES], r"72 of the first 72 rows have not the 1 values"),
        ([*["plain"] * 150, *["a,b"] * 3], r"2 of the first 152 rows .* line 153 is one"),
    ],
)
def test_tables_of_uneven_rows_are_refused(rows: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["text", *rows]))
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path / "a.csv", seed=0)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.jsonl", "JSON"), ("a.json", "JSON"), ("A.HTML", "HTML or XML")]
)
def test_what_is_named_as_prose_is_looked_at(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text(KINDS[name])
    with pytest.raises(CorpusError, match=rf"data\.txt' holds {kind}, not prose\. Name it"):
        load_corpus(tmp_path / "data.txt", seed=0)


class _Batch(list[dict[str, Any]]):
    """Rows whose texts are made when they are asked for."""

    @property
    def num_rows(self) -> int:
        return len(self)

    def slice(self, at: int, length: int) -> _Batch:
        return _Batch(self[at : at + length])

    def to_pylist(self) -> list[dict[str, Any]]:
        assert len(self) == 1, "a text that repeats would be held for each row"
        return list(self)


class _ParquetFile:
    """Stands for pyarrow's."""

    asked: ClassVar[list[int]] = []
    unpacked, packed = 10_000, 1000

    def __init__(self, file: Any) -> None:
        if file.read(4) != b"PAR1":
            raise ValueError("Parquet magic bytes not found")
        self.schema_arrow = SimpleNamespace(
            names=["id", "text", "url"], types=["int64", "string", "large_string"]
        )
        chunks = [
            SimpleNamespace(
                path_in_schema=name,
                total_uncompressed_size=self.unpacked,
                total_compressed_size=self.packed,
            )
            for name in self.schema_arrow.names
        ]
        group = SimpleNamespace(num_columns=3, column=chunks.__getitem__)
        self.metadata = SimpleNamespace(num_row_groups=1, row_group=[group].__getitem__)

    def iter_batches(self, batch_size: int, columns: list[str]) -> Iterator[_Batch]:
        self.asked.append(batch_size)
        rows = [{"id": i, "text": s, "url": "x"} for i, s in enumerate(SENTENCES)]
        for at in range(0, len(rows), 10):
            yield _Batch({name: row[name] for name in columns} for row in rows[at : at + 10])


@pytest.fixture
def parquet_library(monkeypatch: pytest.MonkeyPatch) -> type[_ParquetFile]:
    library, module = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
    library.parquet, module.ParquetFile = module, _ParquetFile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", library)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)
    monkeypatch.setattr(_ParquetFile, "asked", [])
    return _ParquetFile


def test_parquet_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r"needs the pyarrow library.*pip install 'nasc\[datas"):
        load_corpus(tmp_path / "a.parquet", seed=0)


@pytest.mark.usefixtures("parquet_library")
def test_parquet_is_read_by_its_library(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    assert everything(path) == everything(tmp_path) == set(SENTENCES)
    with pytest.raises(CorpusError, match=r"has id = 0 in row 1: no text"):
        load_corpus(path, seed=0, text_column="id")
    path.write_bytes(b"text")
    with pytest.raises(CorpusError, match="is damaged or no parquet file: Parquet magic bytes"):
        load_corpus(path, seed=0)


def test_large_texts_of_parquet_are_unpacked_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet_library: type[_ParquetFile]
) -> None:
    """Of a dictionary of one text of 50 MB, 1,024 rows take 50 GB."""
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    for unpacked, rows in ((10_000, 1024), (50 << 20, 5), (100 << 30, 1)):
        monkeypatch.setattr(parquet_library, "unpacked", unpacked)
        monkeypatch.setattr(parquet_library, "packed", unpacked)
        parquet_library.asked.clear()
        assert everything(path) == set(SENTENCES)
        assert parquet_library.asked[1] == rows
    monkeypatch.setattr(parquet_library, "packed", 1 << 20)
    with pytest.raises(CorpusError, match="unpacks to more than 200 times its size"):
        load_corpus(path, seed=0)


def test_parquet_of_pyarrow(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    pandas.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    assert everything(tmp_path / "a.parquet") == set(SENTENCES)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(CorpusError, match="is damaged or no parquet file"):
        load_corpus(tmp_path / "a.parquet", seed=0)


# ------------------------------------------------------------------ scripts


@pytest.mark.parametrize(
    "sentences",
    [
        ["राम आज बाज़ार जा रही है।", "सीता कल लौटी थी॥", "क्या यह सच है?", "हाँ।"],
        ["আমি ভাত খাই।", "তুমি কী করো?", "সে যায়।"],
        ["هذه جملة أولى.", "هل هذه ثانية؟", "نعم!", "هذه الأخيرة"],
        ["یہ پہلا جملہ ہے۔", "کیا یہ دوسرا ہے؟"],
        ["Սա առաջինն է։", "Սա երկրորդն է։"],
        ["ይህ የመጀመሪያው ነው።", "ይህ ሁለተኛው ነው፧"],
        ["នេះជាប្រយោគទីមួយ។", "នេះជាប្រយោគទីពីរ៕"],
        ["ဒါက ပထမ ဝါကျ။", "ဒါက ဒုတိယ ဝါကျ။"],
        ["안녕하세요.", "저는 학생입니다."],
        ["А. С. Пушкин жил на улице, т. е. там.", "Он был там.", "Он умер."],
        ["He met Ž. Petrović.", "π interactions are weak."],
    ],
)
def test_sentences_end_in_every_script(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


def test_sentences_end_without_spaces_where_the_script_has_none() -> None:
    assert split_sentences("他说：“今天很好。”真的！？是的｡ 对") == [
        "他说：“今天很好。”",
        "真的！？",
        "是的｡",
        "对",
    ]
    assert split_sentences("पहला वाक्य।दूसरा वाक्य।") == ["पहला वाक्य।", "दूसरा वाक्य।"]


def test_text_without_ends_is_cut_at_spaces() -> None:
    phrase = "ภาษาไทยไม่มีเครื่องหมายจบประโยค"
    found = split_sentences(" ".join([phrase] * 40))
    assert len(found) > 4
    assert max(map(len, found)) <= 160
    assert " ".join(found).split() == [phrase] * 40
    assert "".join(split_sentences("ก้" * 400)) == "ก้" * 400
    assert all(part.startswith("ก") for part in split_sentences("ก้" * 400))
    assert max(map(len, split_sentences("so it goes " * 1000))) <= 2000
    assert len(split_sentences("so it goes " * 100)) == 1


def test_marks_are_letters() -> None:
    assert usable("की की की की")
    assert usable("今天天气很好。")
    assert not usable("今天好。")
    assert not usable("1234567890 ab")
    assert not usable("Too short")
    assert sentence_key("राम की किताब") != sentence_key("राम के किताब")
    assert sentence_key("राम की किताब।") == sentence_key("राम की किताब")


def test_lines_of_hindi_are_a_corpus(tmp_path: Path) -> None:
    lines = [
        f"{a} {b} {c} है।"
        for a in ("राम", "सीता", "मोहन", "गीता", "श्याम")
        for b in ("हर दिन सुबह", "को नई किताबें", "ने एक लंबी चिट्ठी")
        for c in ("पढ़ना पसंद", "लिखी थी तो क्या")
    ]
    (tmp_path / "hi.txt").write_text("\n".join(lines))
    assert everything(tmp_path / "hi.txt") == set(lines)


# ------------------------------------------------------------------ linear time

UNITS = [
    ".",
    "!?",
    "a. ",
    "A.\t",
    "[",
    "](",
    "[a](",
    "[![",
    " ",
    "_",
    "a_",
    "`",
    "'",
    ".'",
    ". (",
    "<",
    "<a ",
    "<a b='",
    "<!",
    "<!--",
    "<script>",
    "<nav>",
    "</",
    "&#9",
    '="',
    "。",
    "ก",
]


def _paragraphs_of_all_kinds(text: str) -> Iterator[str]:
    yield text
    yield from without_markdown([text])
    yield from visible_text(text)
    yield from _paragraphs(text)
    yield from _paragraphs(f"<p>{text}")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", UNITS)
def test_text_of_one_thing_takes_linear_time(unit: str) -> None:
    """What takes the square of its length takes minutes."""
    text = "A. " + unit * (200_000 // len(unit)) + "a"
    for paragraph in _paragraphs_of_all_kinds(text):
        split_sentences(paragraph)


ENDS = [">", "'>", '">', "</nav>", "</script>", "-->", ")", "]", "\n", "=a"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", range(20))
def test_text_of_mixed_things_takes_linear_time(seed: int) -> None:
    """A few things again and again, and a run of each before the next."""
    rng = random.Random(seed)
    units = rng.sample([*UNITS, *ENDS], 4)
    mixed, runs = "".join(units), "".join(unit * 5000 for unit in units)
    for text in ("<p>A. " + mixed * (60_000 // len(mixed)), runs, mixed * 2000 + runs):
        for paragraph in _paragraphs_of_all_kinds(text):
            split_sentences(paragraph)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>One<p>two<br>and<br><br>three", ["One", "two and", "three"]),
        ("<nav>out<div>out</div></nav>One <i>word</i>.", ["One word."]),
        ("One<nav>two<p>three<footer>four", ["One", "two", "three", "four"]),
        ("<nav><nav>out</nav>out</nav>in", ["in"]),
        ("<a title='a > b' href=\"<p>\">One</a> <!-- > -- > -->two", ["One two"]),
        ("<SCRIPT>if (a </ b) '<p>'</ScRiPt >One<style>p", ["One", "p"]),
        ("1 < 2 and 3 > 2 &lt;b&gt; <3", ["1 < 2 and 3 > 2 <b> <3"]),
        ("<a title=don't>One</a> two don't", ["One two don't"]),
        ("One <b", ["One <b"]),
        ("One <!-- no end", ["One no end"]),
        (
            "Wrap it in a <div> and add a <script> tag. Then <b>go</b> on.",
            ["Wrap it in a", "and add a", "tag. Then go on."],
        ),
        ("<p>One<br/>if a <b then two", ["One if a <b then two"]),
        ("<a title='>'>One</a> <i x=\"> two <b>three</b> \"", ['One two three "']),
        ("<nav><!-- a --><script>b</script>One<!-- <script>two", ["One", "two"]),
        ("One </3 two", ["One </3 two"]),
        ("One <!two <b>three</b>", ["One three"]),
        ("<textarea>One<title>two</title>three", ["One", "three"]),
        ("<!--><p>One</p><!--->two", ["One", "two"]),
        ("<td>1</td><td>2</td>", ["1", "2"]),
        ("<pre>x = 1</pre><code>x</code> is one", ["x is one"]),
    ],
)
def test_pages_give_what_is_seen(page: str, expected: list[str]) -> None:
    assert list(visible_text(page)) == expected


def test_character_references_of_any_length() -> None:
    digits = f"&#{5000 * '9'};"
    assert list(visible_text(f"One {digits} two &amp; three")) == ["One two & three"]
    assert list(without_markdown([f"One {digits} two &amp; three"])) == ["One  two & three"]


# ------------------------------------------------------------------ bounds


def test_a_line_without_end_is_refused_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(records, "MAX_ROW", 1 << 16)
    prose = "\n".join(SENTENCES).encode() + b"\n"
    for name in ("a.txt", "a.md", "a.txt.gz"):
        content = prose + b"a" * (4 << 20)
        packed = gzip.compress(content, 1) if name.endswith(".gz") else content
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(CorpusError, match="line 73 holds more than 1,048,576 bytes"):
            load_corpus(tmp_path / name, seed=0)
    for table, message in (
        (
            b'text\n"so\n' + b"it goes\n" * 10_000,
            r"the row that line 8,\d+ belongs to has more than 65",
        ),
        (b"text\n" + b'"so\n",' * 20_000, r"the row that line 10,\d+ belongs to has more than 65"),
    ):
        (tmp_path / "a.csv").write_bytes(table)
        with pytest.raises(CorpusError, match=message):
            load_corpus(tmp_path / "a.csv", seed=0)


@pytest.mark.slow
def test_rows_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty rows of 0.7 MB in memory, and forty of 0.3 MB."""
    row = json.dumps({"text": SENTENCES[0], "more": [{}] * 10_000})
    (tmp_path / "a.jsonl").write_text("\n".join([row] * 20))
    line = SENTENCES[0] + "\t" + "é" * 350_000 + "\n"
    (tmp_path / "a.tsv").write_text("text\tmore\n" + line * 40)
    monkeypatch.setattr(streams, "_BLOCK", 1 << 16)
    for name in ("a.jsonl", "a.tsv"):
        tracemalloc.start()
        for _ in read_all([tmp_path / name], Reading("text")):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6, name


def test_rows_of_a_data_set_are_held_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal taken
        for taken in range(1, 201):
            yield {"text": f"It is said that {taken} of them " + "a" * (1 << 20)}

    library = SimpleNamespace(load_dataset=lambda *about, **options: rows())
    monkeypatch.setitem(sys.modules, "datasets", library)
    found = read_all(["datasets:some/set"], Reading())
    assert next(found).startswith("It is said that 1 of them")
    assert taken == 4


WIDE = {
    "a.csv": ",".join(["text"] + ["a"] * 20) + "\n",
    "a.tsv": "\t".join(["text"] + ["a"] * 20) + "\n",
    "a.jsonl": json.dumps({f"text {i}": "a" for i in range(21)}),
}


@pytest.mark.parametrize("name", WIDE)
def test_tables_are_not_endlessly_wide(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_COLUMNS", 20)
    (tmp_path / name).write_text(WIDE[name])
    with pytest.raises(CorpusError, match="has 21 values in line 1: at most 20 are read"):
        load_corpus(tmp_path / name, seed=0)


def test_lines_of_json_are_bounded_in_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ITEMS", 100)
    row = json.dumps({"text": "Of a list: a, b and c" + 99 * ", and so on", "more": [{}] * 60})
    for name, hint in (("a.jsonl", "in line 1"), ("a.json", r"\(\.jsonl\) it may be of any size")):
        (tmp_path / name).write_text(f"[{row}]" if name == "a.json" else row)
        with pytest.raises(CorpusError, match=f"more than 100 lists, objects and commas.* {hint}"):
            load_corpus(tmp_path / name, seed=0)
    monkeypatch.setattr(reading, "MAX_ITEMS", 200)
    (tmp_path / "a.jsonl").write_text("\n".join([row, *map(json.dumps, ROWS)]))
    assert everything(tmp_path / "a.jsonl") > set(SENTENCES)


def test_a_text_of_a_row_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROW", 500)
    (tmp_path / "a.json").write_text(json.dumps([*ROWS, {"text": "word " * 200}]))
    with pytest.raises(CorpusError, match="has a text of 1,000 characters in row 73, at most 500"):
        load_corpus(tmp_path / "a.json", seed=0)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RATIO_FROM", 1 << 18)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"The same again and again.\n" * 20_000))
    with pytest.raises(CorpusError, match="unpacks to more than 200 times its size"):
        load_corpus(path, seed=0)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(SENTENCES * 40) + "\n")
    os.truncate(path, 10 << 30)
    with pytest.raises(CorpusError, match="line 2,881 holds more than 33,554,432 bytes"):
        load_corpus(path, seed=0)


@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(CorpusError, match=r"pipe\.txt' is no file but a pipe"):
        load_corpus(tmp_path / "pipe.txt", seed=0)
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with pytest.raises(CorpusError, match=r"zero\.jsonl' is no file but a device"):
        load_corpus(tmp_path / "zero.jsonl", seed=0)
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES))
    assert everything(tmp_path) == set(SENTENCES)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    for name in ("itself", "a\0b", "a" * 5000):
        with pytest.raises(CorpusError, match=r"no corpus at|cannot be read: File name too long"):
            load_corpus(str(tmp_path / name), seed=0)


def test_long_paragraphs_are_not_joined_without_end() -> None:
    line = "x" * 1000
    assert max(map(len, _unwrap([line] * 5000))) < 1_100_000
    assert "".join(_unwrap([line] * 5000)).count("x") == 5_000_000


# ------------------------------------------------------------------ characters


def test_half_characters_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    bad = '{"text": "A half \\ud83d of a character it is."}'
    good = '{"text": "A whole \\ud83d\\udc4d character it is."}'
    path.write_text("\n".join([lines[0], bad, good, bad, *lines[1:]]))
    said: list[str] = []
    assert everything(path, say=said.append) == {*SENTENCES, "A whole 👍 character it is."}
    assert said[1:] == [
        "2 paragraphs of 'a.jsonl' were left out: lone surrogates or NUL characters; "
        "the first ends in line 2"
    ]
    with pytest.raises(CorpusError, match=r"test: 'half \\ud83d' holds a lone surrogate"):
        corpus_from_sentences([*SENTENCES, "half \ud83d"], description="test", seed=0)


def test_nul_characters_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(SENTENCES * 40) + "\nOne more with a \0 in it.\n")
    said: list[str] = []
    assert everything(path, say=said.append) == set(SENTENCES)
    assert said == [
        "1 paragraphs of 'a.txt' were left out: lone surrogates or NUL characters; "
        "the first ends in line 2,881"
    ]


def test_places_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of prose, also of a wrapped paragraph; a row; a paragraph of a page."""
    line = "It goes on for a line of some seventy characters, and then to the next"
    monkeypatch.setattr(streams, "_HEAD", 16)  # where NUL refuses the whole file
    wrapped = "\n".join([line, line, line, ""] * 8)
    page = "".join(f"<p>{s}" for s in SENTENCES)
    for name, content, place in (
        ("wrapped.txt", f"{wrapped}\n{line}\n\0{line}\n\n{wrapped}", "line 34"),
        ("a.md", "# Title\n\n" + "\n\n".join([*SENTENCES, "A \0 b"]), "line 147"),
        (
            "a.csv",
            'text\n"One\ntwo"\n"A \0 b"\n' + "\n".join(f'"{s}"' for s in SENTENCES),
            "line 4",
        ),
        ("a.json", json.dumps([*ROWS, {"text": "A \ud83d b"}]), "row 73"),
        ("a.html", f"<html>{page}<p>A \0 b", "paragraph 73"),
    ):
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        said: list[str] = []
        assert list(read_all([path], Reading(say=said.append)))
        assert said[-1].endswith(f"the first ends in {place}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Grüße aus Köln\n".encode("latin-1"), r"byte 0xfc in line 2\).* iconv -f LATIN1"),
        ("Grüße aus Köln\n".encode("utf-16"), "is in UTF-16"),
        (b"\x1f\x8b\x00", "is binary"),
    ],
)
def test_bytes_that_are_no_text(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"It begins well.\n" + content)
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path / "a.txt", seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Grüße\n".encode("utf-16"), r"is in UTF-16, .*: iconv -f UTF-16 -t UTF-8 'a b\.csv'"),
        ("Grüße\n".encode("utf-16-le"), "iconv -f UTF-16LE"),
        ("Grüße\n".encode("utf-16-be"), "iconv -f UTF-16BE"),
        ("Grüße\n".encode("utf-32"), "iconv -f UTF-32"),
        (b"%PDF-1.7\n", "is a PDF, not text"),
        (b"PK\x03\x04\0\0", "is a zip archive"),
        (b"\xfd7zXZ\0", "is packed by xz: unpack it"),
    ],
)
def test_text_in_another_form_has_a_hint(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        load_corpus(path, seed=0)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(CorpusError, match=message.replace("-t UTF-8 'a b", "-t UTF-8 'a b")):
        load_corpus(path, seed=0)


def test_the_lines_are_those_of_python(tmp_path: Path) -> None:
    content = "\ufeffone\r\ntwo\rthree\n\nfour\u2028five\x0bsix\nend"
    (tmp_path / "a.txt").write_bytes(content.encode())
    with open(tmp_path / "a.txt", encoding="utf-8-sig") as file:
        assert list(streams.lines(tmp_path / "a.txt")) == list(file)
    with open(tmp_path / "a.txt", encoding="utf-8-sig", newline="") as file:
        assert list(streams.lines(tmp_path / "a.txt", newline="")) == list(file)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_lines_do_not_depend_on_blocks(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "one\r\ntwo\rthrée\r\r\n\n\nfour\r"
    (tmp_path / "a.txt").write_bytes(content.encode())
    monkeypatch.setattr(streams, "_BLOCK", size)
    assert list(streams.lines(tmp_path / "a.txt", newline="")) == content.splitlines(True)


def test_fields_of_a_table_may_be_long(tmp_path: Path) -> None:
    long = "so it goes on and on " * 10_000
    rows = [f'"{s}"' for s in SENTENCES]
    (tmp_path / "a.csv").write_text("\n".join(["text", f'"{long}"', *rows]))
    assert set(SENTENCES) < everything(tmp_path / "a.csv")


def test_names_that_are_not_in_utf8_are_described(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.csv")
    with open(path, "w") as file:
        file.write("text\n" + "\n".join(f'"{s}"' for s in SENTENCES))
    said: list[str] = []
    corpus = load_corpus(path, seed=0, say=said.append)
    assert corpus.description == r"caf\udce9\n.csv"
    assert said == [r"text of 'caf\udce9\n.csv': column 'text'"]


@pytest.mark.parametrize(
    "source",
    ["a b", "../x", "a/b/c", "-x", "a\0b", "a" * 5000, "a..b", "é", "a:b/c", "a:b:c", "/no/folder"],
)
def test_ids_that_are_none_are_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*about: object, **options: object) -> None:
        raise AssertionError("it is not asked for")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(CorpusError, match=r"is no id of a data set|names no configuration"):
        load_corpus(f"datasets:{source}", seed=0)


def test_a_data_set_in_the_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load_dataset(name: str, *about: object, **options: object) -> Iterator[dict[str, str]]:
        asked.append(name)
        return iter([{"text": s} for s in SENTENCES])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert everything("datasets:~/data") == set(SENTENCES)
    assert [*dataset_rows("datasets:~/data::train", "data")] == [{"text": s} for s in SENTENCES]
    assert asked == [str(tmp_path / "data")] * 2
    with pytest.raises(CorpusError, match="'datasets:~/other' is no id of a data set"):
        load_corpus("datasets:~/other", seed=0)


def test_columns_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"title": f"On the {i}. day of it", "body": s} for i, s in enumerate(SENTENCES)]
    library = SimpleNamespace(load_dataset=lambda *about, **options: iter(rows))
    monkeypatch.setitem(sys.modules, "datasets", library)
    with pytest.raises(CorpusError, match=r"several columns of text: title, body"):
        load_corpus("datasets:some/set", seed=0)
    assert everything("datasets:some/set", text_column="body") == set(SENTENCES)


def test_a_list_that_is_too_large_has_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_LIST", 1000)
    (tmp_path / "a.json").write_text(KINDS["a.json"])
    with pytest.raises(CorpusError, match=r"more than the 1,000 bytes .*\(\.jsonl\) it may be of"):
        load_corpus(tmp_path / "a.json", seed=0)


@pytest.mark.parametrize("command", [["train", "--steps", "1"], ["compile", "--latency-ms", "9"]])
def test_a_column_without_a_corpus_is_a_mistake(command: list[str], tmp_path: Path) -> None:
    options = ["--text-column", "body", "--output", str(tmp_path / "out")]
    found = CliRunner().invoke(main, [*command, *options])
    assert found.exit_code == 2
    assert "--text-column body names a column of --corpus: give one" in found.output


_PIECES = [
    *(b"<", b">", b'"', b"'", b"\0", b"\xff", b"{", b"[", b"]", b"}", b",", b";", b"\n", b"\r"),
    *(b"\\ud83d", b"null", b"NaN", b"1e999", 5000 * b"9", 3000 * b"[", b"<!--", b"<script>"),
    *(b"&#99999999999;", b"---\n", b"```\n", b"\t", b"true", b"-1", "।".encode(), b"\x1f\x8b"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", KINDS)
def test_changed_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """Twenty changes to a file of each kind; what is read can be written in UTF-8."""
    rng = random.Random(name)
    for _ in range(20):
        content = bytearray(KINDS[name].encode())
        for _ in range(rng.choice([1, 2, 5])):
            at = rng.randrange(len(content))
            content[at : at + rng.choice([0, 1, 20])] = rng.choice(_PIECES)
        packed = rng.random() < 0.2
        path = tmp_path / f"{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
        with contextlib.suppress(CorpusError):
            for sentence in everything(path):
                sentence.encode()
