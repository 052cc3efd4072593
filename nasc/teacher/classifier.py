"""A head that comes with a teacher: two linear layers that classify a text by its first token.

What transformers calls ForSequenceClassification is, in all families, a linear layer of the hidden
size with an activation over the first token's state, and one to the classes: pooling and layers
behind it as `nasc.architecture.heads.Pooling` has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasc.architecture.heads import DenseShape, Pooling
from nasc.errors import UnsupportedFamily
from nasc.teacher.config import CONFIG, ROBERTAS
from nasc.teacher.encoder import TeacherGeometry
from nasc.teacher.files import TeacherFiles, json_text
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


@dataclass(frozen=True, slots=True)
class Classifier:
    """The head of a teacher that classifies texts.

    Attributes:
        labels: Names of the classes, in the order of the scores.
        pooling: The first token's state and two linear layers.
        names: The layers as the files name them.
    """

    labels: tuple[str, ...]
    pooling: Pooling
    names: tuple[str, str]

    def shapes(self, geometry: TeacherGeometry) -> dict[str, tuple[int, ...]]:
        """By plain name the shape of every tensor of the head."""
        found: dict[str, tuple[int, ...]] = {}
        for name, one in zip(self.names, self.pooling.dense, strict=True):
            found[f"{name}.weight"] = (one.outputs, geometry.hidden)
            found[f"{name}.bias"] = (one.outputs,)
        return found


def read_classifier(
    files: TeacherFiles, config: Mapping[str, Any], geometry: TeacherGeometry
) -> Classifier | None:
    """The head that a teacher has; None where that is no classifier's, or has no weights.

    Raises:
        TeacherDamaged: If its classes are of another form, or not numbered from 0.
        UnsupportedFamily: If the head scores pairs, or several classes at once.
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
    if count == 1 or "sentence_transformers" in config:
        what = "one score" if count == 1 else "the scores of a CrossEncoder"
        raise UnsupportedFamily(
            f"teacher '{files.name}': {files.label(CONFIG)}: architectures = {json_text(named)} "
            f"gives {what} of two texts, and networks of nasc know no token types: a head is kept "
            "that classifies single texts. Save the encoder alone (AutoModel and AutoTokenizer of "
            "transformers, from_pretrained, then save_pretrained) and give that folder"
        )
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise files.unsupported(
            CONFIG, "problem_type", problem, '"single_label_classification", or no such key'
        )
    dense = (DenseShape(geometry.hidden, activation), DenseShape(count, "identity"))
    return Classifier(labels, Pooling("cls", False, dense), (first, last))
