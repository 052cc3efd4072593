"""Shared set-up: no network, no cache outside the test's own folder."""

import os
from pathlib import Path

import pytest

# Before transformers or datasets are imported by any test: nothing is looked up online.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and config folder for every test, never the user's own."""
    root = tmp_path_factory.mktemp("xdg")
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(root / name.lower()))
    return root
