"""What `nasc regret` does: each device's best network on the others, from latency tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import TableError, UsageError
from nasc.latency.find import FoundTable, preference
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import table_files, table_name, tables_folder
from nasc.pipelines.plots import check_csv, check_plot, plot_regret, write_csv
from nasc.pipelines.tables import read_named
from nasc.selection.regret import (
    Regret,
    by_setting,
    check_comparable,
    labels,
    limits_of,
)
from nasc.selection.regret import regret as run_regret
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter

MOST_TOLD = 6


def regret(
    devices: Sequence[str],
    settings: Settings | None = None,
    *,
    latency_ms: float | None = None,
    latency_share: float | None = None,
    params: float | None = None,
    precision: str | None = None,
    seq_len: int | None = None,
    csv: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Regret:
    """Each device's best network on the others, and what is lost: nothing is measured.

    Args:
        devices: Two or more: names of devices that have a table in the cache, names of tables, or
            files of tables.
        settings: Teacher, supernet, text and cache; of its conditions `runtime` and `threads`
            choose among the tables of a device.
        latency_ms: Limit on each device.
        latency_share: Limit on each device as a share of what the full-size network takes there.
        params: Limit on parameters.
        precision: Of the tables of a device; None takes the only one.
        seq_len: Of the tables of a device; None takes the only one.
        csv: Where the figures go as a table; None writes none.
        plot: Where they are drawn; None draws none.
        force: Replace files that lie there.
        reporter: Told of the progress.

    Raises:
        UsageError: If there are too few devices, a name is not clear, or not one limit is given.
        TableMissing, TableDamaged: If there is no such table, or it cannot be read.
        InfeasibleLimits: If no network meets the limit of a device.
        NascError: If a file cannot be written.
    """
    if plot is not None:
        check_plot(plot, force)
    if csv is not None:
        check_csv(csv, force)
    settings = settings or Settings()
    cache = cache_folder(settings.cache)
    wanted = {
        "runtime": settings.runtime,
        "threads": settings.threads,
        "precision": precision,
        "seq_len": seq_len,
    }
    found = [_table(cache, device, wanted) for device in devices]
    tables = [table for _, table in found]
    check_comparable(tables)
    context = RunContext(replace(settings, runtime=None, threads=None), reporter)
    if context.whole_space.geometry != tables[0].key.geometry:
        raise UsageError(
            f"the latency tables are of another teacher than {context.teacher.name}: name theirs, "
            "--teacher NAME"
        )
    limits_ms = limits_of(tables, context.whole_space.teacher, latency_ms, latency_share)
    names = labels(tables, [name for name, _ in found])
    positions = context.supernet.prepare().scores.positions()
    result = run_regret(list(zip(names, tables, strict=True)), positions, limits_ms, params)
    if csv is not None:
        write_csv(result.table(), csv, force)
    if plot is not None:
        plot_regret(result, plot, force)
    return result


def _table(
    cache: Path, device: str, wanted: dict[str, str | int | None]
) -> tuple[str, LatencyTable]:
    """The table of a device, with its name.

    Raises:
        UsageError: If the cache holds several for it.
        TableMissing, TableDamaged: See `read_named`.
    """
    there: list[FoundTable] = []
    for path in table_files(tables_folder(cache)):
        try:
            table = load_table(path)
        except TableError:
            continue
        if table.key.device == device:
            there.append(FoundTable(table, path))
    there.sort(key=preference)
    named = {table_name(one.path): one.table for one in there}
    fitting = by_setting(named, wanted)
    if named and not fitting:
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        raise UsageError(
            f"no latency table of device {device!r} is of {asked}; there are: {_listed(named)}"
        )
    if fitting:
        settings: dict[str, str] = {}  # of each setting that which a search would take
        for name, table in fitting.items():
            settings[table.key.describe() + table.key.fingerprint] = name
        if len(settings) > 1:
            raise UsageError(
                f"device {device!r} has {len(settings)} latency tables: {_listed(fitting)}. Name "
                "one, --device TABLE, or say which: --runtime, --precision, --threads, --seq-len"
            )
        [name] = settings.values()
        return name, fitting[name]
    path, table = read_named(cache, device)
    return table_name(path), table


def _listed(tables: dict[str, LatencyTable]) -> str:
    more = f", and {len(tables) - MOST_TOLD} more" if len(tables) > MOST_TOLD else ""
    return ", ".join(list(tables)[:MOST_TOLD]) + more
