"""The gate before anything is made of a teacher: the full-size network against its own library."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path

from device_profiles import reading
from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import gives_answers, is_task_head, leaves_own_head
from nasc.architecture.space import Architecture
from nasc.data.prompts import prompted
from nasc.errors import UsageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.evaluation.parity import LONGEST
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.teacher import Teacher
from nasc.teacher.files import TeacherFiles
from nasc.teacher.library import LibraryCheck, check_against_library, library_names
from nasc.teacher.modules import read_modules
from nasc.utils.files import content_key, write_atomically
from nasc.utils.progress import Reporter
from nasc.version import __version__

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["library", "texts", "max_abs", "note"],
    "properties": {
        "library": {"type": "string"},
        "texts": {"type": "integer"},
        "max_abs": {"type": "number"},
        "note": {"type": "string"},
    },
}


def check_teacher(teacher: Teacher, cache: Path, reporter: Reporter) -> LibraryCheck | None:
    """Hold the full-size fp32 graph against the library of the teacher's folder, once for each.

    Takes seconds; what was found for the same files and libraries is not done again.

    Args:
        teacher: As it was loaded.
        cache: The cache folder.
        reporter: Told what was found.

    Returns:
        What was found; None of a teacher without a folder.

    Raises:
        TeacherError: If they differ, or no library can load the folder.
        OSError: If the cache cannot be written.
    """
    if teacher.folder is None:
        return None
    key = content_key(
        {
            "teacher": teacher.fingerprint,
            "settings": _settings_sha256(TeacherFiles(teacher.folder, teacher.name)),
            "libraries": library_names(),
            "nasc": __version__,
        }
    )
    record = cache / "teacher-checks" / f"{key}.json"
    found = _recorded(record)
    if found is None:
        reporter.stage("Teacher")(0, 1, "compared with its own library")
        found = _compared(teacher, teacher.folder)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(dataclasses.asdict(found)).encode())
    reporter.say(f"teacher {teacher.name!r}: {found}")
    return found


def check_pairs(teacher: Teacher, pairs: Path | None, head: str | None = None) -> None:
    """Raise unless pairs are given to a teacher that scores pairs, and to no other.

    Args:
        teacher: As it was loaded.
        pairs: The file.
        head: That was asked for; None is the teacher's own.

    Raises:
        UsageError: With what to give.
    """
    if teacher.paired and pairs is None:
        answers = gives_answers(teacher.head())
        does = "finds answers to questions in passages" if answers else "scores pairs of texts"
        two = "question and passage" if answers else "the two texts"
        raise UsageError(
            f"the teacher {teacher.name!r} {does}. Name a file of pairs as it will meet them, one "
            f"a line with a tab between {two}, or JSON lines: --pairs FILE"
        )
    if pairs is not None and head is not None and is_task_head(head):
        raise UsageError(
            f"a network with the head {head!r} learns a --task, which has its own data: leave "
            f"--pairs {pairs} out"
        )
    if pairs is not None and leaves_own_head(head):
        raise UsageError(
            f"--head {head} takes one text at a time: leave --pairs {pairs} out, or --head"
        )
    if not teacher.paired and pairs is not None:
        raise UsageError(
            f"the teacher {teacher.name!r} has no head that scores texts: leave --pairs {pairs} "
            "out, or give its texts: --corpus FILE"
        )


def _compared(teacher: Teacher, folder: Path) -> LibraryCheck:
    whole = Architecture.whole(teacher.geometry.for_space())
    with temporary_folder() as temporary:
        path = temporary / "teacher.onnx"
        emit(teacher_network(teacher, whole), path)
        # Attention's memory grows with the square of a text's tokens.
        size = BATCH_SIZE if teacher.max_length <= LONGEST else 1
        length = teacher.max_length
        encoder = Encoder(path, teacher.tokenizer, max_length=length, batch_size=size)
        return check_against_library(
            teacher, folder, prompted(encoder.outputs_of, teacher.prompts.before)
        )


def _settings_sha256(files: TeacherFiles) -> str:
    """Of the JSON files, which say how vectors are made, of all folders that modules.json names."""
    digest = hashlib.sha256()
    for folder in read_modules(files).folders:
        for path in sorted(folder.folder.glob("*.json")):
            digest.update(f"{path.relative_to(files.root)}\0".encode("utf-8", "surrogateescape"))
            with suppress(OSError, reading.FileRefused):
                digest.update(hashlib.sha256(reading.read_bytes(path)).digest())
    return digest.hexdigest()


def _recorded(path: Path) -> LibraryCheck | None:
    with suppress(OSError, reading.FileRefused):
        return LibraryCheck(**reading.read_json(path, 1 << 16, _SCHEMA))
    return None
