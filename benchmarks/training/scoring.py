"""What the scores of blocks depend on: sentences, and the format of the products.

Blocks drawn from a teacher's space are scored on all held-out sentences that choose networks in
float32, and on parts of them and in bfloat16. Beside processor seconds stands how the order of the
blocks compares with the first one's (Kendall's tau), and by how much their losses differ (median).

    python benchmarks/training/scoring.py --corpus TEXT [--teacher DIR] > scoring.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from scipy.stats import kendalltau

from nasc.data import load_corpus
from nasc.data.heldout import SCORE_SENTENCES
from nasc.supernet.initialize import initialize
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.score_candidates import BLOCK_SENTENCES, DEV_BATCH
from nasc.supernet.scorer import Scorer
from nasc.supernet.space_for import space_for
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import train_length
from nasc.teacher import load_teacher

CALIBRATION = 64


def main() -> None:
    """Score, compare, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="append", help="default: the text that comes with nasc")
    parser.add_argument("--teacher", help="default: the default one")
    parser.add_argument("--blocks", type=int, default=70)
    parser.add_argument("--position", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    teacher = load_teacher(args.teacher)
    space = teacher_initialised_space(space_for(teacher, None))
    supernet = Supernet(space, teacher)
    corpus, length = load_corpus(args.corpus, seed=args.seed), train_length(teacher)
    tokens = teacher.tokenize(corpus.train[:CALIBRATION], max_length=length)
    batch = tokens.batch(range(len(tokens)))
    initialize(supernet, batch.input_ids, batch.attention_mask, args.seed)
    blocks = list(space.blocks())
    rng = np.random.default_rng(args.seed)
    drawn = rng.choice(len(blocks), min(args.blocks, len(blocks)), replace=False)
    chosen = [blocks[i] for i in sorted(drawn) if not blocks[i].kept]
    few = BLOCK_SENTENCES
    plans = [(0, SCORE_SENTENCES, False), (0, SCORE_SENTENCES, True)]
    plans += [(begin, few, True) for begin in range(0, SCORE_SENTENCES, few)]
    rows, reference = [], None
    for begin, count, bf16 in plans:
        given = teacher.tokenize(corpus.heldout[begin : begin + count], max_length=length)
        scorer = Scorer(supernet, [given.batch(i) for i in given.buckets(DEV_BATCH)], bf16)
        start = time.process_time()
        losses = scorer.block_losses(args.position, chosen)
        took = time.process_time() - start
        reference = losses if reference is None else reference
        row = {"first": begin, "sentences": count, "bf16": bf16, "cpu_s": round(took, 1)}
        rows.append(
            row
            | {
                "tau": round(float(kendalltau(losses, reference)[0]), 4),
                "differ": round(float(np.median(np.abs(losses / reference - 1))), 4),
            }
        )
        print(rows[-1], file=sys.stderr)
    found = {"benchmark": "scoring", "space": space.name, "blocks": len(chosen), "rows": rows}
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
