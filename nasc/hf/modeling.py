"""Subnets as models of transformers: the body, and heads for masked words, classes and spans.

The arithmetic is that of `nasc.networks.torch_network`, which the emitter repeats in ONNX. A subnet
has no token types: those of the teacher's first segment are folded into the positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
)

from nasc.architecture.heads import SPANS, classify
from nasc.architecture.layers import layers
from nasc.errors import ExportError
from nasc.hf.configuration import NascConfig
from nasc.networks.network import Array, Network, tensor_shapes
from nasc.networks.torch_network import Mask, apply_layer, mean_pool, normalized_rows
from nasc.utils.torch_activation import activate
from nasc.utils.torch_segments import segments


class NascPreTrainedModel(PreTrainedModel):
    """What the models of a subnet share."""

    config: NascConfig
    config_class = NascConfig
    base_model_prefix = "nasc"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if not isinstance(module, nn.ParameterDict):
            super()._init_weights(module)
            return
        for name, value in module.items():
            if name == "ln_weight":
                init.ones_(value)
            elif value.dim() == 1:
                init.zeros_(value)
            else:
                init.normal_(value, mean=0.0, std=self.config.initializer_range)


class NascModel(NascPreTrainedModel):
    """The body of a subnet: token ids to hidden states at the teacher's size."""

    def __init__(self, config: NascConfig) -> None:
        """Allocate the weights.

        Raises:
            UsageError: If the configuration makes no architecture.
        """
        super().__init__(config)
        self.geometry, self.eps = config.geometry, config.layer_norm_eps
        self.layers = layers(config.architecture, self.geometry, "hidden")
        shapes = [tensor_shapes(layer, self.geometry) for layer in self.layers]
        shapes[0].pop("word")
        self.word_embeddings = nn.Embedding(config.vocab_size, self.geometry.row_size)
        self.parts = nn.ModuleList(
            nn.ParameterDict({n: nn.Parameter(torch.empty(s)) for n, s in own.items()})
            for own in shapes
        )
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embedding."""
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.word_embeddings = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> BaseModelOutput | tuple[Tensor, ...]:
        """Hidden states.

        Args:
            input_ids: (batch, seq_len), right-padded.
            attention_mask: (batch, seq_len); None: nothing is padding.
            token_type_ids: (batch, seq_len), where networks know types; None finds them in the ids.
                Ignored where they know none.
            inputs_embeds: (batch, seq_len, row size) instead of the words' rows.
            output_hidden_states: Also those after the embedding and after every operation, at
                their own sizes.
            return_dict: False gives a tuple.
            unused: Other arguments of transformers' pipelines and trainers.

        Returns:
            last_hidden_state (batch, seq_len, hidden); hidden_states if asked for.

        Raises:
            ValueError: If not exactly one of ids and embeddings is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, one of them")
        x: Tensor = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if attention_mask is None:
            attention_mask = torch.ones(x.shape[:2], dtype=torch.long, device=x.device)
        first = self.parts[0]
        x = x + first["position"][: x.shape[1]]  # type: ignore[index]
        if self.geometry.separator is not None:
            if token_type_ids is None and input_ids is not None:
                token_type_ids = segments(input_ids, self.geometry.separator)
            if token_type_ids is not None:
                x = x + token_type_ids[:, :, None] * first["segment"]  # type: ignore[index]
        x = normalized_rows(first, x, self.eps)  # type: ignore[arg-type]
        mask, states = Mask.of(attention_mask, x.dtype), [x]
        for layer, part in zip(self.layers[1:-1], list(self.parts)[1:-1], strict=True):
            x = apply_layer(layer, part, self.dropout(x), mask, self.geometry, self.eps)  # type: ignore[arg-type]
            states.append(x)
        x = self._out(x)
        hidden = tuple(states) if output_hidden_states else None
        if return_dict is False:
            return (x,) if hidden is None else (x, hidden)  # type: ignore[return-value]
        return BaseModelOutput(last_hidden_state=x, hidden_states=hidden)

    def _out(self, x: Tensor) -> Tensor:
        last = self.parts[-1]
        if not len(last):  # type: ignore[arg-type]
            return x
        return functional.linear(x, last["weight"], last["bias"])  # type: ignore[index]

    @classmethod
    def from_network(cls, network: Network, **other: Any) -> NascModel:
        """A finished network with its weights.

        Args:
            network: With any head: the map to the teacher's size belongs to the body here.
            other: Further fields of the configuration.
        """
        config = NascConfig.of(
            network.architecture, network.geometry, network.layer_norm_eps, **other
        )
        model = cls(config)
        model.load_network(network)
        return model

    @torch.no_grad()
    def load_network(self, network: Network) -> None:
        """Take a network's weights; shapes must agree."""
        for part, tensors in zip(self.parts, network.tensors, strict=True):
            for name, value in tensors.items():
                if name.startswith("dense"):  # behind the pooling: no part of the body
                    continue
                own = self.word_embeddings.weight if name == "word" else part[name]  # type: ignore[index]
                own.copy_(torch.from_numpy(value))

    def network(self, head: str = "hidden") -> Network:
        """The body as a finished network, for the emitter.

        Args:
            head: ``hidden`` or ``embed``.
        """
        tensors = [dict(part.items()) for part in self.parts]  # type: ignore[operator]
        tensors[0]["word"] = self.word_embeddings.weight
        return Network(
            self.config.architecture, self.geometry, head, tuple(map(_arrays, tensors)), self.eps
        )

    def before(self, linear: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of a linear layer, with the body's last map before it merged in."""
        if not len(self.parts[-1]):  # type: ignore[arg-type]
            return linear.weight, linear.bias
        last: Any = self.parts[-1]
        return linear.weight @ last["weight"], linear.weight @ last["bias"] + linear.bias


class NascForMaskedLM(NascPreTrainedModel):
    """A subnet that predicts masked words; the output shares the word embedding's rows."""

    def __init__(self, config: NascConfig) -> None:
        """Allocate the weights."""
        super().__init__(config)
        self.nasc = NascModel(config)
        size = config.geometry.row_size  # as ALBERT and ELECTRA have it
        self.transform = nn.Linear(config.hidden_size, size)
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.bias = nn.ParameterDict({"bias": nn.Parameter(torch.empty(config.vocab_size))})
        self.post_init()

    @classmethod
    def from_network(cls, network: Network, **other: Any) -> NascForMaskedLM:
        """A finished network with a new head: see `NascModel.from_network`."""
        config = NascConfig.of(
            network.architecture, network.geometry, network.layer_norm_eps, **other
        )
        model = cls(config)
        model.nasc.load_network(network)
        return model

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        places: Tensor | None = None,
        **other: Any,
    ) -> MaskedLMOutput:
        """Scores of words.

        Args:
            input_ids: (batch, seq_len).
            attention_mask: (batch, seq_len).
            labels: (batch, seq_len), -100 where no word was masked.
            places: (batch, seq_len), boolean: only these are predicted. Not with labels.
            other: See `NascModel.forward`.

        Returns:
            logits (batch, seq_len, vocab_size), or (places, vocab_size); the loss if labels are
            given.
        """
        other["return_dict"] = True
        out = self.nasc(input_ids, attention_mask, **other)
        x = out.last_hidden_state if places is None else out.last_hidden_state[places]
        x = self.norm(activate(self.transform(x), self.config.activation))
        logits = functional.linear(x, self.nasc.word_embeddings.weight, self.bias["bias"])
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)


class NascForSequenceClassification(NascPreTrainedModel):
    """A subnet that classifies sentences or pairs, or scores them (one label: regression)."""

    def __init__(self, config: NascConfig) -> None:
        """Allocate the weights."""
        super().__init__(config)
        self.nasc = NascModel(config)
        self.pool = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 1)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **other: Any,
    ) -> SequenceClassifierOutput:
        """Scores of classes.

        Args:
            input_ids: (batch, seq_len).
            attention_mask: (batch, seq_len).
            labels: (batch,) classes, or numbers where there is one label.
            other: See `NascModel.forward`.

        Returns:
            logits (batch, labels); the loss if labels are given.
        """
        other["return_dict"] = True
        out = self.nasc(input_ids, attention_mask, **other)
        x = out.last_hidden_state
        if self.config.pooling == "cls":
            x = x[:, 0]
        elif attention_mask is None:
            x = x.mean(1)
        else:
            x = mean_pool(x, Mask.of(attention_mask, x.dtype))
        logits = self.classifier(self.dropout(torch.tanh(self.pool(x))))
        loss = None
        if labels is not None and self.config.num_labels == 1:
            loss = functional.mse_loss(logits[:, 0], labels.to(logits.dtype))
        elif labels is not None:
            loss = functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)

    def network(self) -> Network:
        """The finished network with its head, for the emitter.

        Raises:
            ExportError: If the sentence is not pooled by the mean.
        """
        if self.config.pooling != "mean":
            raise ExportError(f"pooling {self.config.pooling!r} cannot be exported, 'mean' can")
        weight, bias = self.nasc.before(self.pool)
        last = self.classifier
        tensors = {"pool_weight": weight, "pool_bias": bias}
        tensors |= {"weight": last.weight, "bias": last.bias}
        return self.nasc.network().with_head(classify(last.out_features), _arrays(tensors))


class NascForQuestionAnswering(NascPreTrainedModel):
    """A subnet that finds the span of a passage that answers a question."""

    def __init__(self, config: NascConfig) -> None:
        """Allocate the weights."""
        super().__init__(config)
        self.nasc = NascModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **other: Any,
    ) -> QuestionAnsweringModelOutput:
        """Scores of tokens as the first and the last of the answer.

        Args:
            input_ids: (batch, seq_len).
            attention_mask: (batch, seq_len).
            start_positions: (batch,) tokens; one outside the input counts for nothing.
            end_positions: (batch,).
            other: See `NascModel.forward`.

        Returns:
            start_logits and end_logits (batch, seq_len); the loss if both positions are given.
        """
        other["return_dict"] = True
        out = self.nasc(input_ids, attention_mask, **other)
        start, end = self.qa_outputs(out.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            beyond = start.shape[1]
            loss = sum(
                functional.cross_entropy(logits, p.clamp(0, beyond), ignore_index=beyond)
                for logits, p in ((start, start_positions), (end, end_positions))
            ) / torch.tensor(2.0)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start,
            end_logits=end,
            hidden_states=out.hidden_states,
        )

    def network(self) -> Network:
        """The finished network with its head, for the emitter."""
        weight, bias = self.nasc.before(self.qa_outputs)
        return self.nasc.network().with_head(SPANS, _arrays({"weight": weight, "bias": bias}))


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}
