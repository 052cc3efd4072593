"""Networks by name, ours and what one could make by hand, for several benchmarks.

One of the file that comes with nasc, an architecture out of the supernet (``supernet: ...``), all
layers of the teacher at one smaller hidden size (``narrow 224``) or some of them as they are
(``layers 1 6``, or ``layers 5M 6``: of the fifth its attention alone; F is a feed-forward part).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nasc.data.corpus import load_corpus
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import UsageError
from nasc.networks.network import Network
from nasc.supernet.shipped import load_shipped_supernet
from nasc.supernet.teacher_narrowing import narrowed_network
from nasc.supernet.teacher_pruning import pruned_network
from nasc.teacher import Teacher

FAMILIES = {"supernet:": "ours", "narrow": "narrow", "layers": "depth", "static": "static"}
"""What a name begins with, and the family in the words of docs/quality.md."""


def family_of(name: str) -> str | None:
    """The family of a network by its name; None of the teacher and of what comes trained."""
    return FAMILIES.get(name.split(" ")[0])


def by_name(networks: Iterable[TrainedNetwork]) -> dict[str, Network]:
    """What comes trained, by architecture."""
    return {str(one.network.architecture).split(" @ ")[0]: one.network for one in networks}


def network_of(name: str, teacher: Teacher, held: Mapping[str, Network]) -> Network:
    """A network by its name, in fp32: as it comes trained, or as it is before its own training.

    Args:
        name: In the words of this file's head.
        teacher: The default one.
        held: What comes trained, see `by_name`.

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
