"""`nasc profile`, `nasc bench`, `nasc devices`: what a device costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from device_profiles.reading import shown
from nasc.cli.group import main
from nasc.cli.options import (
    PRECISIONS,
    cache_option,
    device_option,
    json_option,
    seed_option,
    space_options,
    threads_option,
)


@main.command()
@device_option
@space_options
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="Repeatable [default: those of the space].",
)
@click.option(
    "--seq-len",
    "seq_lens",
    multiple=True,
    type=click.IntRange(1),
    help="Tokens; repeatable [default: 128].",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1),
    help="Sentences in a run; repeatable [default: 1].",
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1),
    help="Of the runtime; repeatable [default: the device's].",
)
@click.option(
    "--head", default="embed", show_default=True, help="embed, hidden, classify-N or spans."
)
@click.option("--force", is_flag=True, help="Measure again what is in the cache.")
@seed_option
@cache_option
@json_option
def profile(as_json: bool, **options: Any) -> None:
    """Measure a latency table: the cost of every operation on a device.

    Repeatable options make a table for each combination. What was measured before comes from
    the cache.

    \b
    Example: nasc profile --device host --precision int8 --seq-len 32 --seq-len 128
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting

    with reporting() as reporter:
        found = api.profile(reporter=reporter, **options)
    if as_json:
        print_json([profiled.to_dict() for profiled in found])
        return
    for profiled in found:
        print_rows(list(profiled.summary().items()))
        click.echo()


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option("--seq-len", type=click.IntRange(1), default=128, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@threads_option
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Another symbolic axis.")
@seed_option
@cache_option
@json_option
def bench(models: tuple[Path, ...], as_json: bool, dims: tuple[str, ...], **options: Any) -> None:
    """Measure anybody's ONNX files: latency with bounds, and peak memory.

    \b
    Example: nasc bench model.onnx other.onnx --device host --threads 1
    """
    from nasc import api
    from nasc.console import print_json, reporting

    sizes = {"batch": options.pop("batch"), "seq_len": options.pop("seq_len")}
    sizes |= dict(_named_size(text) for text in dims)
    with reporting() as reporter:
        found = api.bench(list(models), sizes, reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(f"{'ms':>9} {'at most':>9} {'p50':>9} {'p90':>9} {'p99':>9} {'MB peak':>8}  model")
    for entry in found.entries:
        m = entry.latency
        peak = "-" if entry.memory is None else f"{entry.memory.total_bytes / 1e6:.0f}"
        click.echo(
            f"{m.latency_ms:9.3f} {m.upper_ms:9.3f} {m.p50_ms:9.3f} {m.p90_ms:9.3f} "
            f"{m.p99_ms:9.3f} {peak:>8}  {entry.path}"
        )
    measurement = found.measurement
    notes = [f"statistic of record: {measurement.statistic}", f"sizes: {dict(found.dims)}"]
    notes += measurement.warnings()
    click.echo("; ".join(notes), err=True)


def _named_size(text: str) -> tuple[str, int]:
    name, _sep, value = text.partition("=")
    if not (name and re.fullmatch(r"[0-9]{1,9}", value) and int(value) > 0):
        raise click.BadParameter(
            f"{shown(text)}: write NAME=SIZE, a whole number of 1 or more, as in images=3",
            param_hint="--dim",
        )
    return name, int(value)


@main.command()
@json_option
def devices(as_json: bool) -> None:
    """List the devices known, and which can be reached now.

    A device of your own is a TOML file in the user folder, or --device path/to/file.

    \b
    Example: nasc devices
    """
    import device_profiles
    import profilers
    from nasc.console import print_json

    rows = []
    for device in device_profiles.available():
        reachable, reason = profilers.reachable(device)
        rows.append(
            {
                "name": device.name,
                "description": device.description,
                "transport": device.transport,
                "reachable": reachable,
                "reason": reason,
                "file": str(device.path),
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "reachable" if row["reachable"] else f"not reachable: {row['reason']}"
        click.echo(f"{row['name']:10} {row['transport']:7} {row['description']}\n{'':18} {state}")
    click.echo(f"your own devices: {device_profiles.user_folder()}", err=True)
