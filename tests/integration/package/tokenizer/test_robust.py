"""What is refused, and that nothing that a file or a text holds makes the port crash."""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import makers
import pytest
from port import CAPACITY, NO_PAIR, NO_ROOM, Port, of_points, random_texts
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from nasc.errors import PackageError
from nasc.package import tokenizer_layout as layout
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_charsmap import read_charsmap
from nasc.package.tokenizer_golden import GoldenText

MakePort = Callable[..., Port]

FAMILIES = [makers.word_piece, makers.unigram, makers.byte_pairs]


def run(command: list[str], *arguments: object) -> str:
    """What the driver prints; a finding of the sanitizers ends it with another status than 0."""
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()[:3000]
    assert not done.stderr
    return done.stdout.decode()


@pytest.fixture(scope="module", params=range(3), ids=["wordpiece", "unigram", "bpe"])
def made(request: pytest.FixtureRequest) -> Tokenizer:
    return FAMILIES[request.param]()


@pytest.fixture(scope="module")
def file(made: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "tokenizer.bin"
    path.write_bytes(compile_tokenizer(made))
    return path


def test_damaged_files(sanitized: list[str], file: Path) -> None:
    """With a checksum that holds, so that every other check is reached."""
    opened = int(run([*sanitized, "damage", str(file)], 1, 150).split()[0])
    assert 0 < opened < 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 4))
def test_many_damaged_files(sanitized: list[str], file: Path, seed: int) -> None:
    run([*sanitized, "damage", str(file)], seed, 1500)


def test_damaged_files_in_javascript(javascript_driver: list[str], file: Path) -> None:
    """Every failure is an error of its own kind, and every call ends."""
    opened = int(run([*javascript_driver, "damage", str(file)], 1, 100))
    assert 0 < opened < 100


@pytest.mark.slow
def test_damaged_files_in_kotlin(kotlin_driver: list[str], file: Path) -> None:
    opened = int(run([*kotlin_driver, "damage", str(file)], 1, 100))
    assert 0 < opened < 100


@pytest.mark.slow
@pytest.mark.parametrize(("port", "size"), [("javascript", 3_000_000), ("kotlin", 500_000)])
def test_megabytes_in_one_call_in(
    port: str, size: int, request: pytest.FixtureRequest, file: Path
) -> None:
    driver = request.getfixturevalue(f"{port}_driver")
    counts = run([*driver, "long", str(file)], size).split()
    assert len(counts) == 10
    assert min(map(int, counts)) >= 2


def test_any_bytes(sanitized: list[str], file: Path) -> None:
    refused = int(run([*sanitized, "bytes", str(file)], 1, 5000).split()[0])
    assert 2000 < refused < 5000


def test_under_sanitizers(make_port: MakePort, sanitized: list[str], made: Tokenizer) -> None:
    port = make_port(made, sanitized)
    assert not port.differing(random_texts(made, 500, seed=13))
    assert not port.differing(of_points("a?", 512)[:40])


@pytest.mark.slow
def test_megabytes_in_one_call(driver: list[str], sanitized: list[str], file: Path) -> None:
    for program, size in ((driver, 3_000_000), (sanitized, 100_000)):
        lines = run([*program, "long", str(file)], size).splitlines()
        assert len(lines) == 10
        assert not [line for line in lines if int(line.split()[-2]) < 2]


def test_a_file_that_was_altered_or_cut(driver: list[str], file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    other = tmp_path / "other.bin"
    version = data[:8] + struct.pack("<I", layout.VERSION + 1) + data[12:]
    for changed, problem in (
        (data[:-1], "damaged"),
        (data + b"\0", "damaged"),
        (data[:10], "damaged"),
        (b"", "damaged"),
        (data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], "damaged"),
        (version, "another version"),
    ):
        other.write_bytes(changed)
        done = subprocess.run([*driver, "encode", other], capture_output=True, check=False)
        assert problem in done.stdout.decode()


def test_errors(make_port: MakePort, made: Tokenizer) -> None:
    port = make_port(made)
    text = GoldenText("a b c d e f g h")
    assert port.encode([text], capacity=5) == [CAPACITY]
    assert port.encode([GoldenText("a", "b " * 20)], capacity=9) == [CAPACITY]
    assert port.encode([GoldenText("a", None, 1)]) == [NO_ROOM]
    assert port.encode([GoldenText("a", None, 2)])[0][0] == made.encode("").ids
    made.enable_truncation(6, strategy="only_second")
    wrong = [text, GoldenText("a b c d e f", "b")]
    assert make_port(made).encode(wrong) == [NO_PAIR, NO_ROOM]
    pair = GoldenText("a", "b " * 20, 8)
    assert not make_port(made).differing([pair])
    made.enable_truncation(6, strategy="only_first")
    assert not make_port(made).differing([text, GoldenText("b " * 20, "a", 8)])
    made.no_truncation()


def changed(**parts: Any) -> Tokenizer:
    made = makers.word_piece()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def padded() -> Tokenizer:
    made = makers.word_piece()
    made.enable_padding()
    return made


def strided() -> Tokenizer:
    made = makers.word_piece()
    made.enable_truncation(20, stride=3)
    return made


def with_mark() -> Tokenizer:
    made = makers.word_piece()
    made.add_tokens(["\u0301"])
    return made


BYTE_LEVEL = pre_tokenizers.ByteLevel()

REFUSED = {
    r"padding = .* null": padded,
    r"truncation\.stride = 3": strided,
    r"added_tokens = '\u0301'": with_mark,
    r"normalizer\.type = 'Prepend'": lambda: changed(normalizer=normalizers.Prepend("x")),
    r"normalizer\.normalizers\[0\]\.pattern = .*ab": lambda: changed(
        normalizer=normalizers.Sequence([normalizers.Replace("ab", "c")])
    ),
    r"normalizer\.pattern = .*Regex": lambda: changed(
        normalizer=normalizers.Replace(Regex("a+"), "c")
    ),
    r"pre_tokenizer\.type = 'Digits'": lambda: changed(pre_tokenizer=pre_tokenizers.Digits()),
    r"prepend_scheme = 'first'": lambda: changed(
        pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")
    ),
    r"post_processor\.pair": lambda: changed(
        post_processor=processors.TemplateProcessing("$A", "$A $B $A", [])
    ),
    r"model\.type = 'WordLevel'": lambda: Tokenizer(models.WordLevel({"a": 0}, "a")),
    r"model\.unk_token = 'no'": lambda: Tokenizer(models.WordPiece({"a": 0}, unk_token="no")),
    r"max_input_chars_per_word = 1001": lambda: Tokenizer(
        models.WordPiece({"a": 0}, unk_token="a", max_input_chars_per_word=1001)
    ),
    r"model\.unk_id": lambda: Tokenizer(models.Unigram([("a", 0.0)])),
    r"model\.byte_fallback": lambda: Tokenizer(models.Unigram([("a", 0.0)], 0, byte_fallback=True)),
    r"pre_tokenizer = 'no ByteLevel'": lambda: Tokenizer(models.BPE({"a": 0}, [])),
    r"model\.ignore_merges": lambda: changed(
        model=models.BPE({"a": 0}, [], ignore_merges=True), pre_tokenizer=BYTE_LEVEL
    ),
    r"model\.end_of_word_suffix": lambda: changed(
        model=models.BPE({"a": 0}, [], end_of_word_suffix="</w>"), pre_tokenizer=BYTE_LEVEL
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_ported_is_refused_by_name(message: str) -> None:
    with pytest.raises(PackageError, match=message):
        compile_tokenizer(REFUSED[message]())


@pytest.mark.parametrize("encoded", ["%", "AAA=", "////fw==", "BAAAAAAAAAA="])
def test_damaged_tables_of_sentencepiece(encoded: str) -> None:
    if encoded == "BAAAAAAAAAA=":
        assert read_charsmap(encoded) == {}
        return
    with pytest.raises(PackageError, match="precompiled_charsmap"):
        read_charsmap(encoded)


def test_trees_hold_their_keys() -> None:
    keys = {b"a": 3, b"ab": 4, b"b\xff": 5, b"\0": 6, b"abc": 7, b"": 9}
    data = layout.trie(keys)
    count = struct.unpack_from("<I", data)[0]
    first = struct.unpack_from(f"<{count + 1}I", data, 4)
    value = struct.unpack_from(f"<{count}I", data, 8 + 4 * count)
    label = data[8 + 8 * count :]
    assert len(label) == count == 7
    for key, number in keys.items():
        node = 0
        for byte in key:
            node = next(i for i in range(first[node], first[node + 1]) if label[i] == byte)
        assert value[node] == (number if key else layout.NONE)
        assert layout.node_of(keys, key) == node
    assert layout.node_of(keys, b"c") == layout.NONE
