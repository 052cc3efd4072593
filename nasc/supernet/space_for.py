"""The search space of a teacher."""

from __future__ import annotations

from nasc.architecture.space import PRESETS, SearchSpace, load_space, space_like, space_to_toml
from nasc.errors import UsageError
from nasc.teacher import Teacher


def space_for(teacher: Teacher, name: str | None) -> SearchSpace:
    """The space named, or the preset made for a teacher of this geometry.

    Raises:
        UsageError: If there is none, or the space is for another geometry.
    """
    geometry = teacher.geometry.for_space()
    if name is not None:
        space = load_space(name)
        if space.geometry != geometry:
            raise UsageError(
                f"search space {space.name!r} is for a teacher of {space.geometry}; "
                f"teacher {teacher.name!r} has {geometry}"
            )
        return space
    for space in PRESETS.values():
        if space.geometry == geometry:
            return space
    raise UsageError(
        f"no preset search space for teacher {teacher.name!r} ({geometry}). Save this one as a "
        "file, change what you like (operations: mha, ffn, sep3, sep5, sep7), and give it: "
        f"--space FILE\n\n{space_to_toml(space_like(geometry))}"
    )
