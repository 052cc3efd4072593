"""Folders of models that transformers itself reads: looked at first, every failure one message."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nasc.errors import NascError, TeacherMissing
from nasc.teacher.files import TeacherFiles, reason
from nasc.teacher.tokenizer import is_failure, quiet_transformers

_CONFIG = {
    "type": "object",
    "properties": {
        "max_position_embeddings": {"type": ["integer", "null"]},
        "pad_token_id": {"type": ["integer", "null"]},
    },
}
"""What nasc itself reads of a configuration; the rest is between transformers and the file."""

_OBJECTS = (
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
"""Other files of a model's folder that transformers takes for JSON objects."""


@contextlib.contextmanager
def read_by_transformers(folder: str | Path, what: str, hint: str = "") -> Iterator[None]:
    """A block in which transformers reads a model's folder, without its own output.

    Args:
        folder: The folder, or a hub id, which is left to the library.
        what: What is not there if it fails, as the beginning of the message.
        hint: What to do then, a sentence.

    Raises:
        TeacherDamaged: If something in the folder is neither file nor folder or is over-large, or a
            configuration is no JSON object of plain structure.
        TeacherMissing: For anything that the block raises; errors of nasc pass.
    """
    if os.path.isdir(folder):
        files = TeacherFiles(Path(folder), Path(folder).name)
        files.check_entries()
        files.json("config.json", _CONFIG)
        for file in _OBJECTS:
            files.json(file, {"type": "object"})
    try:
        with quiet_transformers():
            yield
    except NascError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        end = f". {hint}" if hint else ""
        raise TeacherMissing(f"{what} at '{folder}': {reason(error)}{end}") from error
