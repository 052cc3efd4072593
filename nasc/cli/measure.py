"""`nasc profile`, `nasc bench`, `nasc devices`: what a device costs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_profiles.reading import shown
from nasc import api
from nasc.cli.group import main
from nasc.cli.options import (
    PRECISIONS,
    RUNTIMES,
    cache_option,
    complete_device,
    device_option,
    fixed_shape_option,
    json_option,
    lengths_option,
    min_duration_option,
    protocol_option,
    run_code_option,
    run_timeout_option,
    runtime_option,
    seed_option,
    space_options,
    sustained_option,
    threads_option,
    tuned_option,
)

if TYPE_CHECKING:
    from profilers import BenchResult


@main.command()
@device_option
@space_options
@runtime_option
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="Repeatable [default: those of the space that the runtime computes in there].",
)
@click.option(
    "--seq-len",
    "seq_lens",
    multiple=True,
    type=click.IntRange(1),
    help="Tokens; repeatable [default: 128].",
)
@lengths_option
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
    "--head",
    help="embed (pooled as the teacher's), hidden, classify-N or spans [default: the teacher's].",
)
@fixed_shape_option
@sustained_option
@tuned_option
@click.option("--force", is_flag=True, help="Measure again what is in the cache.")
@click.option(
    "--from-table",
    metavar="DEVICE|NAME|FILE",
    shell_complete=complete_device,
    help="Make the table from that of a similar device and a few networks measured on this one.",
)
@click.option(
    "--budget",
    type=int,
    metavar="NETWORKS",
    help="So many, 5 to 100, with --from-table [default: 20].",
)
@seed_option
@cache_option
@json_option
def profile(as_json: bool, **options: Any) -> None:
    """Measure a latency table: the cost of every operation on a device.

    Repeatable options make a table for each combination. What was measured before comes from
    the cache.

    \b
    Example: nasc profile --device host --precision int8 --seq-len 32 --seq-len 128
             nasc profile --device board2 --from-table board --budget 20
    """
    from nasc.cli.console import print_json, print_rows, reporting

    with reporting() as reporter:
        found = api.profile(reporter=reporter, **options)
    if as_json:
        print_json([profiled.to_dict() for profiled in found])
        return
    for profiled in found:
        print_rows([*profiled.summary().items(), ("", "")])


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    help="What runs them [default: by the files, the device's where several run them].",
)
@click.option("--seq-len", type=click.IntRange(1), help="Of symbolic axes [default: 128].")
@click.option("--batch", type=click.IntRange(1), help="Of symbolic axes [default: 1].")
@threads_option
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Another symbolic axis.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="INPUT=SIZES",
    help="The whole shape of an input, as in input_ids=1,128; repeatable.",
)
@protocol_option
@min_duration_option
@sustained_option
@run_timeout_option
@run_code_option
@seed_option
@cache_option
@json_option
def bench(
    models: tuple[Path, ...],
    as_json: bool,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    batch: int | None,
    seq_len: int | None,
    **options: Any,
) -> None:
    """Measure anybody's model files (.onnx, OpenVINO's .xml): latency with bounds, and peak memory.

    Axes of fixed size keep it; each model's figures stand beside the shapes that it ran with. Of
    several files one that cannot be run is told at the end, with exit status 1.

    \b
    Example: nasc bench model.onnx other.onnx --device host --threads 1
    """
    from nasc.cli.console import print_json, reporting
    from nasc.utils.printable import printable

    given = {"batch": batch, "seq_len": seq_len}
    sizes = {name: size for name, size in given.items() if size is not None}
    sizes |= {name: sized[0] for name, sized in (_sizes(text, "--dim") for text in dims)}
    whole = dict(_sizes(text, "--shape") for text in shapes)
    with reporting() as reporter:
        found = api.bench(list(models), sizes, shapes=whole, reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
    else:
        _print_bench(found)
    for one in found.rejected:
        said = f"Error: '{one.path}' was not measured: {one.reason}"
        click.echo(printable(said, lines=True), err=True)
    if found.rejected:
        click.get_current_context().exit(1)


def _print_bench(found: BenchResult) -> None:
    """For people, with what is to be said of it on stderr."""
    from nasc.cli.console import print_table
    from nasc.latency.observed import meaning

    header = ("ms", "at most", "p50", "p90", "p99", "MB peak", "inputs", "model")
    rows = []
    for entry in found.entries:
        m = entry.latency
        times = (m.latency_ms, m.upper_ms, m.p50_ms, m.p90_ms, m.p99_ms)
        peak = "-" if entry.memory is None else f"{entry.memory.total_bytes / 1e6:.0f}"
        rows.append((*(f"{ms:.3f}" for ms in times), peak, entry.run.shapes, str(entry.path)))
    print_table(header, rows)
    measurement = found.measurement
    meanings = [
        f"{entry.path}: {entry.latency.latency_ms:.3f} ms is {text}"
        for entry in found.entries
        if (text := meaning(entry.latency))
    ]
    meanings += [
        f"{entry.path}: {entry.stream}; {entry.stream.rules}"
        for entry in found.entries
        if entry.stream is not None
    ]
    ran = f"{measurement.context['runtime']} {measurement.context['runtime_version']}"
    notes = [f"by {ran}; statistic of record: {measurement.statistic}", *measurement.warnings()]
    click.echo("\n".join([*meanings, "; ".join(notes)]), err=True)


def _sizes(text: str, option: str) -> tuple[str, tuple[int, ...]]:
    """The name and the sizes of NAME=SIZE, or of INPUT=SIZES."""
    name, _sep, value = text.partition("=")
    parts = [part.strip() for part in value.split(",")]
    right = all(re.fullmatch("[1-9][0-9]{0,17}", part) for part in parts)
    if not (name and right and (option == "--shape" or len(parts) == 1)):
        form, example = (
            ("INPUT=SIZES", "input_ids=1,128: whole numbers of 1 or more")
            if option == "--shape"
            else ("NAME=SIZE", "images=3: a whole number of 1 or more")
        )
        raise click.BadParameter(f"{shown(text)}: write {form}, as in {example}", param_hint=option)
    return name, tuple(int(part) for part in parts)


@main.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(context: click.Context, as_json: bool) -> None:
    """List the devices known, which can be reached now, and what each can do.

    A device of your own is a TOML file in the user folder, or --device path/to/file; nasc devices
    add writes one for a phone.

    \b
    Example: nasc devices
             nasc devices add my-phone
    """
    if context.invoked_subcommand is not None:
        return
    import device_profiles
    from nasc.cli.console import print_json, print_text
    from nasc.pipelines.devices import unknown_phones
    from nasc.utils.printable import printable

    wrong: list[device_profiles.DeviceProfileError] = []
    found = api.devices(wrong.append)
    for error in wrong:
        click.echo(f"left out: {printable(str(error))}", err=True)
    for phone in unknown_phones():
        click.echo(
            f"no device: {printable(str(phone))}. Make it one: nasc devices add NAME --serial "
            f"{printable(shlex.quote(phone.serial))}",
            err=True,
        )
    if as_json:
        print_json([device.to_dict() for device in found])
        return
    print_text("\n".join(line for device in found for line in device.lines()))
    click.echo(f"your own devices: {device_profiles.user_folder()}", err=True)


@devices.command()
@click.argument("name")
@click.option("--serial", metavar="S", help="Of the phone [default: the only one attached].")
@click.option("--force", is_flag=True, help="Replace a device of that name.")
@json_option
def add(name: str, serial: str | None, force: bool, as_json: bool) -> None:
    """Write a device file for a phone that adb sees, from what the phone tells of itself.

    \b
    Example: nasc devices add my-phone --serial 1A2B3C4D
    """
    from nasc.cli.console import print_json, print_rows

    found = api.add_device(name, serial=serial, force=force)
    if as_json:
        print_json(found.to_dict())
        return
    cores = ", ".join(f"{c.count} x {c.core}" for c in found.profile.clusters)
    print_rows(
        [
            ("device", found.profile.name),
            ("phone", f"{found.profile.description}, serial number {found.serial}"),
            ("cores", cores or "not told"),
            ("file", str(found.profile.path)),
            ("next", f"nasc profile --device {found.profile.name}"),
        ]
    )
