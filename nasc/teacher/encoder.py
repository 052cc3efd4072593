"""The teacher: an encoder of one of `FAMILIES` in one plain structure.

Families differ in the names of their tensors and in small matters (position offset, token
types). All of that ends here: the rest of NASC sees `TeacherGeometry`, `EmbeddingWeights`
and `LayerWeights`, whatever the family.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from nasc.architecture.heads import (
    ANSWERS,
    HEADS,
    MEAN,
    TOKENS,
    Pooling,
    gives_spans,
    gives_states,
    is_task_head,
    scores_tokens,
)
from nasc.architecture.space import GELU, Geometry
from nasc.data.batching import without_padding
from nasc.data.prompts import NO_PROMPTS, Prompts
from nasc.data.texts import Text, columns
from nasc.data.tokens import Batch, Tokens
from nasc.errors import UnsupportedFamily, UsageError
from nasc.utils.masking import MASKED
from nasc.utils.torch_activation import activate
from nasc.utils.torch_dense import apply_dense, finish_vector
from nasc.utils.torch_pooling import pool
from nasc.utils.torch_positions import position_scores
from nasc.utils.torch_rotary import rotate, rotation, window_scores
from nasc.utils.torch_segments import segments


@dataclass(frozen=True, slots=True)
class TeacherGeometry:
    """Sizes and conventions of a teacher.

    Attributes:
        family: One of `FAMILIES`.
        layers: Transformer layers.
        hidden: Hidden size.
        heads: Attention heads per layer.
        head_size: Size of one head; `heads` times it is `hidden`.
        intermediate: Inner size of the feed-forward layers.
        vocab_size: Rows of the word embedding.
        max_positions: Longest input in tokens.
        type_vocab_size: Token types; 0 where the family has none.
        layer_norm_eps: Added to the variance in layer normalisation.
        position_offset: Row of the position embedding that belongs to the first token.
        pad_id: Token id of padding.
        activation: Of the feed-forward layers, out of `nasc.architecture.space.ACTIVATIONS`.
        embedding: See `nasc.architecture.space.Geometry`; buckets and separator alike.
        buckets: See embedding.
        separator: See embedding.
        rotary: Of each layer, where positions are rotations: the base of its frequencies, and the
            tokens to either side that a token sees, 0 for all; empty where they are not.
        pre_norm: See `nasc.architecture.space.Geometry`.
        gated: See pre_norm.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    head_size: int
    intermediate: int
    vocab_size: int
    max_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    position_offset: int
    pad_id: int
    activation: str = GELU
    embedding: int | None = None
    buckets: int | None = None
    separator: int | None = None
    rotary: tuple[tuple[float, int], ...] = ()
    pre_norm: bool = False
    gated: bool = False

    def __post_init__(self) -> None:
        if self.heads * self.head_size != self.hidden:
            raise UnsupportedFamily(
                f"teacher: {self.heads} heads of size {self.head_size} do not make up its hidden "
                f"size {self.hidden}"
            )

    def for_space(self) -> Geometry:
        """The part of it that a search space depends on."""
        return Geometry(
            layers=self.layers,
            hidden=self.hidden,
            head_size=self.head_size,
            intermediate=self.intermediate,
            vocab_size=self.vocab_size,
            max_positions=self.max_positions,
            activation=self.activation,
            embedding=self.embedding,
            buckets=self.buckets,
            separator=self.separator,
            rotary=bool(self.rotary),
            pre_norm=self.pre_norm,
            gated=self.gated,
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingWeights:
    """Weights of the embedding.

    Attributes:
        word: (vocab_size, size), size being that of the rows: `embedding`, or `hidden`.
        position: (rows, size); the first token's row is `position_offset`. None where positions
            are rotations.
        token_type: (size,), the row of token type 0; zeros where the family has none.
        ln_weight: (size,).
        ln_bias: (size,).
        map_weight: (hidden, size), behind the normalisation; None without `embedding`.
        map_bias: (hidden,); None without `embedding`.
        segment: (size,), the row of token type 1 less that of 0; None without `separator`.
    """

    word: Tensor
    position: Tensor | None
    token_type: Tensor
    ln_weight: Tensor
    ln_bias: Tensor
    map_weight: Tensor | None = None
    map_bias: Tensor | None = None
    segment: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """Weights of one transformer layer, matrices as (out, in) like torch.nn.Linear.

    Attributes:
        q_w: (hidden, hidden), heads one after the other in the rows; k_w, v_w alike.
        q_b: (hidden,); k_b, v_b alike.
        k_w: See q_w.
        k_b: See q_b.
        v_w: See q_w.
        v_b: See q_b.
        o_w: (hidden, hidden), heads one after the other in the columns.
        o_b: (hidden,).
        ln1_w: (hidden,), of the normalisation after attention; before it with `pre_norm`.
        ln1_b: (hidden,).
        ff1_w: (intermediate, hidden).
        ff1_b: (intermediate,).
        ff2_w: (hidden, intermediate).
        ff2_b: (hidden,).
        ln2_w: (hidden,), of the normalisation after the feed-forward part.
        ln2_b: (hidden,).
        bucket_bias: (buckets, heads), what relative positions add to attention scores; None
            without `buckets`.
        gate_w: (intermediate, hidden), what the activated values are multiplied with; None without
            `gated`, as gate_b.
        gate_b: (intermediate,).
        frequencies: (head_size / 2,), radians a position; None where those are no rotations, as
            window.
        window: (1,), tokens to either side that a token sees; 0 for all.
        normed: (1,), 0 where attention reads its input as it is, else 1; None without `pre_norm`.
            Then ln1_w is 1 and ln1_b 0.
    """

    q_w: Tensor
    q_b: Tensor
    k_w: Tensor
    k_b: Tensor
    v_w: Tensor
    v_b: Tensor
    o_w: Tensor
    o_b: Tensor
    ln1_w: Tensor
    ln1_b: Tensor
    ff1_w: Tensor
    ff1_b: Tensor
    ff2_w: Tensor
    ff2_b: Tensor
    ln2_w: Tensor
    ln2_b: Tensor
    bucket_bias: Tensor | None = None
    gate_w: Tensor | None = None
    gate_b: Tensor | None = None
    frequencies: Tensor | None = None
    window: Tensor | None = None
    normed: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NormWeights:
    """Weights of the normalisation behind all layers.

    Attributes:
        weight: (hidden,).
        bias: (hidden,).
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DenseWeights:
    """Weights of one linear layer behind the pooling (Dense of sentence-transformers).

    Attributes:
        weight: (outputs, inputs).
        bias: (outputs,); zeros where it has none.
    """

    weight: Tensor
    bias: Tensor


_Weights = TypeVar("_Weights", EmbeddingWeights, LayerWeights, NormWeights, DenseWeights)


def sentence_vectors(
    hidden_state: Tensor,
    attention_mask: Tensor,
    pooling: Pooling = MEAN,
    dense: Sequence[DenseWeights] = (),
) -> Tensor:
    """Vectors of texts out of hidden states: (batch, `Pooling.size`).

    Args:
        hidden_state: Of the last layer, (batch, seq_len, hidden).
        attention_mask: (batch, seq_len), 1 for real tokens and 0 for padding.
        pooling: How; the mean over real tokens, scaled to length 1, unless told otherwise.
        dense: Weights of the layers that `pooling` names.
    """
    real = attention_mask[:, :, None].to(hidden_state.dtype)
    vectors = pool(hidden_state, real, pooling.mode)
    return finish_vector(vectors, dense_tensors(dense), pooling)


def dense_tensors(dense: Sequence[DenseWeights]) -> dict[str, Tensor]:
    """Linear layers by the names of `nasc.networks.network.tensor_shapes`."""
    found: dict[str, Tensor] = {}
    for place, weights in enumerate(dense, 1):
        found |= {f"dense{place}_weight": weights.weight, f"dense{place}_bias": weights.bias}
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A teacher: its weights, its tokenizer, and its hidden states.

    Its sentence vectors are those of its own library.

    Attributes:
        geometry: Its sizes.
        name: Short name, for people.
        source: Where it came from: a folder, a hub id, or the default teacher's package.
        sha256: Of its weight file; of the digests of all of them where there are several.
        tokenizer: A fast tokenizer of transformers, without truncation or padding of its own.
        max_length: Tokens that a sentence is cut to unless told otherwise: what its makers
            recommend, at most `geometry.max_positions`.
        embeddings: Weights of its embedding.
        layers: Weights of its layers.
        norm: Behind all layers; None without `pre_norm`.
        folder: Where its files are; None of one that was made in memory.
        pooling: How sentence vectors are made of its hidden states.
        dense: Weights of the linear layers that `pooling` names.
        prompts: The default one stands before every text that it tokenises.
        output: What it gives: ``embed``, or by a head of its own scores of texts or tokens
            (`nasc.architecture.heads.SCORES`, TOKENS, ANSWERS).
        labels: Names of the classes that such a head scores; of one score its name.
        paired: Whether that head scores two texts at a time.
        activation: What its library puts over those scores, out of
            `nasc.architecture.heads.SCORE_ACTIVATIONS`; empty where `paired` is false.
    """

    geometry: TeacherGeometry
    name: str
    source: str
    sha256: str
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    embeddings: EmbeddingWeights
    layers: tuple[LayerWeights, ...]
    norm: NormWeights | None = None
    folder: Path | None = None
    pooling: Pooling = MEAN
    dense: tuple[DenseWeights, ...] = ()
    prompts: Prompts = NO_PROMPTS
    output: str = "embed"
    labels: tuple[str, ...] = ()
    paired: bool = False
    activation: str = ""

    @property
    def vector_size(self) -> int:
        """Numbers of a sentence vector."""
        return self.pooling.size(self.geometry.hidden)

    def head(self, output: str = "embed") -> str:
        """The head of networks that follow it: see `nasc.architecture.heads.Pooling.head`."""
        return self.pooling.head(self.output if output == "embed" else output)

    def own_head(self, asked: str | None) -> str:
        """The head that is asked for, with this teacher's pooling; a task's as it is.

        Args:
            asked: See `nasc.architecture.heads`; None is its own.

        Raises:
            UsageError: If it names another pooling than the teacher's, or states of tokens of a
                teacher whose vectors are more than these pooled.
        """
        if asked is None:
            return self.head()
        if is_task_head(asked):
            return asked
        if gives_states(asked) and not self.pooling.plain:
            raise UsageError(
                f"--head {asked}: vectors of the teacher {self.name!r} are more than the pooled "
                "states of its tokens (Dense or truncate_dim of modules.json, or a head), so that "
                "no package of states gives them. Leave --head out"
            )
        own = self.head("hidden" if gives_states(asked) else "embed")
        if asked not in (own, *HEADS):
            raise UsageError(
                f"--head {asked}: teacher {self.name!r} makes its vectors by the head {own!r}. "
                f"Leave --head out, or take one of {', '.join(HEADS)}"
            )
        return own

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embeddings.word.device

    @property
    def fingerprint(self) -> str:
        """Sha256 of all that vectors depend on: weights, tokenizer, sizes, conventions, length.

        What the tokenizer was last told to cut or pad is left out: every call tells it anew.
        """
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        geometry = asdict(self.geometry)
        for name in ("embedding", "buckets", "separator"):
            if geometry[name] is None:  # as below
                del geometry[name]
        for name in ("rotary", "pre_norm", "gated"):
            if not geometry[name]:
                del geometry[name]
        about = {
            "weights": self.sha256,
            "tokenizer": tokenizer | {"truncation": None, "padding": None},
            "geometry": geometry,
            "max_length": self.max_length,
        }
        if self.pooling != MEAN:  # left out where it is as it always was: caches are by this
            how = {"mode": self.pooling.mode, "scaled": self.pooling.scaled}
            about["pooling"] = how if self.pooling.plain else asdict(self.pooling)
        if self.dense:
            digest = hashlib.sha256()
            for one in self.dense:
                digest.update(one.weight.cpu().numpy().tobytes() + one.bias.cpu().numpy().tobytes())
            about["dense"] = digest.hexdigest()
        if self.labels:
            about["labels"] = list(self.labels)
        if self.output in (TOKENS, ANSWERS):
            about["output"] = self.output
        if self.paired:
            about["paired"] = self.activation
        if self.prompts.before:
            about["prompt"] = self.prompts.before
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def with_prompt(self, names: Sequence[str]) -> Self:
        """The same teacher with the first prompt of some names that it has before every text.

        Args:
            names: `nasc.data.prompts.QUERY` or `DOCUMENT`.
        """
        return replace(self, prompts=self.prompts.for_all(names))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """The same teacher on another device, perhaps in another floating-point type."""

        def moved(weights: _Weights) -> _Weights:
            present = {
                name: value.to(device=device, dtype=dtype)
                for name in weights.__dataclass_fields__
                if (value := getattr(weights, name)) is not None
            }
            return replace(weights, **present)

        return replace(
            self,
            embeddings=moved(self.embeddings),
            layers=tuple(map(moved, self.layers)),
            norm=None if self.norm is None else moved(self.norm),
            dense=tuple(map(moved, self.dense)),
        )

    @torch.no_grad()
    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        """Output of the embedding and of every layer, the last one's normalised with `pre_norm`.

        Args:
            input_ids: (batch, seq_len), right-padded.
            attention_mask: (batch, seq_len), 1 for real tokens and 0 for padding; every
                sentence has a real token.

        Returns:
            layers + 1 tensors (batch, seq_len, hidden), the embedding's first. Values at
            padding are arbitrary.

        Raises:
            UsageError: If the sentences are longer than the teacher's positions.
        """
        g, e = self.geometry, self.embeddings
        batch, seq_len = input_ids.shape
        if seq_len > g.max_positions:
            raise UsageError(
                f"{seq_len} tokens: the teacher '{self.name}' takes up to {g.max_positions}"
            )
        x = functional.embedding(input_ids, e.word)
        if e.position is not None:
            x = x + (e.position[g.position_offset : g.position_offset + seq_len] + e.token_type)
        if g.separator is not None and e.segment is not None:
            x = x + segments(input_ids, g.separator)[:, :, None] * e.segment
        x = functional.layer_norm(x, x.shape[-1:], e.ln_weight, e.ln_bias, g.layer_norm_eps)
        if e.map_weight is not None:
            x = functional.linear(x, e.map_weight, e.map_bias)
        real = attention_mask.bool()
        mask = None if bool(real.all()) else real[:, None, None, :]

        def heads(flat: Tensor) -> Tensor:
            return flat.view(batch, seq_len, g.heads, g.head_size).transpose(1, 2)

        def normalized(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return functional.layer_norm(x, (g.hidden,), weight, bias, g.layer_norm_eps)

        states = [x]
        for w in self.layers:
            scores = mask
            reads = g.pre_norm and w.normed is not None and bool(w.normed)
            read = normalized(x, w.ln1_w, w.ln1_b) if reads else x
            q, k = (
                heads(functional.linear(read, weight, bias))
                for weight, bias in ((w.q_w, w.q_b), (w.k_w, w.k_b))
            )
            if w.frequencies is not None and w.window is not None:
                by = rotation(w.frequencies, seq_len)
                q, k = rotate(q, by), rotate(k, by)
                scores = window_scores(w.window, seq_len)
                if scores is None:
                    scores = mask
                elif mask is not None:
                    scores = scores.masked_fill(~mask, MASKED)
            if w.bucket_bias is not None:
                scores = position_scores(w.bucket_bias, seq_len)
                if mask is not None:
                    scores = scores.masked_fill(~mask, -torch.inf)
            v = heads(functional.linear(read, w.v_w, w.v_b))
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=scores)
            mixed = mixed.transpose(1, 2).reshape(batch, seq_len, g.hidden)
            x = x + functional.linear(mixed, w.o_w, w.o_b)
            if not g.pre_norm:
                x = normalized(x, w.ln1_w, w.ln1_b)
            read = normalized(x, w.ln2_w, w.ln2_b) if g.pre_norm else x
            inner = activate(functional.linear(read, w.ff1_w, w.ff1_b), g.activation)
            if w.gate_w is not None:
                inner = inner * functional.linear(read, w.gate_w, w.gate_b)
            x = x + functional.linear(inner, w.ff2_w, w.ff2_b)
            if not g.pre_norm:
                x = normalized(x, w.ln2_w, w.ln2_b)
            states.append(x)
        if self.norm is not None:
            states[-1] = normalized(x, self.norm.weight, self.norm.bias)
        return states

    def tokenize(self, sentences: Sequence[Text], *, max_length: int | None = None) -> Tokens:
        """Token ids of sentences, the default prompt and special tokens included.

        Args:
            sentences: What to tokenise, all texts or all pairs; at least one.
            max_length: Tokens to cut a sentence to; None means `self.max_length`.

        Raises:
            UsageError: If `max_length` is more than the teacher's positions, or too short
                for the special tokens and one more.
        """
        if not sentences:
            raise ValueError("no sentences to tokenize")
        if max_length is None:
            max_length = self.max_length
        if not 3 <= max_length <= self.geometry.max_positions:
            raise UsageError(
                f"length {max_length}: the teacher '{self.name}' takes 3 to "
                f"{self.geometry.max_positions} tokens"
            )
        before = self.prompts.before
        first, second = columns(sentences)
        rows: list[list[int]] = self.tokenizer(
            [before + sentence for sentence in first],
            second,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate([[0], lengths.cumsum()])
        flat = np.fromiter(
            (token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1])
        )
        return Tokens(torch.from_numpy(flat), torch.from_numpy(offsets), self.geometry.pad_id)

    def encode(
        self,
        sentences: Sequence[Text],
        *,
        max_length: int | None = None,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> Batch:
        """Sentences as one batch, padded to the longest of them or to `max_length`.

        Raises:
            UsageError: See `tokenize`.
        """
        tokens = self.tokenize(sentences, max_length=max_length)
        length = None if padding == "longest" else max_length or self.max_length
        return tokens.batch(torch.arange(len(tokens)), length=length)

    def vectors(
        self, sentences: Sequence[Text], *, max_length: int | None = None, batch_size: int = 32
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Sentence vectors; see `sentence_vectors`.

        Returns:
            (sentences, `vector_size`), float32, in the order of the sentences.

        Raises:
            UsageError: See `tokenize`; or if it scores tokens.
        """
        if scores_tokens(self.head()):
            raise UsageError(f"the teacher {self.name!r} scores tokens: it has no vector of a text")
        return np.stack(self.outputs(sentences, max_length=max_length, batch_size=batch_size))

    def outputs(
        self, sentences: Sequence[Text], *, max_length: int | None = None, batch_size: int = 32
    ) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """What it gives for each sentence, in their order, padding left off.

        Returns:
            (`vector_size`,) each; of one that scores tokens (tokens, classes), or (2, tokens) of a
            first and a last token.

        Raises:
            UsageError: See `tokenize`.
        """
        tokens, head = self.tokenize(sentences, max_length=max_length), self.head()
        found: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for indices in tokens.buckets(batch_size):
            batch = tokens.batch(indices).to(self.device)
            last = self.hidden_states(batch.input_ids, batch.attention_mask)[-1].float()
            if scores_tokens(head):
                given = apply_dense(last, dense_tensors(self.dense), self.pooling)
                given = given.transpose(1, 2) if gives_spans(head) else given
            else:
                given = sentence_vectors(last, batch.attention_mask, self.pooling, self.dense)
            for index, row in zip(indices.tolist(), given.cpu().numpy(), strict=True):
                found[index] = without_padding(row, head, int(tokens.lengths[index]))
        return [found[index] for index in range(len(tokens))]
