"""`nasc search`: the best within limits, predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import (
    json_option,
    lengths_option,
    limit_options,
    limits_of,
    predicting_option,
    setting_options,
    settings_of,
    vocab_option,
)


@main.command()
@limit_options
@setting_options
@vocab_option
@lengths_option
@predicting_option
@click.option("--best", type=click.IntRange(1), help="How many [default: 5].")
@click.option("--front", is_flag=True, help="The whole Pareto front of latency and loss.")
@click.option(
    "--strategy",
    type=click.Choice(["exact", "enumerate"]),
    help="exact: by predicted loss; enumerate: the paper's way, out of the table of all "
    "combinations the 100 best by true loss [default: exact].",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the front to a file."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def search(
    as_json: bool,
    best: int | None,
    front: bool,
    strategy: str | None,
    plot: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Find the best architectures within limits; nothing is built.

    \b
    Example: nasc search --latency-ms 5 --best 3
             nasc search --front --plot front.png
    """
    from nasc.cli.console import print_json, print_table, reporting

    if plot is not None and not front:
        raise click.UsageError("--plot draws the front: give --front too")
    if front and best is not None:
        raise click.UsageError("--front is the whole front, --best some networks: give one")
    if front and strategy is not None:
        raise click.UsageError("--strategy finds some networks, --front the whole front: give one")
    if plot is not None:
        from nasc.pipelines.plots import check_plot

        check_plot(plot, force)
    limits, settings = limits_of(options), settings_of(options)
    with reporting() as reporter:
        found = api.search(
            limits,
            settings,
            best=best or 5,
            front=front,
            strategy=strategy or "exact",
            reporter=reporter,
        )
        if plot is not None:
            from nasc.pipelines.plots import plot_front

            plot_front(found, plot, settings, force)
            reporter.say(f"front drawn to {plot}")
    if as_json:
        estimated = {"estimate": True} if settings.estimate else {}
        print_json([_solution(s) | estimated for s in found])
        return
    first = ("true",) if strategy == "enumerate" else ()
    rows = []
    for s in found:
        true = () if s.true_loss is None else (f"{s.true_loss:.4f}",)
        times = (f"{s.costs['latency_ms']:.2f}", f"{s.upper['latency_ms']:.2f}")
        size, params = s.costs["size_bytes"] / 1e6, s.costs["params"] / 1e6
        loss = f"{s.predicted_loss:.4f}"
        row = (loss, *times, f"{size:.1f}", f"{params:.1f}M", s.runtime, str(s.architecture))
        rows.append((*true, *row))
    ms = "ms (ESTIMATE)" if settings.estimate else "ms"
    names = ("loss", ms, "at most", "MB", "params", "runtime", "architecture")
    print_table((*first, *names), rows)
    notes = dict.fromkeys(s.latency_table for s in found if s.latency_table is not None)
    about = _conditions(settings, found[0].mixture if found else None)
    how = "ESTIMATE, not measured" if settings.estimate else "predicted, not measured"
    click.echo("\n".join([f"{how}; {about}", *notes]), err=True)


def _solution(s: api.Solution) -> dict[str, Any]:
    return {
        "architecture": str(s.architecture),
        "precision": s.architecture.precision,
        "runtime": s.runtime,
        "predicted_loss": s.predicted_loss,
        "predicted": dict(s.costs),
        "upper": dict(s.upper),
    } | {
        name: value
        for name in ("true_loss", "latency_table", "mixture")
        if (value := getattr(s, name)) is not None
    }


def _conditions(settings: api.Settings, mixture: str | None) -> str:
    from device_profiles.sustained import load_words
    from profilers import STATISTIC

    load = load_words(settings.sustained_minutes)
    threads = settings.threads or "the device's default"
    return (
        f"device {settings.device}, batch {settings.batch}, "
        f"{mixture or f'{settings.seq_len} tokens'}"
        f"{' and no other shape' if settings.fixed_shape else ''}, threads: "
        f"{threads}{'' if load is None else f', {load}'}, tokenisation not included, "
        f"statistic: {STATISTIC}"
    )
