"""Which search spaces there are, and which one a teacher has."""

from __future__ import annotations

from nasc.architecture.space import PRESETS, SearchSpace, load_space
from nasc.errors import UsageError
from nasc.supernet.space_for import space_for
from nasc.teacher import load_teacher


def spaces(name: str | None = None, *, teacher: str | None = None) -> list[SearchSpace]:
    """Search spaces.

    Args:
        name: Of a preset, or the path of a TOML file; None for all presets.
        teacher: Folder or hub id: the space that is searched for it where none is named.

    Returns:
        One space where a name or a teacher is given.

    Raises:
        UsageError: If there is no such space, or both are given.
        NascError: If the teacher cannot be read.
    """
    if name is not None and teacher is not None:
        raise UsageError("give the name of a search space or --teacher, not both")
    if name is not None:
        return [load_space(name)]
    if teacher is not None:
        return [space_for(load_teacher(teacher), None)]
    return list(PRESETS.values())
