"""The table of results: a row is a line with a JSON object, its name first, sorted by name.

`quality_grid.py` and `quality_parts.py` add their rows themselves. What other commands print as
JSON becomes a row, or replaces the one of that name, by

    COMMAND | python benchmarks/quality/results.py NAME
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasc.utils.files import write_atomically

TABLE = Path(__file__).with_name("results.jsonl")


class Results:
    """A table in a file, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by name.

        Raises:
            SystemExit: If a line is no row, or has the name of one before.
        """
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        rows: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or "name" not in row:
                raise SystemExit(
                    f"'{self.path}', line {number}: no JSON object with a name: {line[:60]!r}"
                )
            name = row.pop("name")
            if name in rows:
                raise SystemExit(f"'{self.path}', line {number}: a second '{name}'. Leave one")
            rows[name] = row
        return rows

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Write a new row, or another one in place of that of the same name.

        The file is replaced as a whole. Other processes that add rows wait.
        """
        with held(self.path.parent):
            rows = self.rows() | {name: row}
            lines = [json.dumps({"name": n} | rows[n]) + "\n" for n in sorted(rows)]
            write_atomically(self.path, "".join(lines).encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A block that one process at a time runs for a folder; nothing is left in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the row")
    parser.add_argument("--results", type=Path, default=TABLE, help="table; default: %(default)s")
    arguments = parser.parse_args()
    try:
        row = json.load(sys.stdin)
    except ValueError as error:
        raise SystemExit(f"what was given is no JSON: {error}. Nothing was written") from None
    if not isinstance(row, dict) or "name" in row:
        raise SystemExit("what was given is no JSON object without a name. Nothing was written")
    Results(arguments.results).add(arguments.name, row)


if __name__ == "__main__":
    main()
