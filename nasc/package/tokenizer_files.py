"""The tokenizer of a package, in files that tokenizers, transformers and ports read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from nasc.errors import PackageError
from nasc.export.onnx import INPUTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    # transformers 4 sets it in the tokenizer, to False where it is not said.
    prefix = json.loads(own.to_str())["pre_tokenizer"] or {}
    if "add_prefix_space" in prefix:
        config["add_prefix_space"] = prefix["add_prefix_space"]
    _write_json(path, config)
    _write_json(
        folder / "special_tokens_map.json",
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    )
    if isinstance(own.model, WordPiece):
        words = sorted(own.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        text = "".join(word + "\n" for word, _ in words)
        (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str)
    path.write_text(text + "\n", encoding="utf-8")
