"""The page's JavaScript, in node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from profilers.browser.library import MODULE
from profilers.browser.server import PAGE


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node (nodejs)")
def test_the_page_and_the_thread_that_runs_models(tmp_path: Path) -> None:
    """The cases are in page.mjs and models.mjs, with a runtime that is made up."""
    folder = tmp_path / "page"
    shutil.copytree(PAGE, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "ort").mkdir()
    (folder / "ort" / MODULE).write_text("export const env = { wasm: {} };\n")
    cases = [str(Path(__file__).with_name(name)) for name in ("models.mjs", "page.mjs")]
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *cases],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NASC_PAGE_FOLDER": str(folder)},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "# pass 14" in done.stdout
