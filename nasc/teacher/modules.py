"""How a folder of sentence-transformers makes vectors: modules.json and what it names.

What is supported is one chain: Transformer, Pooling, any Dense, and Normalize or nothing after it;
then the cut of `truncate_dim`. Every other thing that these files can say and that changes a vector
is refused with its file and key; the keys are those that sentence-transformers 6.2 reads
(`base/model.py`, `base/modules/transformer.py`, `sentence_transformer/modules/pooling.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasc.architecture.heads import MAX_DENSE, MAX_SIZE, Pooling
from nasc.data.prompts import MAX_LENGTH, MAX_PROMPTS, NO_PROMPTS, Prompts
from nasc.errors import UnsupportedFamily, UsageError
from nasc.teacher.dense import CONFIG as DENSE_CONFIG
from nasc.teacher.dense import DenseModule, read_dense
from nasc.teacher.files import TeacherFiles, is_inner_path, json_text, text_or_null

UNDECLARED = Pooling("mean", scaled=False)
"""What sentence-transformers makes of a folder without modules.json: the mean over tokens, as long
as it is (`SentenceTransformer._load_default_modules`)."""

MODULES = "modules.json"
POOLING = "config.json"
MODEL = "config_sentence_transformers.json"
TRANSFORMER = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Names of the Transformer's configuration; the first that holds anything counts."""

CHAIN = ("Transformer", "Pooling", "Normalize")
"""The last may be absent: vectors keep their length then."""

DENSE = "Dense"
"""Linear layers, which may stand behind the Pooling."""

_MODULES_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": 64,
    "items": {
        "type": "object",
        "required": ["name", "path", "type"],
        "properties": {
            "name": {"type": "string", "pattern": "^[^.]+$"},
            "path": {"type": "string", "maxLength": 255},
            "type": {"type": "string"},
            "kwargs": {"type": ["array", "null"]},
        },
    },
}

_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys of Pooling before version 6, one a mode; none of them true is the mean."""

_MODES = {"mean": "mean", "cls": "cls", "max": "max", "mean_sqrt_len_tokens": "sqrt_len"}
"""Modes that are supported, and what `nasc.architecture.heads.POOLINGS` calls them."""

_DIMENSIONS = ("embedding_dimension", "word_embedding_dimension")

_POOLING_SCHEMA = {
    "type": "object",
    "properties": {
        "pooling_mode": {"type": ["string", "array"], "items": {"type": "string"}},
        "include_prompt": {"type": "boolean"},
        **{key: {"type": "boolean"} for key in _FLAGS},
        **{key: {"type": "integer", "minimum": 1} for key in _DIMENSIONS},
    },
}

_NORMALIZE_SCHEMA = {
    "type": "object",
    "properties": {"module_input_name": text_or_null(), "module_output_name": text_or_null()},
}

_TRANSFORMER_SCHEMA = {
    "type": "object",
    "properties": {
        "max_seq_length": {"type": ["integer", "null"]},
        "do_lower_case": {"type": "boolean"},
    },
}

_TRANSFORMER_SUPPORTED: Mapping[str, Sequence[Any]] = {
    "transformer_task": ("feature-extraction",),
    "modality_config": (
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    ),
    "module_output_name": ("token_embeddings",),
    "unpad_inputs": (None, True, False),  # skips padding, where flash attention is asked for
    "tokenizer_name_or_path": (None,),
    "query_length": (None,),
    "document_length": (None,),
    "query_expansion": (None,),
    "processing_kwargs": ({},),
    **{
        f"{of}_{kind}": ({},)
        for of, kind in (
            ("model", "args"),
            ("tokenizer", "args"),
            ("config", "args"),
            ("model", "kwargs"),
            ("processor", "kwargs"),
            ("config", "kwargs"),
        )
    },
}

_MODEL_SCHEMA = {
    "type": "object",
    "properties": {
        "__version__": {"type": "object"},
        "prompts": {
            "type": "object",
            "maxProperties": MAX_PROMPTS,
            "propertyNames": {"maxLength": MAX_LENGTH},
            "additionalProperties": {**text_or_null(), "maxLength": MAX_LENGTH},
        },
        "default_prompt_name": text_or_null(),
        "similarity_fn_name": text_or_null(),
        "truncate_dim": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SIZE},
        "model_type": {"type": "string"},
        "activation_fn": text_or_null(),
    },
}

_MODEL_KEYS = (*_MODEL_SCHEMA["properties"], "requirements")

CROSS_ENCODER = "CrossEncoder"
"""As model_type: of a folder whose one module scores pairs, as version 6 writes it."""

_SCORING: Mapping[str, Sequence[Any]] = {
    **_TRANSFORMER_SUPPORTED,
    "transformer_task": ("sequence-classification",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "logits"}},),
    "module_output_name": ("scores",),
}
"""What its Transformer's configuration may say."""


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """What modules.json and the files that it names say.

    Attributes:
        transformer: Folder of the network and its tokenizer.
        declared: Whether there is a modules.json.
        settings_file: The Transformer's configuration, for messages.
        max_seq_length: Tokens that it gives; None leaves them to the tokenizer and the network.
        do_lower_case: Whether texts are lower-cased before the tokenizer.
        pooling: How vectors are made; without a modules.json `UNDECLARED`.
        dense: The linear layers that `pooling` names, with their folders.
        prompts: By which texts may begin, and which one all do unless asked otherwise.
        pooling_folder: Of the Pooling's configuration; None without modules.json.
        folders: The teacher's folder and those that modules.json names.
        cross_encoder: Whether modules.json is a CrossEncoder's; `declared` is false then.
        activation: What that puts over scores, by its import path; None leaves it to config.json.
    """

    transformer: TeacherFiles
    declared: bool
    settings_file: str = TRANSFORMER[0]
    max_seq_length: int | None = None
    do_lower_case: bool = False
    pooling: Pooling = UNDECLARED
    dense: tuple[DenseModule, ...] = ()
    prompts: Prompts = NO_PROMPTS
    pooling_folder: TeacherFiles | None = None
    folders: tuple[TeacherFiles, ...] = ()
    cross_encoder: bool = False
    activation: str | None = None


def read_modules(files: TeacherFiles) -> SentenceModules:
    """The chain of modules of a teacher's folder.

    Raises:
        TeacherDamaged: If a file is no JSON, lacks what it must have, or a value is of another
            type.
        TeacherMissing: If the Pooling's configuration is not where modules.json says.
        UnsupportedFamily: If vectors are made in another way, or a key is not known.
    """
    modules = files.json(MODULES, _MODULES_SCHEMA)
    if modules is None:
        return SentenceModules(files, declared=False, folders=(files,))
    kinds = _kinds(files, modules)
    if (files.json(MODEL, _MODEL_SCHEMA) or {}).get("model_type") == CROSS_ENCODER:
        return _cross_encoder(files, modules, kinds)
    _check_chain(files, kinds)
    transformer, pooling, *others = (files.within(module["path"]) for module in modules)
    mode, dense, scaled = _pooling_mode(pooling), [], False
    for module, folder in zip(modules[2:], others, strict=True):
        if module["type"].endswith(f".{DENSE}"):
            dense.append(read_dense(folder))
        else:
            _check_normalize(folder)
            scaled = True
    first, prompts = _read_model(files)
    if prompts:
        _check_prompt_is_pooled(pooling)
    file, settings = _transformer_settings(transformer)
    return SentenceModules(
        transformer,
        declared=True,
        settings_file=file,
        max_seq_length=settings.get("max_seq_length"),
        do_lower_case=settings.get("do_lower_case", False),
        pooling=Pooling(mode, scaled, tuple(one.shape for one in dense), first),
        dense=tuple(dense),
        prompts=prompts,
        pooling_folder=pooling,
        folders=tuple(dict.fromkeys((files, transformer, pooling, *others))),
    )


def check_dimensions(modules: SentenceModules, files: TeacherFiles, hidden: int) -> SentenceModules:
    """The modules, if every dimension that the files name fits the one before it.

    Returns:
        The same; without a cut that keeps all numbers.

    Raises:
        TeacherDamaged: If the Pooling or a Dense is made for another network, or more numbers are
            kept of a vector than it has.
    """
    if modules.pooling_folder is None:
        return modules
    pooling = modules.pooling_folder.json(POOLING, _POOLING_SCHEMA)
    for key in _DIMENSIONS:
        if pooling.get(key, hidden) != hidden:
            raise modules.pooling_folder.damaged(
                POOLING, f"has {key} = {pooling[key]}; the network's hidden size is {hidden}"
            )
    width, before = hidden, "the Pooling before it"
    for dense in modules.dense:
        if dense.inputs != width:
            raise dense.files.damaged(
                DENSE_CONFIG, f"has in_features = {dense.inputs}; {before} gives {width}"
            )
        width, before = dense.shape.outputs, "the Dense before it"
    first = modules.pooling.first
    if first is not None and first > width:
        raise files.damaged(
            MODEL,
            f"has truncate_dim = {first}; vectors have {width} numbers: give 1 to {width}, or null",
        )
    if first != width:
        return modules
    return replace(modules, pooling=replace(modules.pooling, first=None))


def _cross_encoder(
    files: TeacherFiles, modules: Sequence[Mapping[str, Any]], kinds: Sequence[str]
) -> SentenceModules:
    """The one module of a folder that scores pairs.

    Raises:
        UnsupportedFamily: If there are more, or pairs have a prompt by default.
    """
    if tuple(kinds) != CHAIN[:1]:
        raise UnsupportedFamily(
            f"teacher '{files.name}': {MODULES}: type makes the scores of a {CROSS_ENCODER} with "
            f"{', '.join(kinds)}; supported is {CHAIN[0]} alone"
        )
    config = files.json(MODEL, _MODEL_SCHEMA)
    files.check_keys(MODEL, config, _MODEL_KEYS)
    files.check_values(MODEL, config, {"default_prompt_name": (None,)})
    transformer = files.within(modules[0]["path"])
    file, settings = _transformer_settings(transformer, _SCORING)
    return SentenceModules(
        transformer,
        declared=False,
        settings_file=file,
        max_seq_length=settings.get("max_seq_length"),
        do_lower_case=settings.get("do_lower_case", False),
        folders=tuple(dict.fromkeys((files, transformer))),
        cross_encoder=True,
        activation=config.get("activation_fn"),
    )


def _kinds(files: TeacherFiles, modules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the modules' classes, each of sentence_transformers and within the folder."""
    kinds = []
    for place, module in enumerate(modules):
        package, _, kind = module["type"].rpartition(".")
        if not package.startswith("sentence_transformers."):
            raise files.unsupported(
                MODULES,
                f"{place}.type",
                module["type"],
                "modules of sentence_transformers; code that comes with a model is not run",
            )
        if not is_inner_path(module["path"]):
            raise files.damaged(
                MODULES,
                f"has {place}.path = {json_text(module['path'])}, which leaves the folder",
            )
        if module.get("kwargs"):
            raise files.unsupported(MODULES, f"{place}.kwargs", module["kwargs"], "no kwargs")
        kinds.append(kind)
    if len({module["name"] for module in modules}) < len(modules):
        raise files.damaged(MODULES, "gives two modules the same name")
    return kinds


def _check_chain(files: TeacherFiles, kinds: Sequence[str]) -> None:
    dense = sum(kind == DENSE for kind in kinds[2:])
    if (*kinds[:2], *kinds[2 + dense :]) not in (CHAIN, CHAIN[:2]) or dense > MAX_DENSE:
        raise UnsupportedFamily(
            f"teacher '{files.name}': {MODULES}: type makes its vectors with "
            f"{', '.join(kinds)}; supported is {', '.join(CHAIN[:2])}, up to {MAX_DENSE} {DENSE} "
            f"behind them, with or without {CHAIN[2]} at the end"
        )


def _check_normalize(files: TeacherFiles) -> None:
    output = files.json("config.json", _NORMALIZE_SCHEMA) or {}
    for key in ("module_input_name", "module_output_name"):
        if output.get(key, "sentence_embedding") not in ("sentence_embedding", None):
            raise files.unsupported("config.json", key, output[key], '"sentence_embedding"')


def _pooling_mode(pooling: TeacherFiles) -> str:
    """Which of `POOLINGS` a Pooling's configuration asks for."""
    config = pooling.json(POOLING, _POOLING_SCHEMA)
    if config is None:
        raise pooling.missing(f"no {pooling.label(POOLING)}, which modules.json names,")
    pooling.check_keys(POOLING, config, list(_POOLING_SCHEMA["properties"]))
    if not any(key in config for key in _DIMENSIONS):
        raise pooling.damaged(POOLING, f"has no {_DIMENSIONS[0]}")
    supported = f"one pooling alone, of {', '.join(_MODES)}"
    if "pooling_mode" in config:
        asked = config["pooling_mode"]
        modes = [asked] if isinstance(asked, str) else asked
        if len(modes) != 1 or modes[0] not in _MODES:
            raise pooling.unsupported(POOLING, "pooling_mode", asked, supported)
        return _MODES[modes[0]]
    on = [key for key in _FLAGS if config.get(key)]
    others = [key for key in on if _FLAGS[key] not in _MODES] or on[1:]
    if others:
        raise pooling.unsupported(POOLING, others[0], True, supported)
    return _MODES[_FLAGS[on[0]]] if on else "mean"


def _check_prompt_is_pooled(pooling: TeacherFiles) -> None:
    """Raise where the tokens of a prompt are left out of the pooling."""
    config = pooling.json(POOLING, _POOLING_SCHEMA)
    if not config.get("include_prompt", True):
        raise pooling.unsupported(
            POOLING,
            "include_prompt",
            False,
            f"true where {MODEL} has prompts: a package has no way to know which tokens are one's",
        )


def _read_model(files: TeacherFiles) -> tuple[int | None, Prompts]:
    """What `truncate_dim` says, and the prompts; everything else must change nothing."""
    config = files.json(MODEL, _MODEL_SCHEMA)
    if config is None:
        return None, NO_PROMPTS
    files.check_keys(MODEL, config, _MODEL_KEYS)
    files.check_values(MODEL, config, {"model_type": ("SentenceTransformer",)})
    first: int | None = config.get("truncate_dim")
    name, texts = config.get("default_prompt_name"), config.get("prompts", {})
    if name is not None and name not in texts:
        raise files.damaged(MODEL, f"has default_prompt_name = {json_text(name)}, no such prompt")
    try:
        return first, Prompts(tuple((key, text or "") for key, text in texts.items()), name)
    except UsageError as error:
        raise files.damaged(MODEL, f"has prompts that cannot be read: {error}") from error


def _transformer_settings(
    files: TeacherFiles, supported: Mapping[str, Sequence[Any]] = _TRANSFORMER_SUPPORTED
) -> tuple[str, dict[str, Any]]:
    for file in TRANSFORMER:
        settings = files.json(file, _TRANSFORMER_SCHEMA)
        if settings:
            files.check_keys(file, settings, (*_TRANSFORMER_SCHEMA["properties"], *supported))
            files.check_values(file, settings, supported)
            return file, dict(settings)
    return TRANSFORMER[0], {}
