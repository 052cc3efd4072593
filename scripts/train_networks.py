"""Trains networks that come with nasc, out of the supernet that does, and stores them in one file.

Runs that broke off go on where they were; networks that are trained are found in the cache, so that
one more network, or more steps of one, is one more call with all of them. One thread makes the same
file bit by bit on the same kind of processor.

    OMP_NUM_THREADS=1 python scripts/train_networks.py --corpus wiki-en --steps 25000
        --output minilm-l6.safetensors "192: M | 192: F | 256: F M F"

With `--start` networks of such a file are trained further, whole or with operations left out; those
of `--new` begin in the supernet beside them. Within a call the teacher is asked once what it says
of a text. With `--beside` those of other files are stored before them as they are, or alone, but
for those of `--without`.

`nasc report` tells of the file that ships; `nasc report --json` how it was trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nasc.architecture.space import OPERATIONS, Architecture
from nasc.context.text_source import MAX_CORPUS
from nasc.data import Corpus, load_corpus
from nasc.data.corpus import corpus_from_sentences
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences
from nasc.data.joined import joined
from nasc.data.sources import Reading, describe, read_all
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.distillation.trained import TrainedNetwork, read_trained, write_trained
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.networks.network import Network
from nasc.supernet.shipped import load_shipped_supernet
from nasc.supernet.supernet import Supernet
from nasc.tasks.squad import read_squad
from nasc.teacher import Teacher, load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Progress


def corpus_of(args: argparse.Namespace) -> Corpus:
    """The text, as sentences or joined, and questions."""
    if not args.corpus:
        return load_corpus(None, seed=args.seed, max_sentences=args.sentences)
    asked = [(path, read_squad(path)) for path in args.questions]
    return corpus_from_sentences(
        itertools.chain(
            joined(read_all(args.corpus, Reading()), args.joined, args.seed),
            (one.question.strip() for _, found in asked for one in found),
        ),
        description=", ".join(
            [describe(source) for source in args.corpus]
            + [f"questions of {path.name}" for path, _ in asked]
        ),
        seed=args.seed,
        max_sentences=args.sentences,
    )


def places_in(operations: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Where the operations wanted stand among others, the last ones of several; None: nowhere."""
    found: list[int] = []
    rest = list(wanted)
    for place in reversed(range(len(operations))):
        if rest and rest[-1] == operations[place]:
            rest.pop()
            found.append(place)
    return None if rest else found[::-1]


def with_operations_left_out(network: Network, architecture: Architecture) -> Network | None:
    """A network without some of its operations; None where it is not that but for them.

    Of equal operations of a block the last ones stay. A block loses none or some, not all.
    """
    ours, theirs = network.architecture, architecture
    if (len(ours.blocks), ours.precision) != (len(theirs.blocks), theirs.precision):
        return None
    gone: set[int] = set()
    before = 0
    for own, wanted in zip(network.architecture.blocks, architecture.blocks, strict=True):
        places = places_in(own.operations, wanted.operations)
        same = (own.hidden, own.kept) == (wanted.hidden, wanted.kept)
        if places is None or not same or (own.operations and not places):
            return None
        gone |= {before + n for n in range(len(own.operations)) if n not in places}
        before += len(own.operations)
    operations = [n for n, layer in enumerate(network.layers) if layer.kind in OPERATIONS]
    without = {operations[number] for number in gone}
    tensors = tuple(own for n, own in enumerate(network.tensors) if n not in without)
    return dataclasses.replace(network, architecture=architecture, tensors=tensors)


def without_cache(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe whose command, and that of what it began with, names no cache: a place of a machine.

    What is trained does not depend on it.
    """
    words = iter(shlex.split(recipe["command"]))
    kept = []
    for word in words:
        if word == "--cache":
            next(words, None)
        elif not word.startswith("--cache="):
            kept.append(word)
    before = {"before": without_cache(recipe["before"])} if "before" in recipe else {}
    return {**recipe, "command": shlex.join(kept), **before}


class Lines:
    """A reporter that prints a line now and then."""

    def say(self, text: str) -> None:
        """One line."""
        print(text, flush=True)

    def stage(self, title: str) -> Progress:
        """Every thousandth step is told."""

        def progress(done: int, total: int, message: str) -> None:
            if done % 1000 == 0:
                print(f"{title}: {done} of {total}, {message}", flush=True)

        return progress


def main() -> None:
    """Train, judge, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("networks", nargs="*", help="architectures of the supernet's space")
    parser.add_argument("--corpus", action="append", help="default: the text that comes with nasc")
    parser.add_argument("--steps", type=int, default=25_000)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--start", type=Path, help="a file of networks to train further")
    parser.add_argument("--new", nargs="+", default=[], help="beside those of --start")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="files to take over")
    parser.add_argument(
        "--without", nargs="+", default=[], help="networks of --beside to leave out"
    )
    parser.add_argument("--passes", type=int, default=8, help="times that a sentence is seen")
    parser.add_argument("--sentences", type=int, default=MAX_CORPUS)
    parser.add_argument(
        "--joined", type=float, default=0.0, help="share of texts of several sentences of --corpus"
    )
    parser.add_argument(
        "--questions", type=Path, nargs="+", default=[], help="files of SQuAD: their questions, too"
    )
    parser.add_argument("--text", help="what all of the file learnt from, for people to read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="default: nasc's own")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if (args.joined or args.questions) and not args.corpus:
        parser.error("--joined and --questions need --corpus")
    if not args.networks and not args.new and not args.beside:
        parser.error("give networks to train, or files to take over (--beside)")
    teacher = load_teacher()
    supernet = load_shipped_supernet(teacher)
    started = () if args.start is None else read_trained(args.start, teacher)
    architectures = [supernet.space.parse(text) for text in args.networks]
    before = {
        wanted: dataclasses.replace(one, network=begun)
        for one in sorted(started, key=lambda one: -len(one.network.tensors))
        for wanted in architectures
        if (begun := with_operations_left_out(one.network, wanted)) is not None
    }
    unknown = [str(one) for one in architectures if one not in before]
    if args.start is not None and unknown:
        parser.error(
            f"{args.start} holds no {', no '.join(unknown)}, nor more operations of it: "
            "give what is to begin in the supernet by --new"
        )
    architectures += [supernet.space.parse(text) for text in args.new]
    found = [one for path in args.beside for one in read_trained(path, teacher)]
    left_out = [supernet.space.parse(text) for text in args.without]
    taken_over = {one.network.architecture for one in found}
    if absent := [str(one) for one in left_out if one not in taken_over]:
        parser.error(f"--without {', '.join(absent)}: no file of --beside holds it")
    found = [one for one in found if one.network.architecture not in left_out]
    if architectures:
        found += trained(args, teacher, supernet, architectures, before)
    found = [
        dataclasses.replace(one, recipe=without_cache(one.recipe), text=args.text or one.text)
        for one in found
    ]
    write_trained(args.output, teacher, supernet.space, found)


def trained(
    args: argparse.Namespace,
    teacher: Teacher,
    supernet: Supernet,
    architectures: Sequence[Architecture],
    before: Mapping[Architecture, TrainedNetwork],
) -> Iterator[TrainedNetwork]:
    """Networks out of the supernet, or further from what they were before, each with its scores."""
    corpus = corpus_of(args)
    config = DistillConfig(
        args.steps,
        learning_rate=args.learning_rate,
        hidden_weight=0.0,
        passes=args.passes,
        seed=args.seed,
    )
    judged = judging_sentences(corpus, JUDGING_SENTENCES)
    wanted = teacher_vectors(teacher, judged)
    known: dict[bytes, Tensor] = {}  # the teacher takes as long as what learns from it
    for architecture in architectures:
        begun = before.get(architecture)
        network, steps = distill_cached(
            supernet.extract(architecture) if begun is None else begun.network,
            teacher,
            corpus,
            config,
            seconds=None,
            cache_dir=cache_folder(args.cache),
            reporter=Lines(),
            known=known,
        )
        scores = dataclasses.asdict(compare(wanted, pooled_vectors(teacher, network, judged)))
        print(f"{architecture}: {scores}", flush=True)
        recipe = {
            "config": config.to_dict(),
            "sentences": args.sentences,
            "joined": args.joined,
            "text_sha256": corpus.sha256,
            "command": shlex.join(["python", "scripts/train_networks.py", *sys.argv[1:]]),
        }
        text = corpus.description
        if begun is not None:
            steps += begun.steps
            recipe["before"] = dict(begun.recipe)
            text = text if begun.text == text else f"{begun.text}, then {text}"
        yield TrainedNetwork(network, steps, text, recipe, scores)


if __name__ == "__main__":
    main()
