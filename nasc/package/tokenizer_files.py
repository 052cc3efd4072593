"""The tokenizer of a package, in files that tokenizers, transformers and ports read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from device_profiles.reading import read_bytes, read_json, shown
from nasc.errors import PackageError
from nasc.export.onnx import INPUTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLASS = "PreTrainedTokenizerFast"
"""Takes tokenizer.json as it is."""

_OF_ONE_MACHINE = (
    "is_local",
    "local_files_only",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
)
"""Fields of a tokenizer's configuration that say where it once lay."""

_OF_A_CLASS = (
    "do_basic_tokenize",
    "do_lower_case",
    "never_split",
    "strip_accents",
    "tokenize_chinese_chars",
)
"""Fields out of which a class would build what tokenizer.json says already."""

_OF_A_CALL = (
    "max_length",
    "stride",
    "truncation_strategy",
    "pad_to_multiple_of",
)
"""Fields that say how it was last called."""


def write_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.txt.

    The tokenizer of the files cuts a text to `max_length` tokens and does not pad; transformers
    takes it from tokenizer.json as it is, whatever class it once was, and gives the two inputs of
    the model. vocab.txt is written where there is one by nature (WordPiece).

    Args:
        folder: Where to.
        tokenizer: A fast one; it is not changed.
        max_length: Tokens.

    Raises:
        PackageError: If the tokenizer has no tokenizer.json form.
        OSError: If a file cannot be written.
    """
    if not tokenizer.is_fast:
        raise PackageError(
            f"tokenizer {type(tokenizer).__name__} has no tokenizer.json form; packages need a "
            "fast tokenizer of transformers"
        )
    tokenizer.save_pretrained(str(folder))
    own: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.no_padding()
    own.enable_truncation(max_length)
    (folder / "tokenizer.json").write_text(own.to_str(pretty=False) + "\n", encoding="utf-8")

    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in (*_OF_ONE_MACHINE, *_OF_A_CLASS, *_OF_A_CALL):
        config.pop(name, None)
    config |= {
        "model_max_length": max_length,
        "model_input_names": list(INPUTS),
        "tokenizer_class": CLASS,
    }
    prefix = _prefix_space(own)
    if prefix is not None:  # transformers 4 sets it in the tokenizer, to False where it is not said
        config["add_prefix_space"] = prefix
    _write_json(path, config)
    _write_json(
        folder / "special_tokens_map.json",
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    )
    words = _word_list(own)
    if words is not None:
        (folder / "vocab.txt").write_text(words, encoding="utf-8", newline="\n")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str)
    path.write_text(text + "\n", encoding="utf-8")


COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""What may lie beside tokenizer.json. The last five are of packages whose tokenizer was written by
transformers 4; nothing reads them where there is a tokenizer.json."""

_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))

_MORE_SPECIAL = ("additional_special_tokens", "extra_special_tokens")


def wrong_companions(folder: Path, max_length: int, older: bool) -> list[str]:
    """What the files beside tokenizer.json say otherwise than it, or than this program writes.

    Held are those fields that change what transformers makes of tokenizer.json.

    Args:
        folder: A package.
        max_length: Tokens that it cuts a text to.
        older: It is of before November 2026, whose tokenizer_config.json named the teacher's class.

    Returns:
        One phrase each, empty if nothing.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        Exception: If tokenizer.json is none; the Rust library raises bare Exception.
    """
    own: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = {number: one.content for number, one in own.get_added_tokens_decoder().items()}
    config = read_json(folder / "tokenizer_config.json", schema={"type": "object"})
    special = read_json(folder / "special_tokens_map.json", schema={"type": "object"})

    wanted: dict[str, Any] = {"model_max_length": max_length}
    unwanted: tuple[str, ...] = (*_OF_ONE_MACHINE, *_OF_A_CALL, "auto_map")
    if not older:
        wanted |= {"model_input_names": list(INPUTS), "tokenizer_class": CLASS}
        wanted |= {side: "right" for side in ("padding_side", "truncation_side") if side in config}
        prefix = _prefix_space(own)
        if prefix is not None:
            wanted["add_prefix_space"] = prefix
        unwanted += _OF_A_CLASS
    found = [
        f"{name} is {shown(config.get(name))}, not {shown(value)}"
        for name, value in wanted.items()
        if config.get(name) != value
    ]
    found += [f"nasc writes no {name}" for name in unwanted if name in config]

    for name in _SPECIAL:
        stated, mapped = _content(config.get(name)), special.get(name)
        if stated is not None and stated != mapped:
            found.append(f"{name} is {shown(stated)}, not {shown(mapped)}")
        if mapped is not None and mapped not in added.values():
            found.append(f"{name} {shown(mapped)} is no added token of tokenizer.json")
    for name in _MORE_SPECIAL:
        tokens = config.get(name) or ()
        tokens = tokens.values() if isinstance(tokens, dict) else tokens
        found += [
            f"{name} {shown(one)} is no added token of tokenizer.json"
            for one in tokens
            if _content(one) not in added.values()
        ]
    decoder = config.get("added_tokens_decoder") or {}
    if any(added.get(int(number)) != _content(one) for number, one in decoder.items()):
        found.append("added_tokens_decoder differs from tokenizer.json")
    found = [f"tokenizer_config.json: {one}" for one in found]

    words, path = _word_list(own), folder / "vocab.txt"
    listed = read_bytes(path).decode("utf-8") if path.exists() else None
    if words != listed:
        found.append("vocab.txt differs from tokenizer.json")
    path = folder / "config.json"
    if path.exists():
        pad = special.get("pad_token")
        number = 0 if pad is None else own.token_to_id(pad)
        if read_json(path, schema={"type": "object"}).get("pad_token_id") != number:
            found.append(f"config.json: pad_token_id is not {number}")
    return found


def _prefix_space(tokenizer: Tokenizer) -> Any:
    """Whether a text is read as if a space stood before it; None where that is no question."""
    return (json.loads(tokenizer.to_str())["pre_tokenizer"] or {}).get("add_prefix_space")


def _content(token: Any) -> Any:
    """A token as text, which a configuration holds as text or as an object."""
    return token.get("content") if isinstance(token, dict) else token


def _word_list(tokenizer: Tokenizer) -> str | None:
    """What vocab.txt holds; None where the tokenizer has no such list by nature."""
    if not isinstance(tokenizer.model, WordPiece):
        return None
    words = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    return "".join(word + "\n" for word, _ in words)
