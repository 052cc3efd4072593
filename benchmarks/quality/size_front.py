"""The front of size against quality: what each choice of storage buys, and what it costs.

The full-size network is lowered in each precision of the runtime, with the teacher's vocabulary and
with one cut to a text; every file is judged as it ships: Spearman's correlation on STS-B dev, and
agreement with the teacher on held-out sentences. Then a package is compiled for each limit on size,
with the first of the vocabularies, and judged by its own manifest. No latency is stated; where
limits are given, tables are measured.

    python benchmarks/quality/size_front.py --sts dev.tsv.gz --corpus wiki-en/train-00.txt.gz \
        --vocab-from wiki-en/valid.txt.gz wiki-en/train-01.txt.gz --vocab-sts train.tsv.gz
    python benchmarks/quality/size_front.py --sts dev.tsv.gz --corpus wiki-en/train-00.txt.gz \
        --vocab-from wiki-en/valid.txt.gz --sizes 8 --minutes 10 --output packages/
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
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


def whole_networks(
    settings: Settings, sts: Path, precisions: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The full-size network in some precisions, with the vocabulary of some settings."""
    context, pairs = RunContext(settings, Lines(), promises_latency=False), read_sts(sts)
    evaluator, cut = ArtifactEvaluator(context, pairs, None), context.inputs.vocabulary
    for precision in precisions:
        network = teacher_network(
            context.teacher, context.whole_space.teacher.with_precision(precision), context.head
        )
        with tempfile.TemporaryDirectory() as folder:
            artifact = get_lowering(RUNTIME).lower(context.inputs.as_shipped(network), Path(folder))
            yield {
                "architecture": str(network.architecture),
                "vocab_from": None if cut is None else cut.text,
                "words": context.inputs.geometry.vocab_size,
                "read_otherwise": None if cut is None else cut.changed_tokens / cut.heldout_tokens,
                "size_bytes": artifact.size_bytes,
                **evaluator.quality(artifact),
            }


def sentences_of(sts: Path, folder: Path) -> Path:
    """The sentences of an STS file as a file of texts."""
    path = folder / "sts-sentences.txt"
    pairs = read_sts(sts)
    lines = [f"{text}\n" for pair in pairs for text in (pair.first, pair.second)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


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
            "vocab_from": None if cut is None else cut.text,
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
    parser.add_argument(
        "--vocab-from", nargs="*", type=Path, default=[], help="texts, each of which cuts it"
    )
    parser.add_argument("--vocab-sts", type=Path, help="the same by the sentences of an STS file")
    parser.add_argument("--precision", nargs="*", default=PRECISIONS[RUNTIME], help="default: all")
    parser.add_argument(
        "--corpus", nargs="*", default=[], help="default: the text that comes with nasc"
    )
    parser.add_argument("--sizes", nargs="*", type=float, default=[], help="limits, in MB")
    parser.add_argument("--minutes", type=float, default=10.0, help="of distillation, each")
    parser.add_argument("--output", type=Path, default=Path("size-front"), help="of the packages")
    given = parser.parse_args()
    whole = Settings(teacher=given.teacher, corpus=tuple(given.corpus))
    with tempfile.TemporaryDirectory() as folder:
        texts = list(given.vocab_from)
        if given.vocab_sts is not None:
            texts.append(sentences_of(given.vocab_sts, Path(folder)))
        cut = [dataclasses.replace(whole, vocab_from=text) for text in texts]
        for settings in (whole, *cut):
            for found in whole_networks(settings, given.sts, given.precision):
                print(json.dumps(found), flush=True)
    first = [whole, *cut][: 2 if given.vocab_from else 1][-1]
    for found in packages(first, given.sts, given.sizes, given.minutes, given.output):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
