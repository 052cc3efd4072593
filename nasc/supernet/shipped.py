"""Supernets that come with nasc: trained once, so that nobody has to before a search."""

from __future__ import annotations

from pathlib import Path

from nasc.architecture.heads import MEAN
from nasc.errors import CheckpointError
from nasc.supernet.checkpoint import load_supernet, read_supernet_header
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher

FOLDER = Path(__file__).parent / "shipped"


def shipped_supernet(teacher_sha256: str, pooling: str = MEAN.mode) -> Path | None:
    """The file of the supernet that comes with nasc for a teacher; None if there is none.

    Args:
        teacher_sha256: `nasc.teacher.Teacher.sha256`.
        pooling: Of the teacher, out of `nasc.architecture.heads.POOLINGS`.

    Raises:
        CheckpointError: If a file that comes with nasc is damaged.
    """
    wanted = (teacher_sha256, pooling)
    for path in sorted(FOLDER.glob("*.safetensors")):
        try:
            trained_from = read_supernet_header(path)["teacher"]
        except CheckpointError as error:
            raise CheckpointError(
                f"{path}, which comes with nasc, is damaged: install nasc again. Meanwhile "
                "--train-minutes 3 trains a supernet of your own"
            ) from error
        if (trained_from["sha256"], trained_from.get("pooling", MEAN.mode)) == wanted:
            return path
    return None


def load_shipped_supernet(teacher: Teacher) -> Supernet:
    """The supernet that comes with nasc for a teacher.

    Raises:
        CheckpointError: If there is none, or its file is damaged.
    """
    path = shipped_supernet(teacher.sha256, teacher.pooling.mode)
    if path is None:
        raise CheckpointError(f"no supernet comes with nasc for teacher {teacher.name!r}")
    return load_supernet(path, teacher)[0]
