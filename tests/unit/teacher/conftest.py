"""Folders of tiny teachers that a test may change, as sentence-transformers writes them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.fixture
def own_folder(teacher_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A plain teacher's folder that the test may change."""
    return Path(shutil.copytree(teacher_folder("bert"), tmp_path / "own"))


@pytest.fixture
def sentence_folder(own_folder: Path) -> Path:
    """The same with modules.json: Transformer, mean Pooling, Normalize."""
    as_sentence_transformers(own_folder)
    return own_folder
