"""A head that comes with a teacher: two linear layers that score a text or two by its first token.

What transformers calls ForSequenceClassification is, in all families, a linear layer of the hidden
size with an activation over the first token's state, and one to the classes: pooling and layers
behind it as `nasc.architecture.heads.Pooling` has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasc.architecture.heads import SCORE_ACTIVATIONS, DenseShape, Pooling
from nasc.teacher.config import CONFIG, ROBERTAS
from nasc.teacher.encoder import TeacherGeometry
from nasc.teacher.files import TeacherFiles, json_text
from nasc.teacher.modules import MODEL
from nasc.teacher.weights import tensor_names
from nasc.utils.printable import is_printable

MAX_LABELS = 9_999
"""Classes of a head, as many as a package may state."""

MAX_NAME = 1_000
"""Characters of a class's name."""

_SCHEMA = {
    "type": "object",
    "properties": {
        "id2label": {
            "type": ["object", "null"],
            "maxProperties": MAX_LABELS,
            "additionalProperties": {"type": "string", "maxLength": MAX_NAME},
        },
        "problem_type": {"type": ["string", "null"]},
        "sentence_transformers": {
            "type": ["object", "null"],
            "properties": {"activation_fn": {"type": ["string", "null"]}},
        },
        "sbert_ce_default_activation_function": {"type": ["string", "null"]},
    },
}

_LAYERS = {
    "bert": ("pooler.dense", "classifier", "tanh"),
    "albert": ("pooler", "classifier", "tanh"),
    "distilbert": ("pre_classifier", "classifier", "relu"),
    "electra": ("classifier.dense", "classifier.out_proj", "gelu"),
    **dict.fromkeys((*ROBERTAS, "mpnet"), ("classifier.dense", "classifier.out_proj", "tanh")),
}
"""By family the two layers as the files name them, and the activation between them."""


_NAMES = {path: name for name, path in SCORE_ACTIVATIONS.items()} | {
    f"torch.nn.{path.rpartition('.')[2]}": name for name, path in SCORE_ACTIVATIONS.items()
}

_NOW, _BEFORE = "sentence_transformers", "sbert_ce_default_activation_function"
"""Keys of config.json that CrossEncoder writes, and wrote before version 4."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """The head of a teacher that classifies texts, or scores pairs of them.

    Attributes:
        labels: Names of the classes, in the order of the scores; of one score its name.
        pooling: The first token's state and two linear layers.
        names: The layers as the files name them.
        paired: Whether two texts go in at a time.
        activation: What a CrossEncoder puts over the scores of pairs, out of
            `nasc.architecture.heads.SCORE_ACTIVATIONS`; empty of texts alone.
    """

    labels: tuple[str, ...]
    pooling: Pooling
    names: tuple[str, str]
    paired: bool = False
    activation: str = ""

    def shapes(self, geometry: TeacherGeometry) -> dict[str, tuple[int, ...]]:
        """By plain name the shape of every tensor of the head."""
        found: dict[str, tuple[int, ...]] = {}
        for name, one in zip(self.names, self.pooling.dense, strict=True):
            found[f"{name}.weight"] = (one.outputs, geometry.hidden)
            found[f"{name}.bias"] = (one.outputs,)
        return found


def read_classifier(
    files: TeacherFiles,
    config: Mapping[str, Any],
    geometry: TeacherGeometry,
    paired: bool = False,
    put_over: str | None = None,
) -> Classifier | None:
    """The head that a teacher has; None where that is no classifier's, or has no weights.

    Args:
        files: The folder.
        config: Its config.json.
        geometry: That this gives.
        paired: Whether pairs go in, whatever the folder says. Those of one score, and those that
            were saved as a CrossEncoder, take pairs anyway.
        put_over: What a CrossEncoder puts over the scores, where another file than config.json
            says so.

    Raises:
        TeacherDamaged: If its classes are of another form, or not numbered from 0.
        UnsupportedFamily: If the head scores several classes at once, or its library puts another
            activation over the scores than those of `SCORE_ACTIVATIONS`.
    """
    named = (config.get("architectures") or [""])[0]
    first, last, activation = _LAYERS[geometry.family]
    if not named.endswith("ForSequenceClassification"):
        return None
    if f"{last}.weight" not in tensor_names(files, geometry.family):
        return None
    files.json(CONFIG, _SCHEMA)
    names = config.get("id2label") or {}
    count = len(names) if names else config.get("num_labels") or 2
    if {str(number) for number in range(count)} != set(names or map(str, range(count))):
        raise files.damaged(CONFIG, f"has id2label of {json_text(names)}; classes count from 0")
    if count > MAX_LABELS:
        raise files.damaged(CONFIG, f"has num_labels = {count}; the most is {MAX_LABELS}")
    labels = tuple(names.get(str(number), f"LABEL_{number}") for number in range(count))
    if wrong := [label for label in labels if not label or not all(map(is_printable, label))]:
        raise files.damaged(CONFIG, f"has id2label with {json_text(wrong[0])}, which is no name")
    problem = config.get("problem_type")
    if count > 1 and problem not in (None, "single_label_classification"):
        raise files.unsupported(
            CONFIG, "problem_type", problem, '"single_label_classification", or no such key'
        )
    paired = paired or count == 1 or not {_NOW, _BEFORE}.isdisjoint(config)
    dense = (DenseShape(geometry.hidden, activation), DenseShape(count, "identity"))
    return Classifier(
        labels,
        Pooling("cls", False, dense),
        (first, last),
        paired,
        _activation(files, config, count, put_over) if paired else "",
    )


def _activation(
    files: TeacherFiles, config: Mapping[str, Any], count: int, put_over: str | None
) -> str:
    """What a CrossEncoder of the folder puts over its scores.

    Raises:
        UnsupportedFamily: If that is none of `SCORE_ACTIVATIONS`.
    """
    file, key, path = MODEL, "activation_fn", put_over
    if path is None:
        file, key = CONFIG, f"{_NOW}.activation_fn"
        path = (config.get(_NOW) or {}).get("activation_fn")
    if path is None:
        key, path = _BEFORE, config.get(_BEFORE)
    if path is None:
        return "sigmoid" if count == 1 else "identity"
    name = _NAMES.get(path)
    if name is None:
        known = ", ".join(SCORE_ACTIVATIONS.values())
        raise files.unsupported(file, key, path, f"one of {known}")
    return name
