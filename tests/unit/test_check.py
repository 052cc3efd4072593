"""`scripts/check`: whatever fails, it fails, and says so at its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "scripts" / "check"
PYTHON = """#!/bin/sh
# In place of Python: as pytest, one that ends as told; the other parts as told, too.
case "$*" in
*"--clock without"*) echo "the others: $*"; exit $OTHERS ;;
*"--clock only"*) echo "alone: $*"; exit $ALONE ;;
*) exit $PARTS ;;
esac
"""
NONE_COLLECTED = 5


@pytest.mark.parametrize(
    ("parts", "others", "alone", "status"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (0, 1, 0, 1),
        (0, 0, 1, 1),
        (0, 2, NONE_COLLECTED, 2),
        (0, 0, NONE_COLLECTED, 0),
        (0, NONE_COLLECTED, 0, 0),
        (0, NONE_COLLECTED, 1, 1),
        (0, NONE_COLLECTED, NONE_COLLECTED, NONE_COLLECTED),
    ],
)
def test_it_passes_where_all_parts_do(
    parts: int, others: int, alone: int, status: int, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    told = {"PARTS": str(parts), "OTHERS": str(others), "ALONE": str(alone)}
    done = subprocess.run(
        [CHECK, "-k", "this or that"],
        env=os.environ | told | {"PYTHON": str(python), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    lines = done.stdout.splitlines()
    assert any("-n logical" in line and "-k this or that --clock without" in line for line in lines)
    assert any("-k this or that --clock only -n 0" in line for line in lines)
    ran = [
        name
        for name, found in (("the others", others), ("alone", alone))
        if found != NONE_COLLECTED
    ]
    assert [line.partition(":")[0] for line in lines[len(lines) - len(ran) :]] == ran
    at_the_end = lines[lines.index("== pytest, alone") :]
    assert any(line.startswith("!! failed") for line in at_the_end) == bool(parts)
    assert [path.name for path in tmp_path.iterdir()] == ["python"]
