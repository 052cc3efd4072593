"""Few networks that hold all neighbours of many."""

from itertools import pairwise

import numpy as np

from nasc.architecture.layers import layers
from nasc.architecture.space import load_space
from nasc.latency.cover import cover
from nasc.latency.plan import random_architectures


def pairs(architectures, geometry):
    return {p for a in architectures for p in pairwise(layers(a, geometry, "embed"))}


def test_all_neighbours_are_there_and_the_first_network_is():
    space = load_space("minilm-l6")
    many = [
        space.teacher,
        *random_architectures(space, np.random.default_rng(0), 60),
    ]
    few = cover(many, space.geometry, "embed")
    assert few[0] == space.teacher
    assert set(few) <= set(many)
    assert pairs(few, space.geometry) == pairs(many, space.geometry)
    assert len(few) < len(many)


def test_equal_networks_are_taken_once():
    space = load_space("minilm-l6")
    assert cover([space.teacher] * 3, space.geometry, "embed") == [space.teacher]
    assert cover([], space.geometry, "embed") == []
