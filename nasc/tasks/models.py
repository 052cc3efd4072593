"""Models of transformers with a task's head, from folders and back, and what they read and give."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from device_profiles.reading import FileRefused, read_json
from nasc.architecture.heads import SPANS
from nasc.errors import ExportError, TeacherMissing
from nasc.evaluation.encoder import Encoder
from nasc.hf import NascForQuestionAnswering, NascForSequenceClassification
from nasc.networks.network import Network
from nasc.tasks.glue import Examples, Task
from nasc.tasks.squad import Window
from nasc.teacher import quiet_transformers
from nasc.teacher.reading_library import read_by_transformers

RECORD = "nasc_finetune.json"
"""Beside a fine-tuned model: its task, settings and scores."""

_RECORD_SCHEMA = {
    "type": "object",
    "properties": {
        "task": {"type": "string"},
        "max_length": {"type": "integer", "minimum": 1, "maximum": 1 << 20},
    },
}


def read_record(folder: str | Path) -> Mapping[str, Any]:
    """What stands beside a fine-tuned model; empty where it is no such record, or none does."""
    try:
        found: dict[str, Any] = read_json(Path(folder) / RECORD, schema=_RECORD_SCHEMA)
    except (OSError, FileRefused):
        return {}
    return found


LABELS = ("labels", "start_positions", "end_positions")
"""What of a row is the answer, not the question."""


def label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """What a model's configuration says of its classes; without any, of a regression."""
    if not labels:
        return {"problem_type": "regression", "num_labels": 1}
    return {
        "problem_type": "single_label_classification",
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }


Row = dict[str, Any]
"""What a model reads of one example: ids, masks and labels, unpadded."""


Outputs = dict[str, NDArray[np.float32]]
"""What a model gives for one row: ``logits``, or ``start_logits`` and ``end_logits``."""


def _counts_from_padding(config: PreTrainedConfig) -> bool:
    """Whether a model's positions begin behind its padding token's number: RoBERTa and its kin."""
    return "roberta" in config.model_type or config.model_type == "camembert"


def _named(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of classes in lower case; none where they are but numbers."""
    nameless = any(re.fullmatch(r"(label_)?\d+", label.lower()) for label in labels)
    return () if nameless else tuple(label.lower() for label in labels)


def _head(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The modules that are no part of a model's body, by name."""
    body = model.base_model_prefix
    return {
        name: module
        for name, module in model.named_modules()
        if name and name.partition(".")[0] != body
    }


@torch.no_grad()
def _reorder(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Put the classes of a model's last layer into another order."""
    last = [m for m in _head(model).values() if isinstance(m, nn.Linear)][-1]
    last.weight.copy_(last.weight[list(order)].clone())
    if last.bias is not None:
        last.bias.copy_(last.bias[list(order)].clone())


def _renew_head(model: PreTrainedModel, seed: int) -> list[str]:
    """Give a model's head new random weights; the names of these."""
    head = _head(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in head.values():
            for tensor in module.parameters(recurse=False):
                tensor._is_hf_initialized = False  # type: ignore[attr-defined]
            model._init_weights(module)
    return sorted(n for n, _ in model.named_parameters() if n.rpartition(".")[0] in head)


@dataclass(frozen=True, slots=True, eq=False)
class Reader(ABC):
    """How a model with a task's head reads examples.

    Attributes:
        tokenizer: A fast one of transformers.
    """

    tokenizer: PreTrainedTokenizerBase

    @property
    def _inputs(self) -> list[str]:
        names = ("input_ids", "attention_mask", "token_type_ids")
        return [name for name in names if name in self.tokenizer.model_input_names]

    def example_rows(self, examples: Examples, max_length: int) -> list[Row]:
        """Labelled examples, cut to so many tokens."""
        columns = zip(*examples.texts, strict=True)
        encoded = self.tokenizer(*map(list, columns), truncation=True, max_length=max_length)
        kind = int if examples.task.labels else float
        return [
            {name: encoded[name][i] for name in self._inputs} | {"labels": kind(label)}
            for i, label in enumerate(examples.labels)
        ]

    def window_rows(self, windows: Sequence[Window]) -> list[Row]:
        """Windows of passages with the places of their answers."""
        rows = []
        for window in windows:
            row = {
                "input_ids": list(window.input_ids),
                "attention_mask": [1] * len(window.input_ids),
                "token_type_ids": list(window.token_type_ids),
            }
            answer = {"start_positions": window.start, "end_positions": window.end}
            rows.append({name: row[name] for name in self._inputs} | answer)
        return rows

    @abstractmethod
    def run(self, rows: Sequence[Row], batch_size: int = 16) -> list[Outputs]:
        """What the model gives for each row, padding left off."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskModel(Reader):
    """A model of transformers with a task's head.

    Attributes:
        model: Of transformers.
        new: Names of weights that were not in its folder, or of another size: a new head's.
        classes: Names of its classes in its folder, in lower case; empty where they have none.
    """

    model: PreTrainedModel
    new: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def for_classes(cls, folder: str | Path, task: Task, seed: int = 0) -> TaskModel:
        """A model that classifies; a head that it has not, or of other classes, is new.

        Where its classes and the task's have names, those decide: classes in another order are put
        into the task's. Classes without names count as being in that order.

        Args:
            folder: Folder or hub id of a pre-trained or fine-tuned model, safetensors only.
            task: Decides the head's outputs.
            seed: Of a new head's weights.

        Raises:
            TeacherMissing: If there is none, it cannot be read, or weights of its body are missing.
        """
        found = cls._load(
            AutoModelForSequenceClassification, folder, seed, **label_fields(task.labels)
        )
        theirs, ours = found.classes, _named(task.labels)
        if found.new or not theirs or not ours or theirs == ours:
            return found
        if sorted(theirs) == sorted(ours):
            _reorder(found.model, [theirs.index(name) for name in ours])
            return found
        return dataclasses.replace(found, new=tuple(_renew_head(found.model, seed)))

    @classmethod
    def for_spans(cls, folder: str | Path, seed: int = 0) -> TaskModel:
        """A model that answers questions by spans: see `for_classes`."""
        return cls._load(AutoModelForQuestionAnswering, folder, seed, num_labels=2)

    @classmethod
    def _load(cls, auto: Any, folder: str | Path, seed: int, **head: Any) -> TaskModel:
        hint = "Give a folder of transformers, for example one of nasc distill"
        with (
            read_by_transformers(folder, "no model that can be fine-tuned", hint),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            model, info = auto.from_pretrained(
                str(folder),
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                **head,
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise TeacherMissing(
                f"no vocabulary in '{folder}': copy the tokenizer's files there from the model "
                "that it was trained from"
            )
        if _counts_from_padding(config) and config.pad_token_id is None:
            raise TeacherMissing(
                f"no model that can be fine-tuned at '{folder}': config.json has pad_token_id = "
                "null, the token behind which its positions begin"
            )
        new = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
        body = f"{model.base_model_prefix}."
        # A pooler belongs to a head: models that were trained without one do not have it.
        lost = [name for name in new if name.startswith(body) and ".pooler." not in name]
        if lost:
            raise TeacherMissing(
                f"the weights in '{folder}' are not those of its config.json: {lost[0]} is missing "
                f"or of another size, as are {len(lost) - 1} more. Write the folder again"
            )
        names = [str(name) for _, name in sorted((config.id2label or {}).items())]
        return cls(tokenizer, model, tuple(new), _named(names))

    @property
    def outputs(self) -> int:
        """Numbers that it gives: a sentence's classes, or two a token."""
        return int(self.model.config.num_labels or 1)

    @property
    def max_length(self) -> int | None:
        """Tokens that it reads at most; None where its configuration does not say."""
        config = self.model.config
        most = getattr(config, "max_position_embeddings", None)
        # RoBERTa's positions begin behind that of padding.
        offset = config.pad_token_id + 1 if _counts_from_padding(config) else 0
        return most - offset if isinstance(most, int) else None

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that its outputs depend on: weights, configuration, vocabulary."""
        found = hashlib.sha256(self.model.config.to_json_string().encode())
        found.update(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
        for name, value in sorted(self.model.state_dict().items()):
            found.update(name.encode())
            found.update(value.cpu().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()

    @torch.no_grad()
    def run(
        self,
        rows: Sequence[Row],
        batch_size: int = 16,
        on_rows: Callable[[int], None] | None = None,
    ) -> list[Outputs]:
        """See `Reader.run`; `on_rows` is told after each batch how many rows are done."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        collate = DataCollatorWithPadding(self.tokenizer)
        found: dict[int, Outputs] = {}
        self.model.eval()
        for begin in range(0, len(order), batch_size):
            chosen = order[begin : begin + batch_size]
            asked = [{k: v for k, v in rows[i].items() if k not in LABELS} for i in chosen]
            batch = {k: v.to(self.model.device) for k, v in collate(asked).items()}
            given = {k: v.float().cpu().numpy() for k, v in self.model(**batch).items()}
            for place, i in enumerate(chosen):
                length = len(rows[i]["input_ids"])
                found[i] = {
                    name: value[place] if name == "logits" else value[place][:length]
                    for name, value in given.items()
                }
            if on_rows is not None:
                on_rows(len(found))
        return [found[i] for i in range(len(rows))]

    def network(self) -> Network:
        """The finished network of a subnet, for the emitter.

        Raises:
            ExportError: If the model is no subnet.
        """
        if not isinstance(self.model, NascForSequenceClassification | NascForQuestionAnswering):
            raise ExportError(f"{type(self.model).__name__} is no subnet of nasc")
        return self.model.network()

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Write model, tokenizer and what is known of it.

        Raises:
            OSError: If it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        (folder / RECORD).write_text(json.dumps(dict(record), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class OnnxTaskModel(Reader):
    """A lowered network with a task's head.

    Attributes:
        encoder: The file.
    """

    encoder: Encoder

    def run(self, rows: Sequence[Row], batch_size: int | None = None) -> list[Outputs]:
        """See `Reader.run`; None is the encoder's batch size."""
        given = self.encoder.outputs([row["input_ids"] for row in rows], batch_size)
        if self.encoder.head == SPANS:
            return [{"start_logits": starts, "end_logits": ends} for starts, ends in given]
        return [{"logits": scores} for scores in given]
