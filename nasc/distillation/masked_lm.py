"""Pre-training by masked words, with the prediction of the teacher's own head for them.

NAS-BERT, Section 4.1.2: the loss is (1 - lambda) of that of the words themselves and lambda of the
Kullback-Leibler divergence from the teacher's prediction, lambda = 0.5. Words are masked as in BERT
(Devlin et al., 2019): 15%, of which 80% are hidden, 10% replaced and 10% left.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
)

from device_profiles.temporary import temporary_folder
from nasc.architecture.space import GELU, Architecture
from nasc.errors import UsageError
from nasc.hf.configuration import NascConfig
from nasc.hf.modeling import NascForMaskedLM, NascModel
from nasc.hf.training import BatchTrainer, arguments, run_trainer
from nasc.networks.network import Network
from nasc.supernet.budget import mean_step_s
from nasc.teacher.config import ROBERTAS
from nasc.teacher.reading_library import read_by_transformers
from nasc.utils.progress import Progress
from nasc.utils.torch_device import attention_without_cudnn

RECIPE = 1
"""Raised when the same configuration would give another network."""

HEADS: dict[str, tuple[str, str, str]] = {
    "bert": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "xlm-roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "camembert": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}
"""Where the models of transformers keep their head for masked words: a linear layer with GELU, its
normalisation, and the bias of the output, whose matrix is the word embedding."""


@dataclass(frozen=True, slots=True)
class MaskedConfig:
    """How to pre-train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Sentences in a batch.
        accumulate: Batches in a step.
        learning_rate: Peak; linear warm-up, then linear decay to 0 (5e-4 in the paper).
        warmup: Share of the steps that the learning rate rises in.
        weight_decay: Of AdamW.
        mask_share: Of the words.
        distill_weight: lambda.
        bf16: Products in bfloat16.
        seed: Of the order of the text and of the masks.

    Raises:
        UsageError: If a value is out of range.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    mask_share: float = 0.15
    distill_weight: float = 0.5
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UsageError(f"pre-training: {name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise UsageError(
                f"pre-training: learning_rate must be in (0, 1), got {self.learning_rate}"
            )
        for name in ("warmup", "mask_share", "distill_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"pre-training: {name} must be in [0, 1], got {getattr(self, name)}"
                )


def masked_teacher(full_size: Network, folder: str | Path) -> NascForMaskedLM | None:
    """The teacher with its head for masked words.

    None if its files hold none, or one with another activation than the layers': that of a RoBERTa
    is always the exact GELU (`RobertaLMHead`).

    Args:
        full_size: The teacher as a network.
        folder: Folder or hub id that it was loaded from.

    Raises:
        TeacherMissing, TeacherDamaged: If the files cannot be read.
    """
    with read_by_transformers(folder, "no teacher that can be read"):
        model, info = AutoModelForMaskedLM.from_pretrained(
            str(folder), use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    names = HEADS.get(model.config.model_type)
    other = model.config.model_type in ROBERTAS and full_size.geometry.activation != GELU
    if names is None or other or any(key.startswith(names) for key in info["missing_keys"]):
        return None
    found, weights = NascForMaskedLM.from_network(full_size), model.state_dict()
    dense, norm, bias = names
    with torch.no_grad():
        for own, name in ((found.transform, dense), (found.norm, norm)):
            own.weight.copy_(weights[f"{name}.weight"])
            own.bias.copy_(weights[f"{name}.bias"])
        found.bias["bias"].copy_(weights[bias])
    found.eval().requires_grad_(False)
    return found


def student_of(network: Network, teacher: NascForMaskedLM) -> NascForMaskedLM:
    """A network that predicts masked words, its head a copy of the teacher's."""
    model = NascForMaskedLM.from_network(network)
    for own, other in (
        (model.transform, teacher.transform),
        (model.norm, teacher.norm),
        (model.bias, teacher.bias),
    ):
        own.load_state_dict(other.state_dict())
    return model


def scratch(full_size: Network, architecture: Architecture, seed: int) -> Network:
    """A network with random weights and the teacher's embedding, to train from scratch."""
    config = NascConfig.of(architecture, full_size.geometry, full_size.layer_norm_eps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = NascModel(config).network()
    return dataclasses.replace(made, tensors=(full_size.tensors[0], *made.tensors[1:]))


class _Masked(BatchTrainer):
    """Trainer that masks words and asks a teacher for them."""

    masking: DataCollatorForLanguageModeling
    teacher: NascForMaskedLM
    weight: float = 0.5

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        ids = inputs["input_ids"]
        # Not the global generator: batches are read ahead, so that a resumed run would not find it
        # where it was.
        seed = hash((self.args.seed, self.state.global_step, int(ids.sum())))
        self.masking.generator = torch.Generator().manual_seed(seed % (1 << 63))
        hidden, labels = self.masking.torch_mask_tokens(ids.cpu())
        asked = inputs | {"input_ids": hidden.to(ids.device)}
        labels = labels.to(ids.device)
        places = labels >= 0
        if not bool(places.any()):  # a batch of very short texts
            places[:, 0] = True
            labels[:, 0] = ids[:, 0]
        found = model(**asked, places=places).logits
        loss = (1 - self.weight) * functional.cross_entropy(found, labels[places])
        with torch.no_grad():
            wanted = self.teacher(**asked, places=places).logits
        loss = loss + self.weight * functional.kl_div(
            found.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True
        )
        return (loss, found) if return_outputs else loss


@dataclass(frozen=True, slots=True, eq=False)
class Pretraining:
    """What a student is pre-trained on, and by whom.

    Attributes:
        teacher: Whose prediction helps.
        tokenizer: Of both; has a mask token.
        rows: Token ids of the text, special tokens included.
    """

    teacher: NascForMaskedLM
    tokenizer: PreTrainedTokenizerBase
    rows: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if self.tokenizer.mask_token is None:
            raise UsageError("the teacher's tokenizer has no mask token. Take --objective states")

    @attention_without_cudnn()
    def steps_in(self, student: NascForMaskedLM, config: MaskedConfig, seconds: float) -> int:
        """Steps that fit into a time."""
        if seconds <= 0:
            return 0
        with temporary_folder() as folder:
            trainer = self._trainer(student, config, folder)
            loader, device = trainer.get_train_dataloader(), trainer.args.device.type
            batches = (batch for _ in itertools.count() for batch in loader)

            def one(step: int) -> None:
                for _ in range(config.accumulate):
                    with torch.autocast(device, torch.bfloat16, enabled=config.bf16):
                        loss = trainer.compute_loss(student, next(batches))
                    loss.backward()
                student.zero_grad(set_to_none=True)

            return max(1, int(seconds / (1.15 * mean_step_s(one, seconds))))

    def run(
        self,
        student: NascForMaskedLM,
        config: MaskedConfig,
        work_dir: Path,
        progress: Progress | None = None,
    ) -> None:
        """Pre-train a student in place; goes on from a checkpoint if there is one.

        Args:
            student: To train.
            config: How.
            work_dir: Keeps checkpoints as the run goes.
            progress: Called with (steps done, steps in all, message).

        Raises:
            TrainingDiverged: If the loss is not finite.
        """
        run_trainer(self._trainer(student, config, work_dir), progress)

    def _trainer(self, student: NascForMaskedLM, config: MaskedConfig, work_dir: Path) -> _Masked:
        settings = arguments(
            work_dir,
            config.steps,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulate,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup,
            weight_decay=config.weight_decay,
            bf16=config.bf16,
            seed=config.seed,
        )
        rows = [{"input_ids": list(row), "attention_mask": [1] * len(row)} for row in self.rows]
        trainer = _Masked(student, settings, rows, DataCollatorWithPadding(self.tokenizer))
        trainer.masking = DataCollatorForLanguageModeling(
            self.tokenizer, mlm_probability=config.mask_share
        )
        nn.Module.to(self.teacher, trainer.args.device)
        trainer.teacher = self.teacher
        trainer.weight = config.distill_weight
        return trainer
