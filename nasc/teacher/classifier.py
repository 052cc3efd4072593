"""A head that comes with a teacher: it scores a text or two by its first token, or every token.

What transformers calls ForSequenceClassification is, in all families, a linear layer of the hidden
size with an activation over the first token's state, and one to the classes: pooling and layers
behind it as `nasc.architecture.heads.Pooling` has them. ForTokenClassification and
ForQuestionAnswering are one linear layer over the state of every token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasc.architecture.heads import (
    ANSWERS,
    SCORE_ACTIVATIONS,
    SCORES,
    TOKENS,
    DenseShape,
    Pooling,
)
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

_KINDS = {
    "ForSequenceClassification": SCORES,
    "ForTokenClassification": TOKENS,
    "ForQuestionAnswering": ANSWERS,
}
"""By the end of the name of a class of transformers what its head gives."""

_OF_TOKENS = {TOKENS: "classifier", ANSWERS: "qa_outputs"}
"""The layer over every token as the files name it, in all families."""

_NAMES = {path: name for name, path in SCORE_ACTIVATIONS.items()} | {
    f"torch.nn.{path.rpartition('.')[2]}": name for name, path in SCORE_ACTIVATIONS.items()
}

_NOW, _BEFORE = "sentence_transformers", "sbert_ce_default_activation_function"
"""Keys of config.json that CrossEncoder writes, and wrote before version 4."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """The head of a teacher that scores texts, pairs of them, or their tokens.

    Attributes:
        output: What it gives, out of `nasc.architecture.heads`: SCORES, TOKENS or ANSWERS.
        labels: Names of the classes, in the order of the scores; of one score its name; of answers
            none.
        pooling: The first token's state and two linear layers, or of every token one.
        names: The layers as the files name them.
        paired: Whether two texts go in at a time: a question and a passage, for example.
        activation: What a CrossEncoder puts over the scores of pairs, out of
            `nasc.architecture.heads.SCORE_ACTIVATIONS`; empty of texts alone.
    """

    output: str
    labels: tuple[str, ...]
    pooling: Pooling
    names: tuple[str, ...]
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
    """The head that a teacher has; None where that is of no kind above, or has no weights.

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
            activation over the scores than those of `SCORE_ACTIVATIONS`; or if it answers questions
            by another number of scores than two.
    """
    named = (config.get("architectures") or [""])[0]
    output = next((kind for end, kind in _KINDS.items() if named.endswith(end)), None)
    if output is None:
        return None
    first, last, activation = _LAYERS.get(geometry.family, ("head.dense", "classifier", "gelu"))
    last = _OF_TOKENS.get(output, last)
    if f"{last}.weight" not in tensor_names(files, geometry.family):
        return None
    if geometry.family not in _LAYERS:
        raise files.unsupported(
            CONFIG, "architectures", [named], "encoders alone of this family, without such a head"
        )
    files.json(CONFIG, _SCHEMA)
    labels = _labels(files, config)
    if output == ANSWERS and len(labels) != 2:
        raise files.unsupported(
            CONFIG, "num_labels", len(labels), "2: the scores of a first and of a last token"
        )
    scores = DenseShape(len(labels), "identity")
    if output != SCORES:
        answers = output == ANSWERS
        one = Pooling("mean", False, (scores,))
        return Classifier(output, () if answers else labels, one, (last,), answers)
    problem = config.get("problem_type")
    count = len(labels)
    if count > 1 and problem not in (None, "single_label_classification"):
        raise files.unsupported(
            CONFIG, "problem_type", problem, '"single_label_classification", or no such key'
        )
    paired = paired or count == 1 or not {_NOW, _BEFORE}.isdisjoint(config)
    return Classifier(
        output,
        labels,
        Pooling("cls", False, (DenseShape(geometry.hidden, activation), scores)),
        (first, last),
        paired,
        _activation(files, config, count, put_over) if paired else "",
    )


def _labels(files: TeacherFiles, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes.

    Raises:
        TeacherDamaged: See `read_classifier`.
    """
    names = config.get("id2label") or {}
    count = len(names) if names else config.get("num_labels") or 2
    if {str(number) for number in range(count)} != set(names or map(str, range(count))):
        raise files.damaged(CONFIG, f"has id2label of {json_text(names)}; classes count from 0")
    if count > MAX_LABELS:
        raise files.damaged(CONFIG, f"has num_labels = {count}; the most is {MAX_LABELS}")
    labels = tuple(names.get(str(number), f"LABEL_{number}") for number in range(count))
    if wrong := [label for label in labels if not label or not all(map(is_printable, label))]:
        raise files.damaged(CONFIG, f"has id2label with {json_text(wrong[0])}, which is no name")
    return labels


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
