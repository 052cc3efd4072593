"""Folders of tiny teachers that a test may change, as sentence-transformers writes them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

CHAIN = ("Transformer", "Pooling", "Normalize")


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON file, which is made where there is none."""
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def as_sentence_transformers(folder: Path, *kinds: str, **pooling: object) -> None:
    """Add the files by which sentence-transformers says how vectors are made."""
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds or CHAIN)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    edit_json(folder / "1_Pooling" / "config.json", **{"word_embedding_dimension": 32, **pooling})


def add_dense(
    folder: Path,
    *outputs: int,
    activation: str | None = "torch.nn.modules.activation.Tanh",
    bias: bool = True,
    inputs: int | None = None,
    normalize: bool = True,
    scale: float = 0.3,
    **pooling: object,
) -> None:
    """Add Dense modules with random weights, each taking what the one before gives.

    Args:
        folder: A teacher's, of hidden size 32.
        outputs: Of each Dense.
        activation: Of each; None leaves the key out.
        bias: Whether they have one.
        inputs: Of the last, where it is not to fit.
        normalize: Whether a Normalize follows.
        scale: Of the weights.
        pooling: Keys of the Pooling's configuration.
    """
    kinds = ["Transformer", "Pooling", *["Dense"] * len(outputs), *["Normalize"] * normalize]
    as_sentence_transformers(folder, *kinds, **pooling)
    generator, size = torch.Generator().manual_seed(0), 32
    for place, out in enumerate(outputs, 2):
        own = folder / f"{place}_Dense"
        size = size if inputs is None or place < len(outputs) + 1 else inputs
        config = {"in_features": size, "out_features": out, "bias": bias}
        edit_json(own / "config.json", **config)
        if activation is not None:
            edit_json(own / "config.json", activation_function=activation)
        tensors = {"linear.weight": scale * torch.randn(out, size, generator=generator)}
        if bias:
            tensors["linear.bias"] = torch.randn(out, generator=generator)
        save_file(tensors, own / "model.safetensors")
        size = out


@pytest.fixture
def own_folder(teacher_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A plain teacher's folder that the test may change."""
    return Path(shutil.copytree(teacher_folder("bert"), tmp_path / "own"))


@pytest.fixture
def sentence_folder(own_folder: Path) -> Path:
    """The same with modules.json: Transformer, mean Pooling, Normalize."""
    as_sentence_transformers(own_folder)
    return own_folder
