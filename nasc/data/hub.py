"""Ids of data sets of the datasets library."""

from __future__ import annotations

import os
import re
from pathlib import Path

from device_profiles.reading import shown

PREFIX = "datasets:"

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_PART = re.compile(r"\w{1,100}(\.\w{1,100})*", re.ASCII)
_CONFIG = re.compile(r"[^\x00-\x1f\x7f<>:/\\|?*\ud800-\udfff]{1,200}")


def expanded(name: str) -> str:
    """A data set's name, or its folder with the home that `~` stands for."""
    return os.path.expanduser(name) if name.startswith("~/") else name


def bad_id(name: str, config: str, part: str = "train") -> str | None:
    """Why a data set cannot have this name, as the end of a sentence; None if it can.

    Args:
        name: NAME or OWNER/NAME on the hub, or a folder; see `expanded`.
        config: Of the data set's configurations; empty takes its only one.
        part: Of its parts.
    """
    folder = "\0" not in name and name.startswith((".", "/")) and Path(name).is_dir()
    if not folder and (not _ID.fullmatch(name) or ".." in name or "--" in name):
        return (
            "is no id of a data set: NAME or OWNER/NAME of letters, digits, '-', '_' and '.' "
            "is needed, or a folder's path"
        )
    if config and not _CONFIG.fullmatch(config):
        return "names no configuration of a data set"
    if not _PART.fullmatch(part):
        return f"names no part of a data set by {shown(part)}: train, for example"
    return None
