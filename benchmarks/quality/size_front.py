"""The front of size against quality: what each choice of storage buys, and what it costs.

The full-size network is lowered in each precision of the runtime, with the teacher's vocabulary and
with one cut to a text; every file is judged as it ships: Spearman's correlation on STS-B dev, and
agreement with the teacher on held-out sentences. Then a package is compiled for each limit on size,
and judged by its own manifest. No latency is stated; where limits are given, tables are measured.

    python benchmarks/quality/size_front.py --sts STS-B/dev.tsv.gz \
        --vocab-from wiki-en/valid.txt.gz --corpus wiki-en/train-00.txt.gz > front.jsonl
    python benchmarks/quality/size_front.py --sts dev.tsv.gz --corpus wiki-en/train-00.txt.gz \
        --vocab-from wiki-en/valid.txt.gz --sizes 8 --minutes 10 --output packages/ > front.jsonl
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.lowering import PRECISIONS, get_lowering
from nasc.networks.from_teacher import teacher_network
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.compile import compile
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.tasks.sts import read_sts

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

RUNTIME = "onnxruntime"


def whole_networks(settings: Settings, sts: Path) -> Iterator[dict[str, Any]]:
    """The full-size network in every precision, with the vocabulary of some settings."""
    context, pairs = RunContext(settings, Lines(), promises_latency=False), read_sts(sts)
    evaluator, cut = ArtifactEvaluator(context, pairs, None), context.vocabulary
    for precision in PRECISIONS[RUNTIME]:
        network = teacher_network(
            context.teacher, context.whole_space.teacher.with_precision(precision), context.head
        )
        with tempfile.TemporaryDirectory() as folder:
            artifact = get_lowering(RUNTIME).lower(context.as_shipped(network), Path(folder))
            yield {
                "architecture": str(network.architecture),
                "words": context.geometry.vocab_size,
                "read_otherwise": None if cut is None else cut.changed_tokens / cut.heldout_tokens,
                "size_bytes": artifact.size_bytes,
                **evaluator.quality(artifact),
            }


def packages(
    settings: Settings, sts: Path, megabytes: list[float], minutes: float, output: Path
) -> Iterator[dict[str, Any]]:
    """The best networks within limits on size, compiled into packages."""
    for limit in megabytes:
        words = "cut" if settings.vocab_from else "whole"
        options = Options(
            distill_minutes=minutes,
            sts_data=sts,
            output=output / f"{limit:g}MB-{words}",
            force=True,
        )
        found = compile(Limits(size_bytes=1e6 * limit), settings, options, Lines())
        cut = found.manifest.vocabulary
        yield {
            "limit_bytes": 1e6 * limit,
            "architecture": str(found.manifest.architecture),
            "words": found.manifest.geometry.vocab_size,
            "read_otherwise": None if cut is None else cut.changed_tokens / cut.heldout_tokens,
            "size_bytes": found.manifest.size_bytes,
            "distill_minutes": minutes,
            **found.manifest.quality,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sts", type=Path, required=True, help="STS-B's dev.tsv, or .gz")
    parser.add_argument("--teacher", help="folder or hub id; default: the default teacher")
    parser.add_argument("--vocab-from", type=Path, help="texts that the vocabulary is cut to")
    parser.add_argument("--corpus", nargs="*", default=[], help="default: prose on this machine")
    parser.add_argument("--sizes", nargs="*", type=float, default=[], help="limits, in MB")
    parser.add_argument("--minutes", type=float, default=10.0, help="of distillation, each")
    parser.add_argument("--output", type=Path, default=Path("size-front"), help="of the packages")
    given = parser.parse_args()
    whole = Settings(teacher=given.teacher, corpus=tuple(given.corpus))
    every = [whole]
    if given.vocab_from is not None:
        every.append(dataclasses.replace(whole, vocab_from=given.vocab_from))
    for settings in every:
        for found in whole_networks(settings, given.sts):
            print(json.dumps(found), flush=True)
    for found in packages(every[-1], given.sts, given.sizes, given.minutes, given.output):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
