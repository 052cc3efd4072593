"""A subnet cut from the supernet, its border maps merged, computes the supernet's path."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nasc.architecture.space import Geometry, SearchSpace
from nasc.data.batching import pad
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.networks.torch_network import Mask, mean_pool
from nasc.supernet.supernet import Supernet
from nasc.teacher import EmbeddingWeights, LayerWeights, Teacher, TeacherGeometry

GEOMETRY = Geometry(
    layers=3, hidden=64, head_size=16, intermediate=256, vocab_size=100, max_positions=64
)
SPACE = SearchSpace("tiny", GEOMETRY, n_blocks=3, slots=2, hidden_sizes=(32, 48, 64))


def random_supernet() -> Supernet:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, mean: float = 0.0) -> torch.Tensor:
        return mean + torch.randn(*shape, generator=generator) * shape[-1] ** -0.5

    h, inner = GEOMETRY.hidden, GEOMETRY.intermediate
    fields = dataclasses.fields(LayerWeights)
    names = [field.name for field in fields if field.default is dataclasses.MISSING]
    shapes = {"ff1_w": (inner, h), "ff1_b": (inner,), "ff2_w": (h, inner), "ff2_b": (h,)}

    def weights(name: str) -> torch.Tensor:
        if name.startswith("ln"):
            return draw(h, mean=float(name.endswith("_w")))
        return draw(*shapes.get(name, (h, h) if name.endswith("_w") else (h,)))

    teacher = Teacher(
        geometry=TeacherGeometry("bert", 3, h, 4, 16, inner, 100, 64, 2, 1e-12, 0, 0),
        name="tiny",
        source="random",
        sha256="0" * 64,
        tokenizer=None,  # type: ignore[arg-type]
        max_length=64,
        embeddings=EmbeddingWeights(draw(100, h), draw(64, h), draw(h), draw(h, mean=1.0), draw(h)),
        layers=tuple(LayerWeights(**{name: weights(name) for name in names}) for _ in range(3)),
    )
    supernet = Supernet(SPACE, teacher)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.copy_(draw(*parameter.shape))
    return supernet


@pytest.mark.parametrize(
    "text",
    [
        "keep | keep | keep",
        "32: M F | 32: M F | 32: M F",
        "48: S3 | 32: M S7 | 64: F",
        "32: F | keep | 48: S5 M",
        "64: M | keep | 64: F",
    ],
)
def test_a_cut_subnet_with_merged_borders_equals_the_path(text: str, tmp_path: Path) -> None:
    supernet = random_supernet()
    architecture = SPACE.parse(text)
    rng = np.random.default_rng(0)
    ids, mask = pad([rng.integers(1, 100, n).tolist() for n in (1, 7, 64)])
    with torch.no_grad():
        torch_mask = Mask.of(torch.from_numpy(mask))
        x = supernet(supernet.embed(torch.from_numpy(ids)), torch_mask, architecture.blocks)
        wanted = torch.nn.functional.normalize(mean_pool(x, torch_mask), dim=-1).numpy()
    network = supernet.extract(architecture)
    emit(network, tmp_path / "m.onnx")
    found = Encoder(tmp_path / "m.onnx").run(ids, mask)
    assert np.abs(found - wanted).max() < 1e-5
