"""The command line in an empty folder, for the tests of this folder.

Lets them import the made-up tables beside those of `nasc.latency`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nasc.cli import main

sys.path.append(str(Path(__file__).parents[1] / "latency"))


@pytest.fixture
def nasc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in an empty folder; bugs escape as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)

    return run
