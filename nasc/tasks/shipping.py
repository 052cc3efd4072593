"""From a distilled subnet to one that does a task: fine-tuned with a head, scored as shipped."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nasc.architecture.heads import SPANS
from nasc.errors import TaskDataError, UsageError
from nasc.evaluation.encoder import OpenEncoder, open_here
from nasc.hf import NascForQuestionAnswering, NascForSequenceClassification
from nasc.hf.configuration import NascConfig
from nasc.hf.training import check_installed
from nasc.lowering import Artifact
from nasc.networks.network import Network
from nasc.tasks.data import (
    TaskData,
    check_length,
    default_length,
    load_tuned,
    read_task,
    task_files,
    task_head,
    task_labels,
    task_metrics,
    task_name,
    task_paired,
)
from nasc.tasks.finetune import RECIPE, FinetuneConfig, finetune
from nasc.tasks.hub import is_dataset
from nasc.tasks.models import OnnxTaskModel, TaskModel, label_fields
from nasc.utils.files import content_key, drop_changed, locked, record_files
from nasc.utils.progress import Progress, Reporter
from nasc.utils.torch_device import use_fastest_threads

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """A task that a package is to do, and how it learns it.

    Attributes:
        name: ``squad``, or a name of `nasc.tasks.glue.TASKS`.
        data: Folder of the task's published files, or its training file.
        dev_data: The dev file, where `data` is a file.
        examples: Only so many of the training file, spread over it; None takes all.
        config: How to fine-tune.

    Raises:
        UsageError: If the task is unknown, or files are named twice or not at all.
    """

    name: str
    data: Path
    dev_data: Path | None = None
    examples: int | None = None
    config: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", task_name(self.name))
        if self.data.is_dir() and self.dev_data is not None:
            raise UsageError(f"'{self.data}' is a folder with a dev file: leave --dev-data out")
        if not self.data.exists() and not is_dataset(self.data):
            raise UsageError(f"no data of {self.name} at '{self.data}': no such folder or file")
        if not self.data.is_dir() and self.dev_data is None:
            raise UsageError(f"'{self.data}' is no folder: name the dev file too: --dev-data FILE")

    @property
    def head(self) -> str:
        """Of `nasc.architecture.heads`."""
        return task_head(self.name)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty of regressions and spans."""
        return task_labels(self.name)

    @property
    def paired(self) -> bool:
        """Whether an example is two texts."""
        return task_paired(self.name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its scores, the score of record first."""
        return task_metrics(self.name)

    @property
    def max_length(self) -> int:
        """Tokens that an example is cut to."""
        return self.config.max_length or default_length(self.name)


class PackagedTask:
    """One task for the networks of one teacher.

    Attributes:
        options: As given.
    """

    def __init__(
        self,
        options: TaskOptions,
        full_size: Network,
        tokenizer: PreTrainedTokenizerBase,
        cache: Path,
        reporter: Reporter,
        batch: int = 1,
        open_encoder: OpenEncoder = open_here,
    ) -> None:
        """Read the task's files.

        Args:
            options: The task.
            full_size: The teacher as a network.
            tokenizer: The teacher's.
            cache: Keeps fine-tuned networks.
            reporter: Told of the progress.
            batch: Examples in a run of a file, when it is scored.
            open_encoder: Runs a file that is scored.

        Raises:
            UsageError: If a library is missing, or the teacher reads too few tokens.
            TaskDataError: From the files.
        """
        check_installed()
        self.options = options
        most = full_size.geometry.max_positions
        check_length(options.max_length, most, "the teacher", "--finetune-length")
        train, dev = (
            task_files(options.name, options.data)
            if options.dev_data is None
            else (options.data, options.dev_data)
        )
        self._train: TaskData = read_task(
            options.name, train, options.examples, dev=dev, say=reporter.say
        )
        self._dev: TaskData = read_task(options.name, dev, say=reporter.say)
        if self._train.key == self._dev.key:
            raise TaskDataError(f"'{train}' and '{dev}' hold the same examples")
        for data in (self._train, self._dev):
            data.check(tokenizer, options.max_length)
        self._full_size, self._tokenizer = full_size, tokenizer
        self._cache, self._reporter, self._batch = cache, reporter, batch
        self._open_encoder = open_encoder
        self._scored: dict[str, dict[str, float]] = {}

    def opening_by(self, open_encoder: OpenEncoder) -> PackagedTask:
        """The same task, whose files are run in another way when they are scored."""
        found = copy.copy(self)
        found._open_encoder = open_encoder
        return found

    @cached_property
    def _teacher(self) -> TaskModel:
        return self._tuned(self._full_size, None, "The teacher")

    @property
    def _told_path(self) -> Path:
        """What the teacher says of the examples, beside the teacher: all networks learn from it."""
        return self._folder(self._full_size, None) / "told.safetensors"

    @cached_property
    def teacher_scores(self) -> Mapping[str, float]:
        """Of the teacher fine-tuned the same way, in torch, on the dev file."""
        self._reporter.stage(f"The teacher's scores on {self.options.name}")(0, 1, "")
        return dict(self._dev.scores(self._teacher, self.options.max_length))

    def finetune(self, network: Network) -> Network:
        """A network with the task's head, fine-tuned with the fine-tuned teacher's help.

        Raises:
            TrainingDiverged: If a loss is not finite.
            CacheBusy: If another process does the same for an hour.
        """
        if network.architecture.is_teacher:
            tuned = self._teacher
        else:
            tuned = self._tuned(network, self._teacher, "The network")
        return dataclasses.replace(tuned.network(), architecture=network.architecture)

    def scores(self, artifact: Artifact) -> dict[str, float]:
        """Of an artifact as shipped, on the dev file; the score of record first."""
        key = artifact.sha256()
        if key not in self._scored:
            self._reporter.stage(f"Scores on {self.options.name}")(0, 1, f"{self._dev.count:,}")
            with self._open_encoder(artifact, batch_size=self._batch) as encoder:
                model = OnnxTaskModel(self._tokenizer, encoder)
                self._scored[key] = dict(self._dev.scores(model, self.options.max_length))
        return dict(self._scored[key])

    @property
    def dev_count(self) -> int:
        """Examples or questions of the dev file."""
        return self._dev.count

    @property
    def train_count(self) -> int:
        """Examples or questions learnt from."""
        return self._train.count

    def _folder(self, network: Network, teacher: TaskModel | None) -> Path:
        """Where a network is that was fine-tuned with a teacher's help or without."""
        options = self.options
        about = {
            "recipe": RECIPE,
            "network": network.with_precision("fp32").sha256(),
            "teacher": None if teacher is None else self._full_size.with_precision("fp32").sha256(),
            "task": options.name,
            "data": self._train.key,
            "max_length": options.max_length,
            "config": dataclasses.asdict(options.config),
        }
        return self._cache / "finetuned" / content_key(about)

    def _tuned(self, network: Network, teacher: TaskModel | None, who: str) -> TaskModel:
        options, folder = self.options, self._folder(network, teacher)
        with locked(folder, "the same fine-tuning", self._reporter.say):
            drop_changed(folder / "model", self._reporter.say)
            if not (folder / "model").is_dir():
                stage = f"{who} learns {options.name} from {self._train.count:,} examples"
                wide = network.with_precision("fp32")
                self._train_into(folder, wide, teacher, self._reporter.stage(stage))
            return load_tuned(folder / "model", options.name)

    def _train_into(
        self, folder: Path, network: Network, teacher: TaskModel | None, progress: Progress
    ) -> None:
        options = self.options
        model = TaskModel(self._tokenizer, task_model(network, options))
        use_fastest_threads()
        finetune(
            model,
            self._train.rows(model, options.max_length),
            options.config,
            work_dir=folder / "work",
            teacher=teacher,
            told_path=None if teacher is None else self._told_path,
            progress=progress,
        )
        part = folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        model.save(part, {"task": options.name, "max_length": options.max_length})
        record_files(part)
        part.rename(folder / "model")
        shutil.rmtree(folder / "work", ignore_errors=True)


def task_model(
    network: Network, options: TaskOptions
) -> NascForSequenceClassification | NascForQuestionAnswering:
    """A network as a model of transformers with a task's new head."""
    spans = options.head == SPANS
    config = NascConfig.of(
        network.architecture,
        network.geometry,
        network.layer_norm_eps,
        **({} if spans else label_fields(options.labels)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(options.config.seed)
        model = (NascForQuestionAnswering if spans else NascForSequenceClassification)(config)
    model.nasc.load_network(network)
    return model
