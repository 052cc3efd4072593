"""The weights of a teacher, from safetensors files whose headers fit its config.json."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from device_profiles import reading
from nasc.errors import TeacherDamaged, TeacherMissing, UnsupportedFamily
from nasc.teacher.config import CONFIG, ROBERTAS, SIZE_KEYS
from nasc.teacher.encoder import (
    EmbeddingWeights,
    LayerWeights,
    NormWeights,
    TeacherGeometry,
)
from nasc.teacher.files import TeacherFiles, json_text, reason

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

MAX_BYTES = 16 << 30
"""Of all weight files together; the largest encoders that are met hold 2.2 GB (XLM-R large)."""

_INDEX_SCHEMA = {
    "type": "object",
    "required": ["metadata", "weight_map"],
    "properties": {
        "metadata": {"type": "object"},
        "weight_map": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "string", "pattern": r"^[^/\\]{1,250}\.safetensors$"},
        },
    },
}

_FLOATS = ("F64", "F32", "F16", "BF16")

_LEGACY = {"gamma": "weight", "beta": "bias"}
"""Last parts of names in files that were converted from TensorFlow before 2019."""

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
    **dict.fromkeys((*ROBERTAS, "electra"), ("encoder.layer.", _BERT_NAMES)),
    "albert": (
        "encoder.albert_layer_groups.0.albert_layers.",
        {
            "q": "attention.query",
            "k": "attention.key",
            "v": "attention.value",
            "o": "attention.dense",
            "ln1": "attention.LayerNorm",
            "ff1": "ffn",
            "ff2": "ffn_output",
            "ln2": "full_layer_layer_norm",
        },
    ),
    "mpnet": (
        "encoder.layer.",
        {short: f"attention.attn.{short}" for short in "qkvo"}
        | {
            "ln1": "attention.LayerNorm",
            "ff1": "intermediate.dense",
            "ff2": "output.dense",
            "ln2": "output.LayerNorm",
        },
    ),
    "modernbert": (
        "layers.",
        {
            "qkv": "attn.Wqkv",
            "o": "attn.Wo",
            "ln1": "attn_norm",
            "gated": "mlp.Wi",
            "ff2": "mlp.Wo",
            "ln2": "mlp_norm",
        },
    ),
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

_EMBEDDINGS = {
    "word": ("embeddings.word_embeddings.weight", ("vocab_size", "row")),
    "position": ("embeddings.position_embeddings.weight", ("positions", "row")),
    "token_type": ("embeddings.token_type_embeddings.weight", ("types", "row")),
    "ln_weight": ("embeddings.LayerNorm.weight", ("row",)),
    "ln_bias": ("embeddings.LayerNorm.bias", ("row",)),
}

_MODERN_EMBEDDINGS = {
    "word": ("embeddings.tok_embeddings.weight", ("vocab_size", "row")),
    "ln_weight": ("embeddings.norm.weight", ("row",)),
}

_FINAL_NORM = "final_norm.weight"
"""Behind all layers of ModernBERT."""

_MAPS = {"electra": "embeddings_project", "albert": "encoder.embedding_hidden_mapping_in"}
"""By family the linear layer behind an embedding of its own size."""

_BUCKETS = "encoder.relative_attention_bias.weight"
"""What relative positions add to attention scores, in all layers the same."""

_PRETRAINING = re.compile(
    r"pooler\.|cls\.|predictions\.|sop_classifier\.|lm_head\.|vocab_(transform|layer_norm|projector)\.|generator_lm_head\."
    r"|(discriminator|generator)_predictions\."
    r"|embeddings\.(position_ids|token_type_ids)$"
)
"""Tensors that sentence vectors do not depend on: those of pretraining, and buffers."""

_MODERN_PRETRAINING = re.compile(r"head\.(dense|norm)\.|decoder\.")
"""The same of ModernBERT, beside those."""

_PREFIXES = dict.fromkeys(ROBERTAS, "roberta.") | {"modernbert": "model."}
"""With which names of a network with a head begin; else the family and a point."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor in a file: where, under which name there, and its shape and type."""

    file: str
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class WeightFiles:
    """Weight files whose headers were read and fit the configuration.

    Attributes:
        files: The folder.
        names: Names of the files, in order.
        entries: By the plain name of a tensor where it is; those of the encoder alone.
        geometry: The sizes that they fit.
    """

    files: TeacherFiles
    names: tuple[str, ...]
    entries: Mapping[str, _Entry]
    geometry: TeacherGeometry

    def sha256(self) -> str:
        """Of the one file; of the digests of all of them where there are several.

        Raises:
            TeacherDamaged: If a file cannot be read.
        """
        digests = []
        for name in self.names:
            try:
                digests.append(reading.sha256_of(self.files.folder / name))
            except (OSError, reading.FileRefused) as error:
                raise self.files.damaged(name, f"cannot be read: {error}") from error
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def load(
        self, *, typed: bool = False
    ) -> tuple[EmbeddingWeights, tuple[LayerWeights, ...], NormWeights | None]:
        """The weights in float32; those behind all layers last, where there are any.

        Args:
            typed: Whether token type 1 is met, which there then is.

        Raises:
            TeacherDamaged: If they cannot be read, or a value is no number.
        """
        tensors = self._tensors()
        types = tensors.get(_EMBEDDINGS["token_type"][0])
        g = self.geometry
        named = _embeddings(g).items()
        rows: dict[str, Any] = {k: tensors[name] for k, (name, _) in named if name in tensors}
        if g.family == "modernbert":
            return _modern(tensors, rows, g)
        rows["token_type"] = (
            torch.zeros_like(rows["ln_bias"]) if types is None else types[0].clone()
        )
        if typed and types is not None:
            rows["segment"] = types[1] - types[0]
        prefix, names = _LAYER_NAMES[g.family]
        stored = _stored_layers(g)
        layers = (
            LayerWeights(
                bucket_bias=tensors.get(_BUCKETS),
                **{
                    f"{short}_{kind[0]}": tensors[f"{prefix}{index % stored}.{long}.{kind}"]
                    for short, long in names.items()
                    for kind in ("weight", "bias")
                },
            )
            for index in range(g.layers)
        )
        return EmbeddingWeights(**rows), tuple(layers), None

    def load_some(self, names: Collection[str]) -> dict[str, Tensor]:
        """Some tensors by their plain names, in float32.

        Raises:
            TeacherDamaged: See `load`.
        """
        return self._tensors(names)

    def _tensors(self, wanted: Collection[str] | None = None) -> dict[str, Tensor]:
        tensors = {}
        for file in self.names:
            try:
                with safe_open(self.files.folder / file, framework="pt") as opened:
                    for plain, entry in self.entries.items():
                        if entry.file == file and (wanted is None or plain in wanted):
                            tensors[plain] = opened.get_tensor(entry.name).to(torch.float32)
            except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                raise _unreadable(self.files, file, error) from error
        for plain, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                entry = self.entries[plain]
                raise self.files.damaged(
                    entry.file, f": tensor '{entry.name}' holds values that are no number"
                )
        return tensors


def find_weights(
    files: TeacherFiles,
    geometry: TeacherGeometry,
    config: Mapping[str, Any],
    head: Mapping[str, tuple[int, ...]],
    left_out: Collection[str] = (),
) -> WeightFiles:
    """The weight files of a folder, their headers held against its config.json.

    Nothing is allocated by what config.json says: its sizes must be those of the tensors.

    Args:
        files: The folder.
        geometry: By its config.json.
        config: What that holds.
        head: By plain name the shape of every tensor of a head that is kept; empty without one.
        left_out: Plain names of tensors of a head that is not.

    Raises:
        TeacherMissing: If there is no safetensors file, or not all of them.
        TeacherDamaged: If a header cannot be read, or tensors are missing or of other shapes.
        UnsupportedFamily: If there are tensors that are no part of the encoder.
    """
    names = _weight_files(files)
    found: dict[str, _Entry] = {}
    for name in names:
        for entry in _entries(files, name):
            plain = _plain_name(entry.name, geometry.family)
            if plain in found:
                raise files.damaged(
                    name, f": tensors '{found[plain].name}' and '{entry.name}' have one meaning"
                )
            found[plain] = entry
    expected = _expected(geometry)
    missing = [plain for plain in (*expected, *head) if plain not in found]
    if missing:
        raise TeacherDamaged(
            f"teacher '{files.name}': {len(missing)} tensors are missing from its weights "
            f"({', '.join(map(files.label, names[:3]))}), the first is '{missing[0]}'"
        )
    for plain, (shape, keys) in expected.items():
        _check_tensor(files, found[plain], shape, keys, geometry.family)
    for plain, shape in head.items():
        if found[plain].shape != shape:
            raise files.damaged(
                found[plain].file,
                f": tensor '{found[plain].name}' of the head has shape {found[plain].shape}; by "
                f"{CONFIG} (hidden size, id2label) it must have {shape}",
            )
        _check_float(files, found[plain])
    kept = {plain: found[plain] for plain in (*expected, *head)}
    _check_unused(files, found, {*kept, *left_out}, geometry, config)
    return WeightFiles(files, names, kept, geometry)


def tensor_names(files: TeacherFiles, family: str) -> frozenset[str]:
    """Plain names of all tensors in a folder's weight files.

    Raises:
        TeacherMissing, TeacherDamaged: See `find_weights`.
    """
    return frozenset(
        _plain_name(entry.name, family)
        for name in _weight_files(files)
        for entry in _entries(files, name)
    )


def _weight_files(files: TeacherFiles) -> tuple[str, ...]:
    folder = files.folder
    if (folder / SINGLE).is_file():
        names: tuple[str, ...] = (SINGLE,)
    else:
        index = files.json(INDEX, _INDEX_SCHEMA)
        if index is None:
            raise _no_weights(files)
        names = tuple(sorted(set(index["weight_map"].values())))
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise TeacherMissing(
                f"teacher '{files.name}': {files.label(INDEX)} names weight files that are not "
                f"in '{folder}': {', '.join(map(json_text, absent[:5]))}"
            )
    held = sum((folder / name).stat().st_size for name in names)
    if held > MAX_BYTES:
        raise files.damaged(names[0], f"and others hold {held:,} bytes, at most {MAX_BYTES:,}")
    return names


def _no_weights(files: TeacherFiles) -> TeacherMissing:
    pickled = sorted(file.name for file in files.folder.glob("*.bin"))
    also = f" (there is {', '.join(pickled)}, which can run code when it is read)" * bool(pickled)
    return TeacherMissing(
        f"teacher '{files.name}': no {SINGLE} in '{files.folder}'{also}. Only safetensors is "
        "read; convert with save_pretrained of transformers, version 5"
    )


def _entries(files: TeacherFiles, file: str) -> list[_Entry]:
    """What the header of a safetensors file lists; the library checks it against the size."""
    try:
        with safe_open(files.folder / file, framework="pt") as opened:
            layout = (opened.metadata() or {}).get("format", "pt")
            if layout != "pt":
                raise files.damaged(
                    file, f"holds weights in the layout of {json_text(layout)}, not of PyTorch"
                )
            entries = []
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                part = opened.get_slice(name)
                entries.append(_Entry(file, name, tuple(part.get_shape()), part.get_dtype()))
            return entries
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unreadable(files, file, error) from error


def _unreadable(files: TeacherFiles, file: str, error: Exception) -> TeacherDamaged:
    return files.damaged(file, f"cannot be read: {reason(error)}")


def _plain_name(name: str, family: str) -> str:
    plain = name.removeprefix(_PREFIXES.get(family, f"{family}."))
    front, dot, last = plain.rpartition(".")
    return f"{front}{dot}{_LEGACY.get(last, last)}" if front.endswith("LayerNorm") else plain


def _expected(geometry: TeacherGeometry) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
    """By plain name the shape of every tensor of the encoder, and the sizes it comes from."""
    g = geometry
    sizes = {
        "vocab_size": g.vocab_size,
        "positions": g.max_positions + g.position_offset,
        "types": g.type_vocab_size,
        "hidden": g.hidden,
        "embedding": g.hidden if g.embedding is None else g.embedding,
        "intermediate": g.intermediate,
        "buckets": g.buckets or 0,
        "heads": g.heads,
    }
    named = {
        name: keys
        for name, keys in _embeddings(g).values()
        if "types" not in keys or sizes["types"]
    }
    if g.buckets is not None:
        named[_BUCKETS] = ("buckets", "heads")
    prefix, names = _LAYER_NAMES[g.family]
    if g.family == "modernbert":
        return _modern_expected(g, sizes, named)
    out_in = {"ff1": ("intermediate", "hidden"), "ff2": ("hidden", "intermediate")}
    for index in range(_stored_layers(g)):
        for short, long in names.items():
            rows = out_in.get(short, ("hidden", "hidden"))
            vector = rows[:1]
            name = f"{prefix}{index}.{long}"
            named[f"{name}.weight"] = vector if short.startswith("ln") else rows
            named[f"{name}.bias"] = vector
    return {name: (tuple(sizes[key] for key in keys), tuple(keys)) for name, keys in named.items()}


def _modern_expected(
    g: TeacherGeometry, sizes: dict[str, int], named: dict[str, tuple[str, ...]]
) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
    """See `_expected`: no biases, products in one, the first layer without a normalisation."""
    sizes = sizes | {"3 x hidden": 3 * g.hidden, "2 x intermediate": 2 * g.intermediate}
    prefix, names = _LAYER_NAMES[g.family]
    shapes: dict[str, tuple[str, ...]] = {
        "qkv": ("3 x hidden", "hidden"),
        "o": ("hidden", "hidden"),
        "ln1": ("hidden",),
        "gated": ("2 x intermediate", "hidden"),
        "ff2": ("hidden", "intermediate"),
        "ln2": ("hidden",),
    }
    for index in range(g.layers):
        for short, long in names.items():
            if index or short != "ln1":
                named[f"{prefix}{index}.{long}.weight"] = shapes[short]
    named[_FINAL_NORM] = ("hidden",)
    return {name: (tuple(sizes[key] for key in keys), keys) for name, keys in named.items()}


def _modern(
    tensors: Mapping[str, Tensor], rows: dict[str, Any], g: TeacherGeometry
) -> tuple[EmbeddingWeights, tuple[LayerWeights, ...], NormWeights]:
    """ModernBERT's weights in the one structure: biases are 0, products apart."""
    prefix, names = _LAYER_NAMES[g.family]
    none, inner_none = torch.zeros(g.hidden), torch.zeros(g.intermediate)

    def layer(index: int, base: float, window: int) -> LayerWeights:
        own = {
            short: tensors.get(f"{prefix}{index}.{long}.weight") for short, long in names.items()
        }
        q, k, v = own["qkv"].chunk(3)  # type: ignore[union-attr]
        inner, gate = own["gated"].chunk(2)  # type: ignore[union-attr]
        first = own["ln1"]
        powers = torch.arange(0, g.head_size, 2, dtype=torch.float32) / g.head_size
        return LayerWeights(
            q_w=q,
            q_b=none,
            k_w=k,
            k_b=none,
            v_w=v,
            v_b=none,
            o_w=own["o"],  # type: ignore[arg-type]
            o_b=none,
            ln1_w=torch.ones(g.hidden) if first is None else first,
            ln1_b=none,
            ff1_w=inner,
            ff1_b=inner_none,
            ff2_w=own["ff2"],  # type: ignore[arg-type]
            ff2_b=none,
            ln2_w=own["ln2"],  # type: ignore[arg-type]
            ln2_b=none,
            gate_w=gate,
            gate_b=inner_none,
            frequencies=1.0 / (base**powers),
            window=torch.tensor([float(window)]),
            normed=torch.tensor([float(first is not None)]),
        )

    size = torch.zeros(g.hidden)
    embedding = EmbeddingWeights(**rows, position=None, token_type=size, ln_bias=size)
    layers = tuple(layer(index, *turn) for index, turn in enumerate(g.rotary))
    return embedding, layers, NormWeights(tensors[_FINAL_NORM], none)


def _embeddings(geometry: TeacherGeometry) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By field of `EmbeddingWeights` the tensor's name, and the sizes that make its shape."""
    row = "hidden" if geometry.embedding is None else "embedding"
    names = _MODERN_EMBEDDINGS if geometry.family == "modernbert" else _EMBEDDINGS
    found = {
        key: (name, tuple(row if size == "row" else size for size in sizes))
        for key, (name, sizes) in names.items()
    }
    if geometry.embedding is not None:
        name = _MAPS[geometry.family]
        found["map_weight"] = (f"{name}.weight", ("hidden", "embedding"))
        found["map_bias"] = (f"{name}.bias", ("hidden",))
    return found


def _stored_layers(geometry: TeacherGeometry) -> int:
    """Layers whose weights are in the files: ALBERT's share those of one."""
    return 1 if geometry.family == "albert" else geometry.layers


def _check_tensor(
    files: TeacherFiles,
    entry: _Entry,
    shape: tuple[int, ...],
    sizes: Sequence[str],
    family: str,
) -> None:
    if entry.shape != shape:
        keys = SIZE_KEYS[family]
        said = ", ".join(f"{keys.get(s, s)} = {n}" for s, n in zip(sizes, shape, strict=True))
        raise files.damaged(
            entry.file,
            f": tensor '{entry.name}' has shape {entry.shape}; by {CONFIG} ({said}) it must have "
            f"{shape}",
        )
    _check_float(files, entry)


def _check_float(files: TeacherFiles, entry: _Entry) -> None:
    if entry.dtype not in _FLOATS:
        raise UnsupportedFamily(
            f"teacher '{files.name}': {files.label(entry.file)}: tensor '{entry.name}' is of type "
            f"{entry.dtype}; supported are {', '.join(_FLOATS)}"
        )


def _check_unused(
    files: TeacherFiles,
    found: Mapping[str, _Entry],
    expected: Collection[str],
    geometry: TeacherGeometry,
    config: Mapping[str, Any],
) -> None:
    """Raise for tensors that a network made of the expected ones would be without."""
    prefix, _ = _LAYER_NAMES[geometry.family]
    further = re.compile(rf"{re.escape(prefix)}(\d+)\.")  # layers that config.json leaves out
    others = []
    for plain, entry in found.items():
        layer = further.match(plain)
        left_out = layer is not None and int(layer[1][:9]) >= geometry.layers
        modern = geometry.family == "modernbert" and _MODERN_PRETRAINING.match(plain)
        if plain not in expected and not left_out and not modern and not _PRETRAINING.match(plain):
            others.append(entry)
    if not others:
        return
    listed = ", ".join(json_text(entry.name) for entry in others[:3])
    head = json_text(config.get("architectures"))
    raise UnsupportedFamily(
        f"teacher '{files.name}': {files.label(others[0].file)}: {len(others)} tensors are no "
        f"part of the encoder ({listed}; {CONFIG}: architectures = {head}): a head that comes "
        "with a teacher is kept where it classifies texts or tokens, scores pairs or answers "
        "questions. Save the encoder alone (AutoModel and AutoTokenizer of transformers, "
        "from_pretrained, then save_pretrained) and give that folder"
    )
