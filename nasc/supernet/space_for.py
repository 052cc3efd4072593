"""The search space of a teacher."""

from __future__ import annotations

from nasc.architecture.space import PRESETS, SearchSpace, derived_space, load_space
from nasc.errors import UsageError
from nasc.teacher import Teacher


def space_for(teacher: Teacher, name: str | None) -> SearchSpace:
    """The space named, or the one for a teacher of this geometry.

    Without a name it is the first preset made for the geometry, else a derived one.

    Raises:
        UsageError: If there is no space of that name, or it is for another geometry.
    """
    geometry = teacher.geometry.for_space()
    if name is None:
        made = (space for space in PRESETS.values() if space.geometry == geometry)
        return next(made, None) or derived_space(geometry)
    space = load_space(name)
    if space.geometry != geometry:
        raise UsageError(
            f"search space {space.name!r} is for a teacher of {space.geometry}; "
            f"teacher {teacher.name!r} has {geometry}. Leave --space out for the space of "
            "this teacher, or see it with: nasc spaces --teacher DIR"
        )
    return space
