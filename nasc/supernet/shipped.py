"""Supernets that come with nasc: trained once, so that nobody has to before a search."""

from __future__ import annotations

from pathlib import Path

from nasc.architecture.heads import MEAN_HEAD
from nasc.errors import CheckpointError
from nasc.supernet.checkpoint import read_supernet_header

FOLDER = Path(__file__).parent / "shipped"


def shipped_supernet(teacher_sha256: str, head: str = MEAN_HEAD) -> Path | None:
    """The file of the supernet that comes with nasc for a teacher; None if there is none.

    Args:
        teacher_sha256: `nasc.teacher.Teacher.sha256`.
        head: By which the teacher makes its vectors: `nasc.teacher.Teacher.head`.

    Raises:
        CheckpointError: If a file that comes with nasc is damaged.
    """
    for path in sorted(FOLDER.glob("*.safetensors")):
        try:
            trained_from = read_supernet_header(path)["teacher"]
        except CheckpointError as error:
            raise CheckpointError(
                f"{path}, which comes with nasc, is damaged: install nasc again. Meanwhile "
                "--train-minutes 3 trains a supernet of your own"
            ) from error
        if (trained_from["sha256"], trained_from.get("head", MEAN_HEAD)) == (teacher_sha256, head):
            return path
    return None
