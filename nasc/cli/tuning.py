"""`nasc tune`: TVM's kernels, tuned on a device."""

from __future__ import annotations

from typing import Any

import click

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import (
    PRECISIONS,
    cache_option,
    json_option,
    named_device_option,
    seed_option,
    space_options,
    threads_option,
)


@main.command()
@named_device_option
@space_options
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Budget.",
)
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True)
@click.option(
    "--seq-len",
    "seq_lens",
    multiple=True,
    type=click.IntRange(1),
    help="Tokens; repeatable [default: 128].",
)
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Sentences in a run."
)
@threads_option
@click.option(
    "--head",
    help="embed (pooled as the teacher's), hidden, classify-N or spans [default: the teacher's].",
)
@click.option(
    "--full-size",
    is_flag=True,
    help="Tune the kernels of the full-size network alone, not those of the whole search space.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Candidates of a kernel at most [default: as many as there is time for].",
)
@click.option(
    "--tracker",
    metavar="HOST:PORT",
    help="Tune on the boards that serve --key at this tracker of TVM's RPC.",
)
@click.option("--key", metavar="NAME", help="Key of the boards at the tracker.")
@seed_option
@cache_option
@json_option
def tune(as_json: bool, **options: Any) -> None:
    """Tune TVM's kernels of a search space on a device, those first that most time goes to.

    The same command goes on where it ended or was interrupted. Records are kept beside the
    device's tables, and whatever makes networks for TVM goes by them (unless --no-tuned); kernels
    without one are compiled by general schedules, and named.

    With --tracker they run on all boards of a key, compiled here for their processor.

    \b
    Example: nasc tune --device host --minutes 30 --full-size
    Example: nasc tune --tracker 192.168.1.10:9190 --key rpi5
    """
    from nasc.cli.console import print_json, print_rows, print_table, reporting

    with reporting() as reporter:
        found = api.tune(reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
        return

    def number(value: float | None, digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    header = ("share", "runs", "ms before", "ms now", "GFLOP/s before", "now", "trials", "kernel")
    print_table(
        header,
        [
            (
                f"{k.share:.1%}",
                str(k.count),
                number(k.before_ms, 4),
                number(k.after_ms, 4),
                number(k.gflops_before),
                number(k.gflops_after),
                f"{k.trials} ({k.failed} failed)" if k.failed else str(k.trials),
                k.name,
            )
            for k in found.kernels
        ],
    )
    before, after = (found.pass_ms(tuned=tuned) for tuned in (False, True))
    print_rows(
        [
            ("full size", f"{number(before, 2)} to {number(after, 2)} ms, kernel by kernel"),
            ("no record", ", ".join(found.without_record) or "none"),
            *((f"{k.name} failed", k.error) for k in found.kernels if k.error is not None),
            ("never tuned", ", ".join(found.left_out) or "none"),
            ("candidates by", found.cost_model),
            *(
                (
                    f"board {board.address}",
                    f"{board.trials} candidates"
                    + (f", gave out {board.lost} times" if board.lost else ""),
                )
                for board in (found.farm.boards if found.farm is not None else ())
            ),
            ("target", found.target),
            ("records", str(found.records)),
        ]
    )
