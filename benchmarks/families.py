"""Networks by name, ours and what one could make by hand, for several benchmarks.

One of the file that comes with nasc, an architecture out of the supernet (``supernet: ...``), all
layers of the teacher at one smaller hidden size (``narrow 224``) or some of them as they are
(``layers 1 6``, or ``layers 5M 6``: of the fifth its attention alone; F is a feed-forward part).
"""

from __future__ import annotations

from collections.abc import Mapping

from nasc.data.corpus import load_corpus
from nasc.errors import UsageError
from nasc.networks.network import Network
from nasc.supernet.shipped import load_shipped_supernet
from nasc.supernet.teacher_narrowing import narrowed_network
from nasc.supernet.teacher_pruning import pruned_network
from nasc.teacher import Teacher

FAMILIES = ("ours", "narrow", "depth", "static")
"""In the words of docs/quality.md."""


def family_of(name: str) -> str:
    """Which of `FAMILIES` a network belongs to, by its name."""
    known = {"narrow": "narrow", "layers": "depth", "static": "static"}
    return known.get(name.split(" ")[0], "ours")


def network_of(name: str, teacher: Teacher, held: Mapping[str, Network]) -> Network:
    """A network by its name, in fp32, as it is before its own training.

    Args:
        name: In the words of this file's head.
        teacher: The default one.
        held: What comes trained, by architecture.

    Raises:
        UsageError: If there is no such network.
    """
    if name in held:
        return held[name]
    kind, _, rest = name.partition(" ")
    supernet = load_shipped_supernet(teacher)
    if kind == "supernet:":
        return supernet.extract(supernet.space.parse(rest))
    words, layers = rest.split(), teacher.geometry.layers
    if kind == "narrow" and len(words) == 1 and words[0].isdecimal() and int(words[0]):
        texts = load_corpus(None, seed=0).train
        return narrowed_network(teacher, int(words[0]), texts, "fp32", teacher.head())
    known = {f"{n}{part}" for n in range(1, layers + 1) for part in ("", "M", "F")}
    if kind == "layers" and words and set(words) <= known:
        parts = (f"{n}{part}" for n in range(1, layers + 1) for part in "MF")
        kept = tuple(part in words or part[:-1] in words for part in parts)
        return pruned_network(teacher, supernet.space, kept, "fp32", teacher.head())
    raise UsageError(
        f"no network {name!r}: give one of {', '.join(held)}, or 'supernet: ARCHITECTURE', "
        "'narrow SIZE' or 'layers NUMBER[M|F] ...'"
    )
