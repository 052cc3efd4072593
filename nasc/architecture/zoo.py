"""Architectures of the literature by name: those that NAS-BERT found, and those beside it.

From Table 10 and Table 2 of NAS-BERT (Xu et al., KDD 2021). A network with an embedding of
size E and layers of size H is one whose teacher has the hidden size E: a linear layer from E to
H follows the embedding, and one from H to E comes before the vocabulary. Layers of one size
are one block here, so that no other linear layer is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasc.architecture.layers import macs, params
from nasc.architecture.space import Architecture, Block, Geometry, operations_of_text
from nasc.errors import UsageError

VOCAB_SIZE = 30522
"""Of BERT-base, uncased."""


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A network of the literature, without weights.

    Attributes:
        name: To ask for it.
        architecture: Its layers.
        geometry: Sizes; `hidden` is that of its embedding.
        source: Where it stands.
        flops: Of a sentence of 128 tokens with the vocabulary's output, as the paper says;
            None where it does not.
        speedup: Over BERT-base as the paper says (12 cores of a Xeon E5-2690v4, batch 128,
            length 128); None where it does not.
    """

    name: str
    architecture: Architecture
    geometry: Geometry
    source: str
    flops: float | None = None
    speedup: float | None = None

    @property
    def params(self) -> int:
        """Parameters; the output shares the word embedding's."""
        return params(self.architecture, self.geometry, "hidden")

    def macs(self, seq_len: int = 128) -> int:
        """Multiply-accumulates of a sentence, the product with the vocabulary included."""
        body = macs(self.architecture, self.geometry, seq_len, "hidden")
        return body + self.geometry.hidden * self.geometry.vocab_size * seq_len


def _geometry(embedding: int) -> Geometry:
    return Geometry(
        layers=12,
        hidden=embedding,
        head_size=64,
        intermediate=4 * embedding,
        vocab_size=VOCAB_SIZE,
        max_positions=512,
    )


def _found(
    name: str, embedding: int, blocks: dict[int, str], flops: float | None, speedup: float | None
) -> ZooModel:
    parts = tuple(Block(h, operations_of_text(text)) for h, text in blocks.items())
    return ZooModel(
        name, Architecture(parts), _geometry(embedding), "NAS-BERT, Table 10", flops, speedup
    )


def _bert(name: str, layers: int, hidden: int, source: str, speedup: float | None) -> ZooModel:
    block = Block(hidden, ("mha", "ffn") * layers)
    return ZooModel(name, Architecture((block,)), _geometry(hidden), source, None, speedup)


_TABLE_2 = "NAS-BERT, Table 2"
ZOO: dict[str, ZooModel] = {
    model.name: model
    for model in (
        _found(
            "nas-bert-60m",
            512,
            {512: "S3 M M S7 F F  F M M S7 F F  M S5 M F S3 F  M M S5 F F F"},
            1.3e10,
            2.2,
        ),
        _found(
            "nas-bert-30m",
            256,
            {512: "S3 M S5 S7 F S5  M S7 S5 F S3 S5  M F S3 S7 M S3  F S5"},
            7.0e9,
            3.6,
        ),
        _found("nas-bert-10m", 128, {384: "S3 S5 M S3 S5 M S7 M S3 S7 M S3"}, 2.3e9, 8.7),
        _found("nas-bert-5m", 64, {192: "S3 S7 M S7 S7 M S3 M S7 S5 M S3"}, 8.7e8, 23.6),
        _bert("bert-base", 12, 768, "Devlin et al., 2019", 1.0),
        _bert("bert-60m", 10, 512, _TABLE_2, 2.2),
        _bert("bert-30m", 6, 512, _TABLE_2, 3.6),
        _bert("bert-10m", 6, 256, _TABLE_2, 9.1),
        _bert("bert-5m", 6, 128, _TABLE_2, 20.7),
    )
}
"""By name. The 25M network of Table 10 is not here: one of its kernel sizes is missing."""


def zoo_model(name: str) -> ZooModel:
    """A network of the literature.

    Raises:
        UsageError: If there is none of that name.
    """
    try:
        return ZOO[name]
    except KeyError:
        raise UsageError(f"unknown network {name!r}; known: {', '.join(ZOO)}") from None


def zoo_architecture(name: str, geometry: Geometry) -> Architecture:
    """A network of the literature for a teacher; its words and positions are the teacher's.

    Raises:
        UsageError: If there is none of that name, or the teacher's sizes are others.
    """
    model = zoo_model(name)
    sizes = {
        "embeddings": (model.geometry.hidden, geometry.hidden),
        "attention heads": (model.geometry.head_size, geometry.head_size),
        "feed-forward layers": (model.geometry.intermediate, geometry.intermediate),
    }
    for what, (needed, given) in sizes.items():
        if needed != given:
            raise UsageError(
                f"network {name!r} has {what} of size {needed}, this teacher of size {given}. Name "
                f"a teacher of hidden size {model.geometry.hidden} with heads of "
                f"{model.geometry.head_size}: --teacher DIR; or an architecture of this teacher's "
                "space, as in '384: M F | keep'"
            )
    return model.architecture
