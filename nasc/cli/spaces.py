"""`nasc spaces`: search spaces, as a list and as files."""

from __future__ import annotations

import click

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import complete_folder, complete_space, json_option


@main.command()
@click.argument("name", required=False, shell_complete=complete_space)
@click.option(
    "--teacher",
    shell_complete=complete_folder,
    help="Folder or hub id: the space that is searched for this teacher.",
)
@json_option
def spaces(name: str | None, teacher: str | None, as_json: bool) -> None:
    """List search spaces, or print one as a TOML file to change and give to --space.

    NAME is a preset or a file; --teacher derives the space of any teacher.

    \b
    Example: nasc spaces
             nasc spaces minilm-l12 > mine.toml
             nasc spaces --teacher folder/ > mine.toml
    """
    from nasc.architecture.space import space_to_dict, space_to_toml
    from nasc.cli.console import print_json, print_table, print_text

    found = api.spaces(name, teacher=teacher)
    one = name is not None or teacher is not None
    if as_json:
        values = [
            space_to_dict(space) | {"sub_architectures_a_block": space.count_blocks()}
            for space in found
        ]
        print_json(values[0] if one else values)
    elif one:
        print_text(space_to_toml(found[0]).rstrip("\n"))
    else:
        print_table(
            ("space", "blocks x slots", "a block", "hidden sizes", "kept, skipped", "teacher"),
            [
                (
                    space.name,
                    f"{space.n_blocks} x {space.slots}",
                    f"{space.count_blocks():,}",
                    ", ".join(map(str, space.hidden_sizes)),
                    f"{_yes(space.keep)}, {_yes(space.skip)}",
                    str(space.geometry),
                )
                for space in found
            ],
        )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
