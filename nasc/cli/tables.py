"""`nasc tables`: latency tables of the cache, and those that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import cache_option, complete_device, json_option, serial_option


def _complete_name(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Tables of the cache, or files."""
    from nasc.errors import NascError
    from nasc.latency.table_paths import table_files, table_name, tables_folder
    from nasc.utils.files import cache_folder

    try:
        files = table_files(tables_folder(cache_folder(ctx.params.get("cache"))))
    except (NascError, OSError):
        files = []
    names = [name for name in map(table_name, files) if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


@main.group()
def tables() -> None:
    """List, show, send, take in and compare latency tables. Each command takes --json.

    A table is named as `nasc tables list` prints it, by the beginning of that, or by the hash at
    its end.

    \b
    Example: nasc tables list
             nasc tables export 2da91c227415 --output board.latency.csv
             nasc tables import board.latency.csv
    """


@tables.command("list")
@cache_option
@json_option
def list_(cache: Path | None, as_json: bool) -> None:
    """List the tables in the cache, and which may be used on their devices as these are now.

    \b
    Example: nasc tables list
    """
    from nasc.cli.console import print_json, print_table
    from nasc.latency.table_paths import tables_folder
    from nasc.utils.files import cache_folder

    found = api.tables(cache=cache)
    if as_json:
        print_json([one.to_dict() for one in found])
    elif found:
        print_table(_HEADER, [_cells(one) for one in found])
    for one in found:
        if one.unusable is not None:
            click.echo(f"{one.name}: not used: {one.unusable}", err=True)
        elif one.table is not None and one.table.note is not None:
            click.echo(f"{one.name}: {one.table.note}", err=True)
    folder = tables_folder(cache_folder(cache))
    none = "" if found else "; there are none yet. Measure one: nasc profile --device host"
    click.echo(f"tables in: {folder}{none}", err=True)


_HEADER = (
    *("device", "runtime", "precision", "length", "batch", "threads", "shape"),
    *("measured", "costs", "usable", "processor", "name"),
)


def _cells(one: api.ListedTable) -> tuple[str, ...]:
    if one.table is None:
        return (*["-"] * 9, "no", "-", one.name)
    d = one.to_dict()
    return (
        d["device"],
        f"{d['runtime']} {d['runtime_version']}",
        d["precision"],
        str(d["seq_len"]),
        str(d["batch"]),
        str(d["threads"]),
        "fixed" if d["fixed_shape"] else "any",
        d["created"][:16],
        str(d["entries"]),
        _usable(one),
        d["processor"][:40],
        one.name,
    )


def _usable(one: api.ListedTable) -> str:
    if one.table is not None and one.table.emulated:
        return "emulated"
    if one.unusable is not None:
        return "no"
    if one.table is not None and one.table.foreign is not None:
        return "other machine's"
    return "yes" if one.table is None or one.table.transferred is None else "transferred"


@tables.command()
@click.argument("table", metavar="NAME_OR_FILE", shell_complete=_complete_name)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the cost of each operation over the hidden size to a file.",
)
@click.option("--force", is_flag=True, help="Replace an existing picture.")
@cache_option
@json_option
def show(table: str, plot: Path | None, force: bool, cache: Path | None, as_json: bool) -> None:
    """Show where a table comes from, how far its predictions are off, and its costs.

    \b
    Example: nasc tables show 2da91c227415
             nasc tables show board.latency.csv --plot costs.png
    """
    from nasc.cli.console import print_json, print_rows, print_table

    if plot is not None:
        from nasc.pipelines.plots import check_plot

        check_plot(plot, force)
    found = api.show_table(table, cache=cache)
    if plot is not None:
        from nasc.pipelines.plots import plot_table

        plot_table(found.table, plot, force)
        click.echo(f"costs drawn to {plot}", err=True)
    if as_json:
        print_json(found.to_dict())
        return
    print_rows([*found.rows(), ("", "")])
    rows = [
        (f"{cost_ms:.4f}", f"{error_ms:.4f}", str(hidden_in), str(hidden_out), kind)
        for kind, hidden_in, hidden_out, cost_ms, error_ms in found.entries
    ]
    print_table(("cost (ms)", "+- (ms)", "hidden in", "hidden out", "layer"), rows)


@tables.command()
@click.argument("name", shell_complete=_complete_name)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@click.option("--samples", is_flag=True, help="Put the measured samples into it, too.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@cache_option
@json_option
def export(
    name: str, output: Path, samples: bool, force: bool, cache: Path | None, as_json: bool
) -> None:
    """Write a table of the cache into one file for others, after a check of all that it says.

    The same table gives the same bytes.

    \b
    Example: nasc tables export 2da91c227415 --output board.latency.csv
    """
    from nasc.cli.console import print_json, print_rows

    found = api.export_table(name, output, samples=samples, force=force, cache=cache)
    if as_json:
        print_json(found.to_dict())
        return
    content = "with its samples" if samples else "without its samples (--samples)"
    print_rows(
        [("table", found.name), ("file", f"{output}: {found.size_bytes:,} bytes, {content}")]
    )


@tables.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--device",
    shell_complete=complete_device,
    help="Device that it is for: a name or a TOML file [default: of the name in the table].",
)
@serial_option
@click.option(
    "--accept-other-machine",
    is_flag=True,
    help="Take a table of another processor or another version of the runtime; everything made "
    "from it says so.",
)
@click.option("--force", is_flag=True, help="Put it in the place of one that was measured here.")
@cache_option
@json_option
def import_(
    file: Path,
    device: str | None,
    accept_other_machine: bool,
    force: bool,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Take a table that somebody else measured into the cache, after a check of all that it says.

    It has to be of the same processor and version of the runtime as the device here.

    \b
    Example: nasc tables import board.latency.csv
    """
    from nasc.cli.console import print_json, print_rows

    found = api.import_table(
        file, device=device, accept_other_machine=accept_other_machine, force=force, cache=cache
    )
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows(found.rows())


@tables.command()
@click.argument("a", shell_complete=_complete_name)
@click.argument("b", shell_complete=_complete_name)
@cache_option
@json_option
def diff(a: str, b: str, cache: Path | None, as_json: bool) -> None:
    """Compare the costs of two tables, each a name in the cache or a file.

    \b
    Example: nasc tables diff 2da91c227415 board.latency.csv
    """
    from nasc.cli.console import print_json, print_rows, print_table

    found = api.diff_tables(a, b, cache=cache)
    if as_json:
        print_json(found.to_dict())
        return
    print_rows([*found.rows(), ("", "")])
    rows = [
        (
            f"{e.a_ms:.4f}",
            f"{e.b_ms:.4f}",
            "-" if e.ratio is None else f"{e.ratio:.3f}",
            str(e.layer),
        )
        for e in found.entries
    ]
    print_table(("a (ms)", "b (ms)", "b / a", "layer"), rows)
