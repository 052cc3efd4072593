"""The sizes and conventions of a teacher, by its config.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import CONFIG_MAPPING

from nasc.errors import TeacherMissing, UnsupportedFamily
from nasc.teacher.encoder import TeacherGeometry
from nasc.teacher.files import TeacherFiles, json_text, reason, text_or_null
from nasc.utils.relative_positions import BUCKETS

FAMILIES = (
    "bert",
    "roberta",
    "distilbert",
    "xlm-roberta",
    "camembert",
    "electra",
    "albert",
    "mpnet",
    "modernbert",
)

ROBERTAS = ("roberta", "xlm-roberta", "camembert")
"""RoBERTa under its names: positions start behind the row of padding."""

_MPNET_OFFSET = 2
"""MPNet counts positions as RoBERTa with padding of id 1, whatever id its padding has."""

CONFIG = "config.json"

SIZE_KEYS = {
    "bert": {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "vocab_size": "vocab_size",
        "positions": "max_position_embeddings",
        "types": "type_vocab_size",
    },
    "distilbert": {
        "layers": "n_layers",
        "hidden": "dim",
        "heads": "n_heads",
        "intermediate": "hidden_dim",
        "vocab_size": "vocab_size",
        "positions": "max_position_embeddings",
    },
}
SIZE_KEYS |= dict.fromkeys(ROBERTAS, SIZE_KEYS["bert"])
SIZE_KEYS |= dict.fromkeys(
    ("electra", "albert"), SIZE_KEYS["bert"] | {"embedding": "embedding_size"}
)
SIZE_KEYS["mpnet"] = {key: name for key, name in SIZE_KEYS["bert"].items() if key != "types"} | {
    "buckets": "relative_attention_num_buckets"
}
SIZE_KEYS["modernbert"] = {key: name for key, name in SIZE_KEYS["bert"].items() if key != "types"}
"""By family the keys of config.json that give sizes."""

_ALIASES = {
    "num_hidden_layers": "n_layers",
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
}
"""Other names of DistilBERT's keys, by `attribute_map` of transformers' DistilBertConfig."""


def _count(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most}


# Far above what is met (XLM-R XXL: 48 layers, hidden size 4,096), far below what would exhaust a
# machine before a weight is looked at.
_WIDTH, _DEPTH, _ROWS = _count(1 << 16), _count(1 << 10), _count(1 << 24)

_BASE = {"type": "number", "minimum": 1, "maximum": 1e12}
"""Of the frequencies of rotary positions."""

_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "classifier_dropout_prob",
    "seq_classif_dropout",
    "qa_dropout",
)
"""Keys that change nothing outside training; torch looks at their values all the same."""

_SCHEMA = {
    "type": "object",
    "required": ["model_type"],
    "properties": {
        "model_type": {"type": "string"},
        "num_hidden_layers": _DEPTH,
        "n_layers": _DEPTH,
        "hidden_size": _WIDTH,
        "dim": _WIDTH,
        "num_attention_heads": _WIDTH,
        "n_heads": _WIDTH,
        "intermediate_size": _count(1 << 20),
        "hidden_dim": _count(1 << 20),
        "vocab_size": _ROWS,
        "embedding_size": _WIDTH,
        "max_position_embeddings": _count(1 << 20),
        "type_vocab_size": _count(1 << 16),
        "relative_attention_num_buckets": _count(1 << 10),
        "layer_norm_eps": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "norm_eps": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "hidden_activation": {"type": "string"},
        "local_attention": {"type": "integer", "minimum": 2, "maximum": 1 << 20},
        "sliding_window": _count(1 << 19),
        "head_dim": {"type": ["integer", "null"]},
        "global_attn_every_n_layers": _DEPTH,
        "global_rope_theta": _BASE,
        "local_rope_theta": _BASE,
        "layer_types": {
            "type": ["array", "null"],
            "items": {"enum": ["full_attention", "sliding_attention"]},
        },
        "rope_parameters": {
            "type": ["object", "null"],
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": {"rope_theta": _BASE, "rope_type": {"type": "string"}},
            },
        },
        **{key: {"type": "number", "minimum": 0, "maximum": 1} for key in _DROPOUTS},
        "classifier_dropout": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "pad_token_id": {"type": ["integer", "null"], "minimum": 0, "maximum": 1 << 24},
        "hidden_act": {"type": "string"},
        "activation": {"type": "string"},
        "position_embedding_type": text_or_null(),
        "output_hidden_states": {"type": ["boolean", "null"]},
        "is_decoder": {"type": "boolean"},
        "is_encoder_decoder": {"type": "boolean"},
        "add_cross_attention": {"type": "boolean"},
        "num_hidden_groups": {"type": "integer"},
        "inner_group_num": {"type": "integer"},
        "pruned_heads": {"type": ["object", "null"]},
        "quantization_config": {"type": ["object", "null"]},
        "auto_map": {"type": ["object", "null"]},
        "transformers_weights": text_or_null(),
        "processor_class": text_or_null(),
        "tokenizer_class": text_or_null(),
        # transformers makes a name for each
        "num_labels": {"type": ["integer", "null"], "minimum": 0, "maximum": 1 << 16},
        "architectures": {"type": ["array", "null"], "items": {"type": "string"}},
    },
}

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
}
"""What `nasc.architecture.space.ACTIVATIONS` calls those of transformers (`ACT2CLS` in its
activations.py), which has several names for one formula."""

_SUPPORTED: Mapping[str, Sequence[Any]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "auto_map": ({}, None),  # another network, as code: ALiBi, rotary positions
    "transformers_weights": (None,),  # another file than model.safetensors
    "chunk_size_feed_forward": (0,),  # texts of other lengths than its multiples fail
    "processor_class": (None,),
}
"""Keys of config.json that change the network or what is read, with the values that do not."""

_ONE_FOR_ALL = {"num_hidden_groups": (1,), "inner_group_num": (1,)}
"""Keys of ALBERT, all of whose layers have the weights of one."""

_MODERNBERT: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "norm_bias": (False,),
    "rope_scaling": (None,),
    "per_layer_config": (None, {}),
}
"""Keys of ModernBERT, whose layers have no biases."""

_MPNET = {"relative_attention_num_buckets": (BUCKETS,)}
"""Keys of MPNet, whose code counts on so many."""


def read_config(files: TeacherFiles) -> tuple[dict[str, Any], TeacherGeometry]:
    """config.json, and the sizes and conventions that it gives.

    Raises:
        TeacherMissing: If there is none.
        TeacherDamaged: If it is no JSON, or a value is of another type or out of range.
        UnsupportedFamily: If it describes another network than those of `FAMILIES`.
    """
    config = files.json(CONFIG, {"type": "object"})
    if config is None:
        raise TeacherMissing(f"teacher '{files.name}': no config.json in '{files.folder}'")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedFamily(
            f"teacher '{files.name}' is of the family {json_text(family)} (config.json: "
            f"model_type); supported are {', '.join(FAMILIES)}. Name a teacher of one of them "
            "with --teacher, or leave the option out for the default one"
        )
    config = files.json(CONFIG, _SCHEMA)
    files.check_values(CONFIG, config, {_act(family): tuple(_ACTIVATIONS), **_SUPPORTED})
    if family == "albert":
        files.check_values(CONFIG, config, _ONE_FOR_ALL)
    if family == "mpnet":
        files.check_values(CONFIG, config, _MPNET)
    if family == "modernbert":
        files.check_values(CONFIG, config, _MODERNBERT)
    return config, _geometry(files, family, config)


def _act(family: str) -> str:
    """The key of config.json that names the activation."""
    return {"distilbert": "activation", "modernbert": "hidden_activation"}.get(family, "hidden_act")


def _geometry(files: TeacherFiles, family: str, config: Mapping[str, Any]) -> TeacherGeometry:
    defaults = CONFIG_MAPPING[family]()
    sizes = {
        size: _whole(files, _size(files, config, key, getattr(defaults, key)), key)
        for size, key in SIZE_KEYS[family].items()
    }
    keys = SIZE_KEYS[family]
    for whole, part in (("hidden", "heads"), ("intermediate", "heads")):
        if sizes[whole] % sizes[part]:
            raise UnsupportedFamily(
                f"teacher '{files.name}': {files.label(CONFIG)}: {keys[whole]} = {sizes[whole]} "
                f"is no multiple of {keys[part]} = {sizes[part]}"
            )
    embedding = sizes.get("embedding")
    if family == "electra" and embedding == sizes["hidden"]:
        embedding = None  # ALBERT has the map all the same
    pad_id = config.get("pad_token_id", defaults.pad_token_id)
    if pad_id is None and family in ROBERTAS:
        raise files.damaged(CONFIG, "has pad_token_id = null, from which positions are counted")
    pad_id = _whole(files, pad_id or 0, "pad_token_id")
    offset = pad_id + 1 if family in ROBERTAS else _MPNET_OFFSET if family == "mpnet" else 0
    if sizes["positions"] <= offset:
        raise files.damaged(
            CONFIG,
            f"has max_position_embeddings = {sizes['positions']}; positions start at {offset}",
        )
    modern = family == "modernbert"
    eps = "norm_eps" if modern else "layer_norm_eps"
    return TeacherGeometry(
        family=family,
        layers=sizes["layers"],
        hidden=sizes["hidden"],
        heads=sizes["heads"],
        head_size=sizes["hidden"] // sizes["heads"],
        intermediate=sizes["intermediate"],
        vocab_size=sizes["vocab_size"],
        max_positions=sizes["positions"] - offset,
        type_vocab_size=sizes.get("types", 0),
        # DistilBERT's code fixes it; the others' configuration names it.
        layer_norm_eps=(
            1e-12 if family == "distilbert" else float(config.get(eps, getattr(defaults, eps)))
        ),
        position_offset=offset,
        pad_id=pad_id,
        activation=_ACTIVATIONS[config.get(_act(family), getattr(defaults, _act(family)))],
        embedding=embedding,
        buckets=sizes.get("buckets"),
        rotary=_rotary(files, family, config, sizes) if modern else (),
        pre_norm=modern,
        gated=modern,
    )


def _rotary(
    files: TeacherFiles, family: str, config: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[tuple[float, int], ...]:
    """See `TeacherGeometry.rotary`, as transformers fills in what config.json leaves out.

    Raises:
        TeacherDamaged: If transformers refuses the configuration, or layers are not those counted.
        UnsupportedFamily: If positions are scaled.
    """
    head_size = sizes["hidden"] // sizes["heads"]
    if config.get("head_dim") not in (None, head_size):
        raise files.unsupported(CONFIG, "head_dim", config["head_dim"], f"{head_size} or null")
    if head_size % 2:
        raise files.damaged(CONFIG, "has heads of an odd size, which rotary positions cannot turn")
    try:
        read = CONFIG_MAPPING[family].from_dict(dict(config))
        kinds, window = list(read.layer_types), int(read.sliding_window)
        turns = {kind: read.rope_parameters[kind] for kind in set(kinds)}
        bases = {kind: float(turn["rope_theta"]) for kind, turn in turns.items()}
    except Exception as error:  # it checks values in ways of its own
        raise files.damaged(CONFIG, f"is refused by transformers: {reason(error)}") from error
    if not 1 <= window <= 1 << 19:  # an odd local_attention, or another name of it
        raise files.damaged(CONFIG, f"has a window of {window} tokens to either side")
    if len(kinds) != sizes["layers"]:
        raise files.damaged(
            CONFIG, f"has layer_types of {len(kinds)} layers, num_hidden_layers = {sizes['layers']}"
        )
    for kind, turn in turns.items():
        if turn.get("rope_type", "default") != "default":
            named = f"rope_parameters.{kind}.rope_type"
            raise files.unsupported(CONFIG, named, turn["rope_type"], '"default"')
    return tuple((bases[kind], window if kind == "sliding_attention" else 0) for kind in kinds)


def _size(files: TeacherFiles, config: Mapping[str, Any], key: str, default: int) -> Any:
    """A size by its key or another name of it; the default where there is neither."""
    names = [key, *(alias for alias, of in _ALIASES.items() if of == key)]
    given = {name: config[name] for name in names if name in config}
    if len(set(given.values())) > 1:
        both = " and ".join(f"{name} = {value}" for name, value in given.items())
        raise files.damaged(CONFIG, f"says {both}, which are names of one size")
    return next(iter(given.values()), default)


def _whole(files: TeacherFiles, value: Any, key: str) -> int:
    if not isinstance(value, int):  # 384.0 is an integer for JSON Schema, not for transformers
        raise files.damaged(CONFIG, f"has {key} = {value}; it must be a whole number")
    return value


def check_unread(files: TeacherFiles) -> None:
    """Raise for files beside config.json that change what the libraries make of it.

    Raises:
        UnsupportedFamily: With the file and what to do.
    """
    if files.has("adapter_config.json"):
        raise UnsupportedFamily(
            f"teacher '{files.name}': {files.label('adapter_config.json')}: it is an adapter "
            "(PEFT) of another model. Merge it (merge_and_unload of peft), save what results "
            "with save_pretrained, and give that folder"
        )
    for file in (
        "processor_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
    ):
        if files.has(file):
            raise UnsupportedFamily(
                f"teacher '{files.name}': {files.label(file)}: the libraries load a processor by "
                "it in the tokenizer's place; supported are teachers of text alone, without it"
            )
