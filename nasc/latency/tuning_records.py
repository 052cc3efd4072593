"""Which tuning records networks are compiled by for a device: the user's own, then nasc's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.errors import RecordsError
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.utils.printable import printable
from profilers.context import fingerprint


@dataclass(frozen=True, slots=True)
class FoundRecords:
    """Records for a device, and what is to be said of them.

    Attributes:
        records: All there are; None where there are none.
        said: Where they come from and what was left out, in words; of none, what that means.
    """

    records: KernelRecords | None
    said: str


def find_records(
    device: str, cpu: Mapping[str, Any], threads: int, tables: Path, shipped: Path | None = None
) -> FoundRecords:
    """The tuning records for a device.

    Args:
        device: Its name.
        cpu: Its processor, as `profilers.context.read_context` gives it.
        threads: That networks run on.
        tables: Where `nasc tune` keeps records, beside the device's tables; may be missing.
        shipped: Where those lie that come with nasc; None is there.

    Raises:
        RecordsRefused, RecordsDamaged: If there are some that cannot be used; says how to be rid of
            them.
        UsageError, ExportError: If TVM is not installed, or makes nothing for such a processor.
    """
    # Late: they import TVM, which takes seconds.
    from nasc.lowering.tuning.records import RecordsKey, best_records, other_records
    from nasc.lowering.tuning.shipped import shipped_records
    from nasc.lowering.tvm_module import target_of

    key = RecordsKey.of(
        device, fingerprint(dict(cpu)), target_of(cpu["flags"], cpu["arch"], threads)
    )
    try:
        own = best_records(key.folder(tables), key)
    except RecordsError as error:
        raise type(error)(f"{error}. Or leave them out: --no-tuned") from error
    ours = shipped_records(cpu, key, shipped)
    said = []
    if own is not None:
        said.append(f"of {len(own.kernels)} kernels from '{key.folder(tables)}'")
    if ours is not None:
        more = len(ours.kernels.keys() - (own.kernels if own is not None else {}))
        said.append(f"of {more} kernels that come with nasc for this kind of processor")
    if own is not None and ours is not None:
        found: KernelRecords | None = own.over(ours)
    else:
        found = own if own is not None else ours
    if found is None:
        model = printable(str(cpu.get("model")))
        on = "1 thread" if threads == 1 else f"{threads} threads"
        text = (
            f"no tuning records for {model} with {on}: tvm's kernels go by general schedules. To "
            f"find faster ones: nasc tune --device {device}"
        )
    else:
        text = f"tvm's kernels go by tuning records {' and '.join(said)} ({found.sha256[:8]})"
    others = [f"left out: {other}" for other in other_records(tables, key)]
    return FoundRecords(found, "; ".join([text, *others]))
