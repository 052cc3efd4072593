"""Where latency tables lie, and how their files are named. Loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".latency.csv"


def tables_folder(cache_dir: Path) -> Path:
    """Where tables are kept in a cache."""
    return cache_dir / "tables"


def samples_path(table_path: Path) -> Path:
    """Where the raw samples of a table lie: gzipped JSON of `profilers.Measurement`."""
    return table_path.with_name(f"{table_name(table_path)}.samples.json.gz")


def table_name(path: Path) -> str:
    """The name of a table's file without its suffix: what `nasc tables` calls it."""
    return path.name.removesuffix(SUFFIX)


def table_files(folder: Path) -> list[Path]:
    """The files of tables in a folder, ordered by name; none where there is no folder.

    Raises:
        OSError: If the folder is there and cannot be read.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
