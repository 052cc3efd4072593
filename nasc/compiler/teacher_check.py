"""The gate before a compilation: the full-size network against the teacher's own library."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from device_profiles import reading
from nasc import __version__
from nasc.export.onnx import emit
from nasc.files import content_key, write_atomically
from nasc.runtime import OnnxEncoder
from nasc.supernet.teacher_layers import teacher_network
from nasc.teacher.library import LibraryCheck, check_against_library, library_names
from nasc.workbench import Workbench

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["library", "texts", "max_abs", "scaled", "note"],
    "properties": {
        "library": {"type": "string"},
        "texts": {"type": "integer"},
        "max_abs": {"type": "number"},
        "scaled": {"type": "boolean"},
        "note": {"type": "string"},
    },
}


def check_teacher(bench: Workbench) -> LibraryCheck | None:
    """Hold the full-size fp32 graph against the library of the teacher's folder, once for each.

    Takes seconds; what was found for the same files and libraries is not done again.

    Args:
        bench: Whose teacher; its reporter is told.

    Returns:
        What was found; None of a teacher without a folder.

    Raises:
        TeacherError: If they differ, or no library can load the folder.
        OSError: If the cache cannot be written.
    """
    teacher = bench.teacher
    if teacher.folder is None:
        return None
    key = content_key(
        {
            "teacher": teacher.fingerprint,
            "settings": _settings_sha256(teacher.folder),
            "libraries": library_names(),
            "nasc": __version__,
        }
    )
    record = bench.cache / "teacher-checks" / f"{key}.json"
    found = _recorded(record)
    if found is None:
        bench.reporter.stage("Teacher")(0, 1, "compared with its own library")
        with TemporaryDirectory(prefix="nasc-") as folder, bench.timed("teacher"):
            path = Path(folder) / "teacher.onnx"
            emit(teacher_network(teacher, bench.whole_space.teacher), path)
            encoder = OnnxEncoder(path, teacher.tokenizer, max_length=teacher.max_length)
            found = check_against_library(teacher, teacher.folder, encoder.encode)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(record, json.dumps(dataclasses.asdict(found)).encode())
    bench.reporter.say(f"teacher {teacher.name!r}: {found}")
    return found


def _settings_sha256(folder: Path) -> str:
    """Of all JSON files, which say how vectors are made, two folders deep."""
    digest = hashlib.sha256()
    for path in sorted((*folder.glob("*.json"), *folder.glob("*/*.json"))):
        digest.update(f"{path.relative_to(folder)}\0".encode("utf-8", "surrogateescape"))
        with suppress(OSError, reading.FileRefused):
            digest.update(hashlib.sha256(reading.read_bytes(path)).digest())
    return digest.hexdigest()


def _recorded(path: Path) -> LibraryCheck | None:
    with suppress(OSError, reading.FileRefused):
        return LibraryCheck(**reading.read_json(path, 1 << 16, _SCHEMA))
    return None
