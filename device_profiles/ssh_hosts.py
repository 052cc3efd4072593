"""Machines that OpenSSH's configuration gives a name to."""

from __future__ import annotations

import glob
import os
import shlex
from pathlib import Path

from device_profiles.reading import FileRefused, read_text

MAX_DEPTH = 16
"""Files that include each other; ssh's own limit (readconf.c, READCONF_MAX_DEPTH)."""


def named_hosts(config: Path) -> frozenset[str]:
    """The names that a configuration of ssh gives to machines, patterns left out.

    Args:
        config: ssh_config(5), the user's; what it includes is looked for in its folder.

    Returns:
        Names after the word Host. What cannot be read has none.
    """
    return frozenset(_hosts(config, config.parent, 0))


def _hosts(config: Path, folder: Path, depth: int) -> set[str]:
    if depth > MAX_DEPTH:
        return set()
    try:
        text = read_text(config)
    except (OSError, FileRefused):
        return set()
    found: set[str] = set()
    for line in text.splitlines():
        try:
            words = shlex.split(line.replace("=", " ", 1), comments=True)
        except ValueError:  # a quote without an end
            continue
        if not words:
            continue
        if words[0].lower() == "host":
            found |= {name for name in words[1:] if not set(name) & set("*?!")}
        elif words[0].lower() == "include":
            for pattern in words[1:]:
                whole = str(folder / os.path.expanduser(pattern))
                for path in sorted(glob.glob(whole)):
                    found |= _hosts(Path(path), folder, depth + 1)
    return found
