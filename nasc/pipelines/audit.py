"""What `nasc audit` does: how truly the search's proxy ranks networks, as figures and files."""

from __future__ import annotations

from pathlib import Path

import profilers
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.pipelines.plots import check_csv, check_plot, plot_audit, write_csv
from nasc.selection.audit import Audit
from nasc.selection.audit import audit as run_audit
from nasc.utils.progress import Reporter


def audit(
    settings: Settings | None = None,
    *,
    networks: int = 120,
    distilled: int = 0,
    steps: int = 150,
    csv: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> Audit:
    """How truly the search's proxy ranks networks: see `nasc.selection.audit`.

    Args:
        settings: Conditions; None takes the defaults.
        networks: How many are drawn.
        distilled: How many of them are distilled too.
        steps: Of each distillation.
        csv: Where the networks go as a table; None writes none.
        plot: Where they are drawn; None draws none.
        force: Replace files that lie there.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        UsageError: If there are too few networks to rank, no picture can be drawn, or a file
            exists and `force` is not given; before anything slow.
        NascError: If the table or the picture cannot be written.
    """
    if plot is not None:
        check_plot(plot, force)
    if csv is not None:
        check_csv(csv, force)
    context = RunContext(settings or Settings(), reporter, opener=opener)
    context.check_inputs()
    found = run_audit(context, networks=networks, distilled=distilled, steps=steps)
    if csv is not None:
        write_csv(found.table, csv, force)
    if plot is not None:
        plot_audit(found, plot, force)
    return found
