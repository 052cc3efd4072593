"""The tokenizer of a teacher: as transformers reads it, where that is what its file says.

Version 5 of transformers rebuilds some tokenizers (BertTokenizer, RobertaTokenizer) from the
vocabulary and tokenizer_config.json, whatever pre-tokenizer or normaliser tokenizer.json has;
version 4, and every reader of tokenizer.json alone, take the file. Where the two differ, one of
them is wrong, and the teacher is refused.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from nasc.errors import TeacherDamaged, TeacherMissing, UnsupportedFamily
from nasc.teacher.config import ROBERTAS
from nasc.teacher.encoder import TeacherGeometry
from nasc.teacher.files import TeacherFiles, json_text, reason, text_or_null
from nasc.teacher.modules import SentenceModules

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"

_ASCII = [chr(code) for code in range(33, 127)]

PROBES = (
    "A small dog ran!",
    "Résumé, naïve COOPÉRATION: ÅNGSTRÖM, Ǆ, ﬁnance, İstanbul, Straße.",
    "In 1984, 3.14159 and 10,000 of 2,345,678; A4 B2B x86-64 3rd ①Ⅳ٣",
    "e-mail: someone@example.org (see https://example.org/a_b?c=d#e) 'tis don't C++ $5.00 50%",
    "Привет, мир! 今天天气很好。東京は晴れです 오늘 नमस्ते مرحبا",
    "tabs\tand\nlines\r\nand  many   spaces\u00a0here\u200b \ufeff\u0007",
    "[CLS] a [SEP] b [MASK] c [PAD] d [UNK] <s> e </s> f <mask> g <pad> h <unk>",
    "☃ 👩‍👩‍👧 \U0001d54f ½ … — „quoted“ «so» Antidisestablishmentarianism " + "x" * 120,
    " ".join(_ASCII) + " a" + "a".join(_ASCII),
    "",
)
"""Texts on which two tokenizers must agree: cases, accents, digits, scripts, literal special
tokens, spaces and signs, all of ASCII's alone and within a word."""

_READ = (
    FILE,
    SETTINGS,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
"""JSON files that transformers reads for a tokenizer of the families."""

_TEXTS = ("vocab.txt", "merges.txt")

_SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "model_max_length": {"type": ["number", "null"], "minimum": 1},
        "max_len": {"type": ["number", "null"], "minimum": 1},
        "tokenizer_class": text_or_null(),
        "do_lower_case": {"type": "boolean"},
        "strip_accents": {"type": ["boolean", "null"]},
        "tokenize_chinese_chars": {"type": "boolean"},
        "padding_side": {"type": "string"},
        "truncation_side": {"type": "string"},
        "split_special_tokens": {"type": "boolean"},
        "processor_class": text_or_null(),
        "auto_map": {"type": ["object", "array", "null"]},
        "model_input_names": {"type": "array", "items": {"type": "string"}},
        "fast_tokenizer_files": {"type": ["array", "null"]},
        "added_tokens_decoder": {"type": "object", "additionalProperties": {"type": "object"}},
    },
}

_SETTINGS_SUPPORTED = {
    "padding_side": ("right",),
    "truncation_side": ("right",),
    "split_special_tokens": (False,),
    "processor_class": (None,),
    "auto_map": (None, {}, []),
    "fast_tokenizer_files": (None, [], [FILE]),
}

_IDS = {"type": "integer", "minimum": 0}

_FILE_SCHEMA = {
    "type": "object",
    "required": ["model"],
    "properties": {
        "model": {
            "type": "object",
            "properties": {"vocab": {"type": ["object", "array"]}, "type": {"type": "string"}},
        },
        "added_tokens": {
            "type": ["array", "null"],
            "items": {"type": "object", "required": ["id"], "properties": {"id": _IDS}},
        },
        "truncation": {"type": ["object", "null"]},
        "padding": {"type": ["object", "null"]},
    },
}

_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "added_tokens", "model")
"""Of a tokenizer, all that its tokens depend on."""

_LONGEST = 1_000
"""Characters of a text out of a tokenizer's settings that is tried; tables of characters, which are
no texts, have more."""

_Result = TypeVar("_Result")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars or load reports: what matters of them is checked here."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(modules: SentenceModules, geometry: TeacherGeometry) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, without truncation or padding of its own.

    `model_max_length` is left as the files give it: see `max_length`.

    Raises:
        TeacherMissing: If there is none.
        TeacherDamaged: If it cannot be read, or has more tokens than the embedding has rows.
        UnsupportedFamily: If it gives other tokens than tokenizer.json or the network expects.
    """
    files = modules.transformer
    content = _checked_content(files, geometry, modules.declared)
    tokenizer = guarded(lambda: _from_folder(files), files, "its tokenizer cannot be read")
    if not tokenizer.is_fast:
        raise UnsupportedFamily(f"teacher '{files.name}': its tokenizer has no tokenizer.json form")
    return guarded(
        lambda: _checked(tokenizer, content, modules, geometry),
        files,
        "its tokenizer cannot be used",
    )


def max_length(
    modules: SentenceModules, tokenizer: PreTrainedTokenizerBase, geometry: TeacherGeometry
) -> int:
    """Tokens that sentence-transformers cuts a text to, special tokens included.

    `max_seq_length` of the Transformer's configuration, where modules.json names one; else
    the tokenizer's model_max_length, at most the network's positions.

    Raises:
        UnsupportedFamily: If it is longer than the positions, or too short for a token.
        TeacherDamaged: If it is no whole number.
    """
    files, positions = modules.transformer, geometry.max_positions
    given = modules.max_seq_length
    file, key = modules.settings_file, "max_seq_length"
    if given is None:
        file, key = SETTINGS, "model_max_length"
        # RoBERTa's max_position_embeddings counts rows, 2 more than positions.
        given = min(tokenizer.model_max_length, positions + geometry.position_offset)
        if given > positions:
            raise files.unsupported(
                file,
                key,
                tokenizer.model_max_length,
                f"at most {positions}, the positions of the network: sentence-transformers cuts "
                f"texts to {given} tokens by this, and fails on those longer than {positions}. "
                f'Write "model_max_length": {positions} there',
            )
    if not isinstance(given, int):
        raise files.damaged(file, f"has {key} = {json_text(given)}; it must be a whole number")
    if not 3 <= given <= positions:
        raise files.unsupported(file, key, given, f"3 to the {positions} positions of the network")
    return given


def guarded(call: Callable[[], _Result], files: TeacherFiles, what: str) -> _Result:
    """What a call into the tokenizer libraries gives.

    Raises:
        TeacherDamaged: For anything that they raise; NASC's own errors pass.
    """
    try:
        return call()
    except (TeacherMissing, TeacherDamaged, UnsupportedFamily):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        read = [file for file in (*_READ, *_TEXTS) if files.has(file)]
        raise TeacherDamaged(
            f"teacher '{files.name}': {what} ({', '.join(map(files.label, read))}): {reason(error)}"
        ) from error


def is_failure(error: BaseException) -> bool:
    """Whether something is a failure of a library, and nobody's wish to end.

    The Rust library of tokenizers raises bare Exception on a damaged file, and panics on some.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _from_folder(files: TeacherFiles) -> PreTrainedTokenizerBase:
    with quiet_transformers():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            files.folder, trust_remote_code=False, local_files_only=True
        )
        return tokenizer


def _checked_content(files: TeacherFiles, geometry: TeacherGeometry, declared: bool) -> str | None:
    """The text of tokenizer.json, if there is one; the files looked at before they are read."""
    if not any(files.has(file) for file in (FILE, "vocab.txt", "vocab.json")):
        raise files.missing("no tokenizer (tokenizer.json, vocab.txt or vocab.json)")
    settings = files.json(SETTINGS, _SETTINGS_SCHEMA) or {}
    files.check_values(SETTINGS, settings, _SETTINGS_SUPPORTED)
    for key in ("input_ids", "attention_mask"):
        names = settings.get("model_input_names", [key])
        if key not in names:
            raise files.unsupported(SETTINGS, "model_input_names", names, f"with '{key}'")
    templates = [f for f in ("chat_template.jinja", "chat_template.json") if files.has(f)]
    if not declared and (settings.get("chat_template") or templates):
        where = templates[0] if templates else f"{SETTINGS}: chat_template"
        raise UnsupportedFamily(
            f"teacher '{files.name}': {files.label(where)}: there is no modules.json, so texts "
            "would be put into that template; supported are texts as they are"
        )
    for file in ("special_tokens_map.json", "added_tokens.json"):
        files.json(file, {"type": "object"})
    _check_count(
        files, "vocab.json", (files.json("vocab.json", {"type": "object"}) or {}), geometry
    )
    for file in _TEXTS:
        text = files.text(file)
        if text is not None and file == "vocab.txt":
            lines = text.count("\n") + (not text.endswith("\n"))
            _check_rows(files, file, lines - 1, geometry)
    content = files.json(FILE, _FILE_SCHEMA)
    if content is None:
        return None
    if content["model"].get("dropout"):
        dropout = content["model"]["dropout"]
        raise files.unsupported(FILE, "model.dropout", dropout, "null, or no such key")
    _check_count(files, FILE, content["model"].get("vocab", {}), geometry)
    for token in content.get("added_tokens") or []:
        _check_rows(files, FILE, token["id"], geometry)
    side = (content.get("truncation") or {}).get("direction", "Right")
    if side != "Right" and "truncation_side" not in settings:
        raise files.unsupported(FILE, "truncation.direction", side, '"Right"')
    side = (content.get("padding") or {}).get("direction", "Right")
    if side != "Right" and "padding_side" not in settings:
        raise files.unsupported(FILE, "padding.direction", side, '"Right"')
    return files.text(FILE)


def _check_count(
    files: TeacherFiles, file: str, vocab: Mapping[str, Any] | list[Any], geometry: TeacherGeometry
) -> None:
    """Raise where a vocabulary has ids that the word embedding has no rows for."""
    if isinstance(vocab, list):
        return _check_rows(files, file, len(vocab) - 1, geometry)
    for token, number in vocab.items():
        if not isinstance(number, int) or number < 0:
            raise files.damaged(file, f"gives token {json_text(token)} id {json_text(number)}")
        _check_rows(files, file, number, geometry)
    return None


def _check_rows(files: TeacherFiles, file: str, last: int, geometry: TeacherGeometry) -> None:
    if last >= geometry.vocab_size:
        raise files.damaged(
            file,
            f"has token id {last}, more than the {geometry.vocab_size} rows of the word embedding "
            "(config.json: vocab_size)",
        )


def _checked(
    tokenizer: PreTrainedTokenizerBase,
    content: str | None,
    modules: SentenceModules,
    geometry: TeacherGeometry,
) -> PreTrainedTokenizerBase:
    files = modules.transformer
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_batch([*PROBES, PROBES[:2]])  # what no text can be put into fails here
    vocabulary = backend.get_vocab(with_added_tokens=True)
    _check_rows(files, FILE, max(vocabulary.values(), default=0), geometry)
    if tokenizer.pad_token_id is None:
        raise files.damaged(SETTINGS, "names no pad_token, so texts cannot be put in one batch")
    if geometry.family in ROBERTAS and tokenizer.pad_token_id != geometry.pad_id:
        raise files.damaged(
            SETTINGS,
            f"names pad_token {json_text(tokenizer.pad_token)} of id {tokenizer.pad_token_id}; "
            f"config.json has pad_token_id = {geometry.pad_id}, from which positions are counted",
        )
    if content is not None:
        _check_says_the_same(files, tokenizer, content)
    typed = "token_type_ids" in tokenizer.model_input_names and geometry.type_vocab_size
    if typed and any(any(e.type_ids) for e in backend.encode_batch(list(PROBES))):
        raise files.unsupported(
            FILE, "post_processor", _part(backend, "post_processor"), "token type 0 for a text"
        )
    if modules.do_lower_case and not _lowers(_part(backend, "normalizer")):
        raise files.unsupported(
            modules.settings_file,
            "do_lower_case",
            True,
            "false: have the tokenizer lower-case, by its own do_lower_case in "
            f"{files.label(SETTINGS)}",
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


def separator_of(
    modules: SentenceModules, tokenizer: PreTrainedTokenizerBase, geometry: TeacherGeometry
) -> int | None:
    """The token behind whose first one token types of two texts are 1; None where all are 0.

    Raises:
        UnsupportedFamily: If the tokenizer gives types in another way, or the network has none.
    """
    pairs = [(first, second) for first, second in zip(PROBES, PROBES[::-1], strict=True)]
    encoded = tokenizer.backend_tokenizer.encode_batch(pairs)
    typed = "token_type_ids" in tokenizer.model_input_names and geometry.type_vocab_size
    if not typed or not any(any(one.type_ids) for one in encoded):
        return None
    separator = tokenizer.sep_token_id
    for one in encoded:
        if 1 not in one.type_ids or geometry.type_vocab_size < 2 or separator is None:
            break
        end = one.type_ids.index(1)
        # A literal separator in the first text ends it for a network, but not for the tokenizer.
        if set(one.type_ids[end:]) != {1} or one.ids[end - 1] != separator:
            break
    else:
        return int(separator)
    raise modules.transformer.unsupported(
        FILE,
        "post_processor",
        _part(tokenizer.backend_tokenizer, "post_processor"),
        "token types of two texts that are 0 up to the separator between them and 1 behind it "
        f"(type_vocab_size = {geometry.type_vocab_size})",
    )


def _check_says_the_same(
    files: TeacherFiles, tokenizer: PreTrainedTokenizerBase, content: str
) -> None:
    """Raise where tokenizer.json by itself gives other tokens than transformers' class.

    Parts of the same meaning may be spelled in two ways, so that texts decide where any differ.
    """
    own: Tokenizer = Tokenizer.from_str(content)
    own.no_truncation()
    own.no_padding()
    ours = tokenizer.backend_tokenizer
    mine, theirs = _parts(own), _parts(ours)
    differing = [part for part in mine if mine[part] != theirs[part]]
    if not differing:
        return
    words = {**_words(mine), **_words(theirs)}
    probes = [*PROBES, *(f"a {word} a{word}a" for word in words)]
    encoded = zip(own.encode_batch(probes), ours.encode_batch(probes), strict=True)
    if any(left.ids != right.ids for left, right in encoded):
        part = differing[0]
        key, left, right = _difference(part, mine[part], theirs[part])
        raise UnsupportedFamily(
            f"teacher '{files.name}': {files.label(FILE)}: {key} = {json_text(left)} is not what "
            f"{type(tokenizer).__name__} of transformers {transformers.__version__} makes of the "
            f"folder ({json_text(right)}), so that readers of the file and of "
            f"{files.label(SETTINGS)} get other tokens; supported are files that agree"
        )


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    whole = json.loads(tokenizer.to_str())
    return {part: whole.get(part) for part in _PARTS}


def _part(tokenizer: Tokenizer, key: str) -> Any:
    return _parts(tokenizer)[key]


def _words(data: Any) -> dict[str, None]:
    """All texts in settings of a tokenizer but its vocabulary: what it replaces, splits, adds.

    A whole number, which may be the length of a word, counts as a word of that length.
    """
    if isinstance(data, dict):
        inner = [value for key, value in data.items() if key not in ("vocab", "merges")]
    elif isinstance(data, list):
        inner = data
    else:
        word = "x" * min(data, _LONGEST) if isinstance(data, int) else data
        return {word: None} if isinstance(word, str) and len(word) <= _LONGEST else {}
    return {word: None for value in inner for word in _words(value)}


def _difference(key: str, left: Any, right: Any) -> tuple[str, Any, Any]:
    """The first setting in which two parts of one type differ, or the parts themselves."""
    if isinstance(left, dict) and isinstance(right, dict) and left.get("type") == right.get("type"):
        for name in (n for n in left if n != "vocab"):
            if left[name] != right.get(name):
                return _difference(f"{key}.{name}", left[name], right.get(name))
    return key, left, right


def _lowers(normalizer: Any) -> bool:
    """Whether a normaliser lower-cases, so that lower-casing before it changes nothing."""
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "Sequence":
        return any(map(_lowers, normalizer.get("normalizers", [])))
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase"))
