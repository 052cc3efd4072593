"""Golden vectors of a tokenizer: texts and what Hugging Face's tokenizers makes of them.

Every package can ship them, and every port of the tokenizer is tested with them; the format is in
docs/tokenizers.md.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import Tokenizer

FILE = "tokenizer_golden.jsonl"

FORMAT = "nasc-tokenizer-golden"

VERSION = 1

COUNT = 2_400
"""Texts and pairs, of all classes; shorter and longer than what a model reads at once."""

_LONG = 20_000
"""Characters of the longest texts."""

_SCRIPTS = (
    (0x20, 0x7F),  # ASCII
    (0xA0, 0x250),  # Latin with accents
    (0x300, 0x370),  # combining marks
    (0x370, 0x530),  # Greek, Cyrillic
    (0x590, 0x700),  # Hebrew, Arabic
    (0x900, 0xE00),  # scripts of India, with vowel signs
    (0xE00, 0x1000),  # Thai, Lao, Tibetan
    (0x1100, 0x1200),  # Hangul by letters
    (0x1E00, 0x2000),  # Latin and Greek with accents
    (0x2000, 0x2C00),  # punctuation, signs
    (0x3000, 0x3400),  # CJK punctuation, kana
    (0x4E00, 0xA000),  # CJK
    (0xAC00, 0xD7A4),  # Hangul by syllables
    (0xF900, 0xFB00),  # CJK compatibility
    (0xFB00, 0xFFFE),  # forms of presentation, of width
    (0x1D100, 0x1D800),  # musical and mathematical signs
    (0x1F000, 0x1FB00),  # emoji
    (0x20000, 0x2FA20),  # CJK above U+20000
    (0xE0000, 0xE01F0),  # tags and variation selectors
    (0xF0000, 0x110000),  # of private use
)

_SPACES = " \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2009\u2028\u2029\u202f\u205f\u3000"

_CONTROLS = "\0\x01\x1b\x7f\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\ufffe\ufff9"

_WORDS = (
    "the of and to in is was for it with as his on be at by had not are but from or have an they "
    "which one you were all her she there would their we him been has when who will no more if "
    "tokenization unaffable antidisestablishmentarianism don't I'll we've they're 'tis O'Neill "
    "3.14159 1,000,000 x86-64 e-mail me@example.org https://example.org/a_b?c=d#e C++ $5.00 50%"
).split()

_SAMPLES = (
    "",
    " ",
    "\0",
    "a",
    "Hello, world!",
    "Résumé, naïve COOPÉRATION: ÅNGSTRÖM, Ǆ, ﬁnance, İstanbul, Straße, ΣΊΣΥΦΟΣ.",
    "Re\u0301sume\u0301 nai\u0308ve a\u0323\u0302\u0301 a\u0301\u0302\u0323 \u0301 \u1e9b\u0323",
    "Привет, мир! Ёлка й и\u0306 今天天气很好。東京は晴れです ｶﾞ が か\u3099",
    "오늘 \u1112\u1161\u11ab नमस्ते क़ مرحبا",
    "\U00020000\U0002a6d6 \U0002f800\U0002ceb0 \U00030000",
    "☃ 👩‍👩‍👧 🇩🇪🇫🇷 👍🏽 ©\u200d© ❤\ufe0f \U0001d54f ½ ㎏ ① … — „quoted“ «so» ™\u301c\uff5e",
    "  many   spaces\u00a0\u3000here\u200b \ufeff\u0007 \n\n end  ",
    "can't we'll they've I'm he'd you're it's 'S ' 's''s",
    "_" * 50 + " " * 50 + "-" * 50,
)


@dataclass(frozen=True, slots=True)
class GoldenText:
    """What is tokenized.

    Attributes:
        text: Without surrogates, which UTF-8 has not.
        pair: The second text, or None.
        max_length: Tokens that the result is cut to; None where the tokenizer's own limit holds.
    """

    text: str
    pair: str | None = None
    max_length: int | None = None


def golden_texts(
    tokens: Sequence[str] = (), special: Sequence[str] = (), count: int = COUNT, seed: int = 0
) -> list[GoldenText]:
    """Texts of all classes: scripts, accents, marks, controls, long ones, special tokens, pairs.

    Args:
        tokens: Of a vocabulary, for texts made of them.
        special: Added tokens, which stand in texts as they are written and otherwise.
        count: How many; the first are the same for any count.
        seed: Of what is random.
    """
    rng = random.Random(seed)
    tokens = sorted(tokens)
    special = [*sorted(special), "[MASK]", "<mask>", "[CLS]", "</s>"]
    samples = [*_SAMPLES, *special, *(f"a {one} b{one}c  {one.upper()}." for one in special)]
    texts = [GoldenText(text) for text in samples]
    texts += [GoldenText(text, other) for text, other in itertools.pairwise(samples)]
    for length in (99, 100, 101, 511, 513, 2_000, _LONG):
        texts.append(GoldenText("x" * length))
        texts.append(GoldenText("".join(f"{word} " for word in rng.choices(_WORDS, k=length // 5))))
        texts.append(GoldenText("中" * length, "e\u0301" * length))
        texts.append(GoldenText("a" + "\u0301\u0323" * (length // 2)))
    while len(texts) < count:
        first = _random_text(rng, tokens, special)
        pair = _random_text(rng, tokens, special) if rng.random() < 0.2 else None
        limit = rng.randrange(5, 40) if rng.random() < 0.2 else None
        texts.append(GoldenText(first, pair, limit))
    return texts[:count]


def _random_text(rng: random.Random, tokens: Sequence[str], special: Sequence[str]) -> str:
    """A text of up to five kinds of pieces, which meet without spaces as well."""
    scripts = rng.sample(_SCRIPTS, 2)
    makers: list[Callable[[], str]] = [
        lambda: " ",
        lambda: rng.choice(_WORDS),
        lambda: chr(rng.randrange(*scripts[0])),
        lambda: "".join(chr(rng.randrange(*scripts[1])) for _ in range(rng.randrange(1, 6))),
        lambda: rng.choice(_SPACES),
        lambda: rng.choice(_CONTROLS),
        lambda: rng.choice(special),
        lambda: rng.choice("\u0301\u0323\u0308\u3099\u094d\u1161"),
        lambda: rng.choice(tokens) if tokens else "",
        lambda: rng.choice(tokens).upper() if tokens else "",
    ]
    chosen = [makers[0], *rng.sample(makers, rng.randrange(1, 5))]
    pieces = [rng.choice(chosen)() for _ in range(rng.choice((1, 2, 4, 8, 16, 32, 120)))]
    text = "".join(pieces)
    return "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)


def golden_lines(tokenizer: Tokenizer, count: int = COUNT, seed: int = 0) -> Iterator[str]:
    """The lines of the file: a header, then a text each with its tokens and types.

    Args:
        tokenizer: As it was read from the tokenizer.json that is shipped, without padding. A copy
            by way of its JSON is another one: numbers that tokenizers reads may be off by the last
            bit, so that of two ways through Unigram of the same score another one wins.
        count: Texts and pairs.
        seed: Of what is random; the same texts come of the same tokenizer and seed.
    """
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    vocabulary = sorted(
        tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1]
    )
    words = [word.removeprefix("##") for word, _ in vocabulary]
    texts = golden_texts(words, sorted(added), count, seed)
    truncation = tokenizer.truncation
    header = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizers": tokenizers.__version__,
        "max_length": truncation["max_length"] if truncation else None,
        "count": len(texts),
    }
    yield json.dumps(header) + "\n"
    for text in texts:
        ids, types = tokens_of(tokenizer, text)
        line: dict[str, object] = {"text": text.text}
        if text.pair is not None:
            line["pair"] = text.pair
        if text.max_length is not None:
            line["max_length"] = text.max_length
        yield json.dumps(line | {"ids": ids, "type_ids": types}) + "\n"


def tokens_of(tokenizer: Tokenizer, text: GoldenText) -> tuple[list[int], list[int]]:
    """The tokens and types of a text, cut to its own length where it names one."""
    truncation = tokenizer.truncation
    if text.max_length is not None:
        tokenizer.enable_truncation(**{**(truncation or {}), "max_length": text.max_length})
    try:
        encoding = tokenizer.encode(text.text, text.pair)
    finally:
        if truncation:
            tokenizer.enable_truncation(**truncation)
        else:
            tokenizer.no_truncation()
    return encoding.ids, encoding.type_ids
