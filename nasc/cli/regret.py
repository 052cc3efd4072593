"""`nasc regret`: what is best for one device, on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import (
    PRECISIONS,
    RUNTIMES,
    Amount,
    json_option,
    settings_of,
    supernet_options,
    threads_option,
)


@main.command()
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME_OR_TABLE",
    help="A device with a table in the cache, the name of a table, or a table's file; twice or "
    "more.",
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, min_open=True),
    help="Limit on latency on each device, in milliseconds.",
)
@click.option(
    "--latency-share",
    type=click.FloatRange(0, 1, min_open=True),
    help="The limit as a share of what the full-size network takes on each device (0.5).",
)
@click.option("--params", type=Amount(), help="Limit on parameters (5M).")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="Of the tables of a device.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Of the tables of a device.")
@click.option("--seq-len", type=click.IntRange(1), help="Of the tables of a device.")
@threads_option
@supernet_options
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw what is lost.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
def regret(
    as_json: bool,
    devices: tuple[str, ...],
    latency_ms: float | None,
    latency_share: float | None,
    params: float | None,
    precision: str | None,
    seq_len: int | None,
    csv: Path | None,
    plot: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Run the network that is best for each device on the others: what is lost at equal latency.

    From latency tables, nothing is measured. Two runtimes, precisions or numbers of threads of one
    machine are two devices here: name their tables (nasc tables list).

    \b
    Example: nasc regret --device pixel6 --device host --latency-ms 10
             nasc regret --device 2da91c227415 --device board.latency.csv --latency-share 0.5
    """
    from nasc.cli.console import print_json, print_table, reporting

    settings = settings_of(options)
    with reporting() as reporter:
        found = api.regret(
            devices,
            settings,
            latency_ms=latency_ms,
            latency_share=latency_share,
            params=params,
            precision=precision,
            seq_len=seq_len,
            csv=csv,
            plot=plot,
            force=force,
            reporter=reporter,
        )
    if as_json:
        print_json(found.to_dict())
        return
    header = ["best for", "limit", "loss", *(f"on {one.label}" for one in found.devices)]
    rows = []
    for one, transfers in zip(found.devices, found.transfers, strict=True):
        cells = [
            f"{t.latency_ms:.2f} ms, +{t.lost:.4f}{'' if t.meets else ' (over)'}" for t in transfers
        ]
        rows.append((one.label, f"{one.limit_ms:.2f}", f"{one.best.predicted_loss:.4f}", *cells))
    print_table(
        (*header, "architecture"),
        [(*row, str(one.best.architecture)) for row, one in zip(rows, found.devices, strict=True)],
    )
    notes = dict.fromkeys(one.foreign for one in found.devices if one.foreign is not None)
    about = (
        "predicted, not measured; +: loss beyond what is best there in no more time; (over): over "
        "the limit there"
    )
    click.echo("\n".join([about, *notes]), err=True)
