"""What the networks that come trained with nasc are worth, beside what they began with.

Each as the supernet gives it and as it comes trained, in float32 (its weights as they are stored,
in int8), and the teacher: question to paragraph on SQuAD, agreement with the teacher on held-out
sentences of a text that no training saw, and what decides between networks when no text is named:
the mean of similarity and ranking on the held-out articles of nasc's own text. With `--steps` also
after so many steps of the distillation that `nasc compile` does, on the text that comes with nasc
and on those of `--on`.

    python benchmarks/quality/trained_networks.py --squad dev-v1.1.json --sts STS-B/dev.tsv
        --text wikitext-2/valid.txt > trained_networks.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nasc.data.corpus import load_corpus
from nasc.data.heldout import scored_sentences
from nasc.distillation.train import DistillConfig, batches_of, distill
from nasc.distillation.trained import shipped_networks
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.networks.network import Network
from nasc.supernet.shipped import load_shipped_supernet
from nasc.teacher import load_teacher

sys.path.append(str(Path(__file__).parents[1]))
from judging import Encode, Judging, add_judging_options


def main() -> None:
    """Judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_judging_options(parser)
    parser.add_argument("--networks", nargs="+", default=[], help="others of the supernet's space")
    parser.add_argument("--only", action="store_true", help="those of --networks alone")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--on", action="append", default=[], help="texts beside nasc's own")
    args = parser.parse_args()
    teacher = load_teacher()
    supernet = load_shipped_supernet(teacher)
    judging = Judging(teacher, args)
    deciding = scored_sentences(load_corpus(None, seed=0))
    wanted_deciding = teacher_vectors(teacher, deciding)
    rows: list[dict[str, Any]] = []

    def judge(network: str, kind: str, steps: int, encode: Encode) -> None:
        agreement = compare(wanted_deciding, encode(deciding))
        decides = round(agreement.decides(teacher.head()), 4)
        about = {"network": network, "kind": kind, "steps": steps}
        rows.append(about | judging(encode) | {"decides": decides})
        print(rows[-1], file=sys.stderr, flush=True)

    def judge_network(kind: str, steps: int, network: Network) -> None:
        name = str(network.architecture)
        judge(name, kind, steps, lambda texts: pooled_vectors(teacher, network, texts))
        if not args.steps:
            return
        for text in [None, *args.on]:
            corpus, config = load_corpus(text, seed=0), DistillConfig(args.steps)
            batches = batches_of(teacher, corpus, config, config.steps * config.batch_size)
            after, _ = distill(network, teacher, batches, config)
            about = f"{kind}, then on {corpus.description}"
            judge(name, about, args.steps, lambda texts, n=after: pooled_vectors(teacher, n, texts))

    judge("teacher", "teacher", 0, lambda texts: teacher_vectors(teacher, texts))
    trained = () if args.only else shipped_networks(teacher)
    others = [supernet.space.parse(text) for text in args.networks]
    for architecture in [one.network.architecture for one in trained] + others:
        judge_network("supernet", 0, supernet.extract(architecture))
    for one in trained:
        judge_network("trained", one.steps, one.network)
    json.dump({"benchmark": "trained_networks", "rows": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
