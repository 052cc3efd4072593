"""Files by which other libraries know a package: transformers, optimum, sentence-transformers.

Each of them describes the model file as it is. Nothing of nasc's own reads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from device_profiles.reading import read_bytes, read_json
from nasc.architecture.heads import (
    SCORE_ACTIVATIONS,
    gives_spans,
    gives_vector,
    pooling_of,
    scores_tokens,
    vector_size,
)
from nasc.package.manifest import Manifest

CONFIG = "config.json"

_POOLING = "1_Pooling"

LIBRARY_FILES = frozenset(
    (
        CONFIG,
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        f"{_POOLING}/{CONFIG}",
    )
)
"""All that a package may have; see `library_files` for which one has."""

_MAX_BYTES = 1 << 20
"""What each may hold; config.json with the names of a thousand classes has some 100 kB."""


def library_files(manifest: Manifest, pad_id: int) -> dict[str, str]:
    """The text of config.json, and of an encoder also of what sentence-transformers reads, by name.

    Args:
        manifest: Of the package.
        pad_id: The tokenizer's token for padding.
    """
    found: dict[str, Any] = {CONFIG: _config(manifest, pad_id)}
    if manifest.task is None:
        kind = "sentence_transformers.models."
        modules = [("", "Transformer"), (_POOLING, "Pooling")]
        found |= {
            "modules.json": [
                {"idx": index, "name": str(index), "path": path, "type": kind + name}
                for index, (path, name) in enumerate(modules)
            ],
            "sentence_bert_config.json": {
                "max_seq_length": manifest.max_length,
                "do_lower_case": False,
            },
            "config_sentence_transformers.json": {
                "model_type": "SentenceTransformer",
                "similarity_fn_name": "cosine",
                "prompts": dict(manifest.prompts.texts),
                "default_prompt_name": manifest.prompts.default,
            },
            f"{_POOLING}/{CONFIG}": _pooling(manifest),
        }
    return {
        name: json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        for name, value in found.items()
    }


def write_library_files(folder: Path, manifest: Manifest, pad_id: int) -> None:
    """Write `library_files`.

    Raises:
        OSError: If a file cannot be written.
    """
    for name, text in library_files(manifest, pad_id).items():
        path = folder / name
        if path.parent != folder:
            path.parent.mkdir()
            path.parent.chmod(0o755)
        path.write_text(text, encoding="utf-8", newline="\n")


def wrong_library_files(folder: Path, manifest: Manifest) -> list[str]:
    """Names of `LIBRARY_FILES` that say something else, are missing, or not of this package.

    The token for padding is taken from config.json: `nasc.package.tokenizer_files` holds it.

    Raises:
        OSError, FileRefused: If a file cannot be read.
    """
    pad_id = None
    if CONFIG in manifest.files:
        pad_id = read_json(folder / CONFIG, _MAX_BYTES, {"type": "object"}).get("pad_token_id")
    wanted = library_files(manifest, pad_id if type(pad_id) is int else 0)
    wrong = [
        name
        for name, text in wanted.items()
        if name not in manifest.files or read_bytes(folder / name, _MAX_BYTES) != text.encode()
    ]
    return wrong + sorted((LIBRARY_FILES & manifest.files.keys()) - wanted.keys())


def _config(manifest: Manifest, pad_id: int) -> dict[str, Any]:
    """What transformers calls a model's configuration, of what goes in and comes out of the file.

    The model type is that of a family which takes the file's two inputs, counts positions from 0
    and has its vector's size under the name ``hidden_size``. There are no weights beside it, so
    that transformers cannot take the file for a network of that family.
    """
    geometry, task = manifest.geometry, manifest.task
    size, heads = geometry.hidden, geometry.hidden // geometry.head_size
    if task is None:
        size = vector_size(manifest.head, size)
    config: dict[str, Any] = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": size,
        "num_hidden_layers": len(manifest.architecture.blocks),
        "num_attention_heads": heads if size % heads == 0 else 1,
        "intermediate_size": geometry.intermediate,
        "vocab_size": geometry.vocab_size,
        "max_position_embeddings": geometry.max_positions,
        "pad_token_id": pad_id,
        "nasc_architecture": str(manifest.architecture),
    }
    if task is None:
        return config
    if gives_spans(manifest.head):
        return config | {"architectures": ["BertForQuestionAnswering"]}
    classes = {
        "id2label": {str(index): label for index, label in enumerate(task.labels)},
        "label2id": {label: index for index, label in enumerate(task.labels)},
    }
    if scores_tokens(manifest.head):
        return config | {"architectures": ["BertForTokenClassification"]} | classes
    config["architectures"] = ["BertForSequenceClassification"]
    if task.activation:
        config["sentence_transformers"] = {"activation_fn": SCORE_ACTIVATIONS[task.activation]}
    if not task.labels:
        return config | {"problem_type": "regression", "id2label": {"0": "score"}}
    return config | {"problem_type": "single_label_classification"} | classes


def _pooling(manifest: Manifest) -> dict[str, Any]:
    """How sentence-transformers makes the vector out of the output ``last_hidden_state``.

    The head ``embed`` gives the finished vector as the state of one token: see
    `nasc.export.onnx.ONE_TOKEN`.
    """
    mode = "cls" if gives_vector(manifest.head) else pooling_of(manifest.head).mode
    return {
        "word_embedding_dimension": vector_size(manifest.head, manifest.geometry.hidden),
        "pooling_mode_cls_token": mode == "cls",
        "pooling_mode_mean_tokens": mode == "mean",
        "pooling_mode_max_tokens": mode == "max",
        "pooling_mode_mean_sqrt_len_tokens": mode == "sqrt_len",
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
