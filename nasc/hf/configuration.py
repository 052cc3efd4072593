"""The configuration of a subnet as a model of transformers."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from nasc.architecture.space import GELU, Architecture, Block, Geometry
from nasc.errors import UsageError

POOLINGS = ("mean", "cls")
"""What a sentence is classified by: the mean of its tokens' states, or the first one's state."""


def check_geometry(geometry: Geometry) -> None:
    """Raise where no model of transformers is made of networks of a teacher.

    Raises:
        UsageError: With what takes them.
    """
    if geometry.rotary or geometry.pre_norm or geometry.gated:
        raise UsageError(
            "networks with rotary positions, gates or normalisation before layers (ModernBERT) are "
            "made as packages alone, without --task: nasc compile. Models of transformers and "
            "tasks are made of teachers of other families"
        )


class NascConfig(PreTrainedConfig):
    """Sizes and layers of a subnet.

    Attributes:
        blocks: hidden, operations and kept of every block, see `nasc.architecture.space.Block`.
        num_teacher_layers: Transformer layers of the teacher.
        hidden_size: Of the embedding and of the output: the teacher's.
        head_size: Of an attention head.
        intermediate_size: The teacher's; feed-forward layers keep its ratio.
        activation: Of the feed-forward layers, out of `nasc.architecture.space.ACTIVATIONS`.
        embedding_size: Of the embedding's rows where a linear layer maps them to the hidden size.
        buckets: Of relative positions, where attention knows them.
        separator: Token id behind whose first one token types are 1, where there are any.
        pooling: Out of `POOLINGS`.
        hidden_dropout_prob: Of every operation's output while training.
        classifier_dropout: Before the last layer of a task's head.
    """

    model_type = "nasc"

    blocks: list[dict[str, Any]] | None = None
    num_teacher_layers: int = 12
    hidden_size: int = 768
    head_size: int = 64
    intermediate_size: int = 3072
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    hidden_dropout_prob: float = 0.0
    classifier_dropout: float = 0.1
    activation: str = GELU
    embedding_size: int | None = None
    buckets: int | None = None
    separator: int | None = None
    pooling: str = "mean"
    pad_token_id: int | None = 0

    @classmethod
    def of(
        cls, architecture: Architecture, geometry: Geometry, layer_norm_eps: float, **other: Any
    ) -> NascConfig:
        """The configuration of an architecture for a teacher's geometry.

        Raises:
            UsageError: See `check_geometry`.
        """
        check_geometry(geometry)
        return cls(
            blocks=[
                {"hidden": b.hidden, "operations": list(b.operations), "kept": b.kept}
                for b in architecture.blocks
            ],
            num_teacher_layers=geometry.layers,
            hidden_size=geometry.hidden,
            head_size=geometry.head_size,
            intermediate_size=geometry.intermediate,
            vocab_size=geometry.vocab_size,
            max_position_embeddings=geometry.max_positions,
            layer_norm_eps=layer_norm_eps,
            activation=geometry.activation,
            embedding_size=geometry.embedding,
            buckets=geometry.buckets,
            separator=geometry.separator,
            **other,
        )

    @property
    def architecture(self) -> Architecture:
        """The layers; one kept teacher layer where none are given.

        Raises:
            UsageError: If the blocks make no architecture.
        """
        blocks = self.blocks or [
            {"hidden": self.hidden_size, "operations": ["mha", "ffn"], "kept": True}
        ]
        return Architecture(
            tuple(
                Block(int(b["hidden"]), tuple(b["operations"]), bool(b.get("kept", False)))
                for b in blocks
            )
        )

    @property
    def geometry(self) -> Geometry:
        """The teacher's sizes.

        Raises:
            UsageError: If they do not go together.
        """
        return Geometry(
            layers=self.num_teacher_layers,
            hidden=self.hidden_size,
            head_size=self.head_size,
            intermediate=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_positions=self.max_position_embeddings,
            activation=self.activation,
            embedding=self.embedding_size,
            buckets=self.buckets,
            separator=self.separator,
        )
