"""`nasc train`, `nasc report`, `nasc audit`: supernets, and whether they rank truly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from nasc import api
from nasc.architecture.heads import HEADS
from nasc.cli.group import main
from nasc.cli.options import (
    cache_option,
    complete_device,
    json_option,
    pairs_option,
    run_code_option,
    seed_option,
    serial_option,
    setting_options,
    settings_of,
    space_options,
    text_column_option,
)


@main.command()
@space_options
@click.option(
    "--head",
    type=click.Choice(HEADS),
    help="Leave a head of the teacher's own out, as nasc compile does with --head or --task "
    "[default: keep it].",
)
@click.option(
    "--corpus", multiple=True, help="File, folder, datasets:NAME or wikipedia-simple; repeatable."
)
@text_column_option
@pairs_option
@click.option(
    "--packed",
    is_flag=True,
    help="Train on all of the text, however large: tokenised to disk, in rows without padding.",
)
@click.option("--minutes", type=float, help="Budget [default: 3].")
@click.option("--steps", type=click.IntRange(1), help="Steps, instead of minutes.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=float, default=2e-4, show_default=True)
@click.option(
    "--sampling",
    type=click.Choice(["balanced", "uniform"]),
    help="uniform: every path alike (the paper); balanced: every width and length alike "
    "[default: balanced; --shrink has its own].",
)
@click.option(
    "--chain",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the steps whose blocks read what the student before them gave, as in a network, "
    "instead of what the teacher gave.",
)
@click.option(
    "--start",
    type=click.Choice(["teacher", "scratch"]),
    default="teacher",
    show_default=True,
    help="Candidates from the teacher's weights, or from random ones (the paper).",
)
@click.option(
    "--bf16/--no-bf16",
    default=None,
    help="Products in bfloat16 [default: where the processor or GPU has them in hardware].",
)
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts that a batch is worked on in, to save memory.",
)
@click.option(
    "--parallel",
    type=click.Choice(["data", "block"]),
    default="data",
    show_default=True,
    help="How processes of torchrun share the work: each batch, or the blocks.",
)
@click.option(
    "--all-operations/--first-run-operations",
    default=True,
    help="Also train separable convolutions, which do not start from the teacher, or only "
    "attention and feed-forward, as nasc compile does [default: all].",
)
@click.option(
    "--compact",
    is_flag=True,
    help="Store what is left in int8 per channel, with its scores: a quarter of the size.",
)
@click.option(
    "--shrink/--no-shrink",
    default=False,
    help="Progressive shrinking: remove the worse sub-architectures as the training goes. Steps "
    "sample uniformly among what is left in the bins.",
)
@click.option(
    "--device",
    default="host",
    show_default=True,
    shell_complete=complete_device,
    help="Whose latencies the bins of --shrink follow.",
)
@serial_option
@click.option(
    "--seq-len",
    type=click.IntRange(1),
    help="Tokens that the latencies of the bins are for [default: 128].",
)
@click.option(
    "--bins",
    type=click.IntRange(1),
    help="Of parameters and latency, by block [default: 10; dominated has none].",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    help="Left in each bin at the end; dominated: how many beat what goes [default: 10].",
)
@click.option(
    "--sample", type=click.IntRange(2), help="Evaluated in a bin each round [default: 2000]."
)
@click.option(
    "--warm-epochs", type=click.IntRange(0), help="Epochs before the first round [default: 3]."
)
@click.option(
    "--epoch-steps",
    type=click.IntRange(1),
    help="Steps of an epoch, after each of which comes a round [default: rounds over the run].",
)
@click.option(
    "--unit",
    type=click.Choice(["architectures", "operations", "dominated"]),
    help="What a round removes: the worse architectures of a bin, operations with all that hold "
    "them, or architectures that --keep others beat in size, depth and loss, for small spaces "
    "[default: architectures].",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="supernet.safetensors",
    show_default=True,
    help="Where the supernet goes.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@seed_option
@cache_option
@json_option
def train(as_json: bool, output: Path, force: bool, shrink: bool, **options: Any) -> None:
    """Train a supernet by block-wise distillation on plain text.

    A run that was stopped goes on when the same command is given again.

    \b
    Example: nasc train --corpus texts/ --minutes 60 --output supernet.safetensors
             nasc train --corpus texts/ --steps 20000 --shrink --device host
             torchrun --nproc-per-node 3 --no-python nasc train --steps 20000 --parallel block
    """
    from nasc.cli.console import print_json, print_rows, reporting
    from nasc.supernet.shrink import ShrinkConfig

    if options["minutes"] is not None and options["steps"] is not None:
        raise click.UsageError("give --minutes or --steps, not both")
    if options["seq_len"] is not None and not shrink:
        raise click.UsageError("--seq-len goes with --shrink")
    names = ("bins", "keep", "sample", "warm_epochs", "epoch_steps", "unit")
    given = {name: v for name in names if (v := options.pop(name)) is not None}
    if given and not shrink:
        raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --shrink")
    if given.get("unit") == "dominated":
        given.setdefault("bins", 1)
    options["shrink"] = ShrinkConfig(**given) if shrink else None
    with reporting() as reporter:
        found = api.train(output=output, force=force, reporter=reporter, **options)
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one speaks
        return
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows([(name, str(value)) for name, value in found.to_dict().items()])


@main.command()
@click.argument("supernet", required=False, metavar="[FILE|DIR]", type=click.Path(path_type=Path))
@click.option(
    "--kernels",
    is_flag=True,
    help="Of a package: every kernel's rate and share of the time, against the core's peaks.",
)
@click.option(
    "--device",
    shell_complete=complete_device,
    help="With --kernels, where it runs: this machine [default: the package's].",
)
@click.option(
    "--csv", type=click.Path(dir_okay=False, path_type=Path), help="What is left, as a table."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the rounds, or the roofline of the kernels, to a file.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of a package: write its evidence as one page with plots (needs '.[plot]').",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@run_code_option
@cache_option
@json_option
def report(
    supernet: Path | None,
    kernels: bool,
    device: str | None,
    csv: Path | None,
    plot: Path | None,
    page: Path | None,
    force: bool,
    run_code: bool,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Show a package's evidence, what each of its kernels takes, or how a supernet was trained.

    Without a file, that of the supernet that comes with nasc for the default teacher. What
    progressive shrinking left of a supernet is shown too.

    \b
    Example: nasc report supernet.safetensors --plot rounds.png
             nasc report nasc-host-20ms --kernels --plot roofline.png
             nasc report nasc-host-20ms --html report.html
    """
    from nasc.cli.console import print_json, print_rows, reporting

    if page is not None:
        if supernet is None or kernels or device is not None or csv is not None or plot is not None:
            raise click.UsageError("--html goes with a package alone: nasc report DIR --html FILE")
        written = api.report_package(supernet, page, force=force)
        if as_json:
            print_json(written.to_dict())
        else:
            print_rows(written.rows())
        return
    if not kernels and supernet is not None and supernet.is_dir():
        raise click.UsageError(
            f"'{supernet}' is a folder: of a package give --html FILE, or --kernels"
        )
    if not kernels:
        if device is not None:
            raise click.UsageError("--device goes with --kernels")
        found = api.report(supernet, csv=csv, plot=plot, force=force)
        if as_json:
            print_json(found.to_dict())
        else:
            print_rows(found.rows())
        return
    if supernet is None:
        raise click.UsageError("--kernels needs a package: nasc report DIR --kernels")
    if csv is not None:
        raise click.UsageError("--csv does not go with --kernels; figures as data: --json")
    with reporting() as reporter:
        told = api.report_kernels(
            supernet,
            device=device,
            plot=plot,
            force=force,
            run_code=run_code,
            cache=cache,
            reporter=reporter,
        )
    if as_json:
        print_json(told.to_dict())
    else:
        _print_kernels(told)


def _print_kernels(told: api.KernelReport) -> None:
    """A line for kernels that do the same on as much; the notes on stderr."""
    from nasc.cli.console import print_table

    header = ("ms", "share", "n", "in", "GOP/s", "GB/s", "of roof", "bound", "kind", "operator")
    rows = []
    for group in told.groups():
        one, time_ms = group[0], sum(row.time_ms for row in group)
        share = sum(row.share for row in group)
        if time_ms == 0:
            continue
        rate = 1e-6 * len(group) / time_ms
        shares = [row.roof_share * row.time_ms for row in group if row.roof_share is not None]
        rows.append(
            (
                f"{time_ms:.3f}",
                f"{share:.1%}",
                str(len(group)),
                one.computed_in,
                f"{one.operations * rate:.1f}",
                f"{one.bytes_moved * rate:.1f}",
                f"{sum(shares) / time_ms:.0%}" if shares else "-",
                one.bound or "-",
                one.kind,
                one.operator,
            )
        )
    print_table(header, rows)
    click.echo("\n".join([f"by {told.runtime}", *told.notes()]), err=True)


@main.command()
@setting_options
@click.option(
    "--networks",
    type=click.IntRange(3),
    default=120,
    show_default=True,
    help="How many are drawn, over the range of latency.",
)
@click.option(
    "--distill",
    "distilled",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many of them are distilled too, and judged after it.",
)
@click.option(
    "--distill-steps",
    "steps",
    type=click.IntRange(1),
    default=150,
    show_default=True,
    help="Of each distillation.",
)
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the networks.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the losses.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def audit(
    as_json: bool,
    networks: int,
    distilled: int,
    steps: int,
    csv: Path | None,
    plot: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Check how truly the sum of block losses ranks networks of equal latency.

    Kendall's tau of that proxy, of the sum without sensitivities, of the parameters and of the
    multiply-accumulates with the loss as complete networks, and with the quality after
    distillation; intervals by bootstrap.

    \b
    Example: nasc audit --supernet supernet.safetensors --networks 120 --plot audit.png
             nasc audit --distill 24 --json
    """
    from nasc.cli.console import print_json, print_rows, reporting

    settings = settings_of(options)
    with reporting() as reporter:
        found = api.audit(
            settings,
            networks=networks,
            distilled=distilled,
            steps=steps,
            csv=csv,
            plot=plot,
            force=force,
            reporter=reporter,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows(found.rows())
