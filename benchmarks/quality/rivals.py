"""How fast and how large networks are in int8 that `network_training.py` trains, ours and rivals.

Beside them, in one interleaved measurement, the teacher in int8 and its static word vectors in
fp32, which are judged, too: nothing is trained of them. Both, and the trainings, are rows of the
table (`results.py`), from which `quality_report.py` makes tables and a picture:

    python benchmarks/training/network_training.py --recipes joined --steps 1000 --networks ...
        --glue GLUE ... | python benchmarks/quality/results.py rivals-NAME
    python benchmarks/quality/rivals.py --networks ... --glue GLUE ...
        | python benchmarks/quality/results.py rivals

Networks are named as `families.py` says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from quality import PRECISION, RUNTIME, measure
from static_vectors import kept_tokens, static_table, token_vectors, write_static

from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.distillation.trained import shipped_networks
from nasc.errors import UsageError
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines
from families import by_name, network_of
from judging import Judging, add_judging_options

STATIC_SIZES = (256, 64)


def main() -> None:
    """Write, measure all in turn, judge what nobody trains, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", required=True)
    parser.add_argument("--cache", type=Path, help="default: the user's")
    add_judging_options(parser)
    args = parser.parse_args()
    if args.glue is None:
        parser.error("give a folder of GLUE's: --glue")
    context = RunContext(Settings(cache=args.cache, precisions=(PRECISION,)), Lines())
    teacher = context.teacher
    held = by_name(shipped_networks(teacher))
    try:
        networks = {name: network_of(name, teacher, held) for name in args.networks}
    except UsageError as error:
        parser.error(str(error))
    networks["teacher"] = teacher_network(teacher, context.whole_space.teacher)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (name, network) in enumerate(networks.items()):
            files[name] = Path(folder) / f"{number}.onnx"
            emit(network.with_precision(PRECISION), files[name])
        ids = kept_tokens(teacher)
        vectors = token_vectors(teacher, ids)
        static = {f"static {size}": size for size in STATIC_SIZES}
        for name, size in static.items():
            files[name] = Path(folder) / f"static-{size}.onnx"
            table = static_table(teacher, ids, vectors, size)
            write_static(table, files[name], teacher.geometry.max_positions)
        found = measure(context, files)
        costs = {
            name: {
                "precision": "fp32" if name in static else PRECISION,
                "latency_ms": found[name].latency_ms,
                "upper_ms": found[name].upper_ms,
                "size_bytes": path.stat().st_size,
            }
            for name, path in files.items()
        }
        judging = Judging(teacher, args)
        rows: list[dict[str, Any]] = [
            {"network": "teacher", "recipe": "none", **judging.network(networks["teacher"])}
        ]
        for name in static:
            encoder = Encoder(
                files[name], teacher.tokenizer, max_length=teacher.max_length, batch_size=1
            )
            rows.append({"network": name, "recipe": "none", **judging(encoder.encode)})
    found_all = {"benchmark": "rivals", "runtime": RUNTIME, "costs": costs, "rows": rows}
    json.dump(found_all, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
