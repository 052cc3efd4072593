"""The manifest of a package, out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasc.errors import PackageError
from nasc.package.read_manifest import read_manifest


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"there is no manifest\.json.*nasc compile"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(PackageError, match="cannot be read"):
        read_manifest(tmp_path)
