"""The page's JavaScript, in node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from profilers.browser.server import PAGE


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node (nodejs)")
def test_the_thread_that_runs_models() -> None:
    """The cases are in models.mjs, with a runtime that is made up."""
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", str(Path(__file__).with_name("models.mjs"))],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NASC_PAGE_FOLDER": str(PAGE)},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "# pass 7" in done.stdout
