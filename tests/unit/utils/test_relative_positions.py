"""Buckets of relative positions are those of MPNet in transformers."""

import numpy as np
import torch
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from nasc.utils.relative_positions import BUCKETS, bucket_table, distance_buckets
from nasc.utils.torch_positions import position_scores


def test_buckets_are_those_of_transformers() -> None:
    place = torch.arange(600)
    wanted = MPNetEncoder.relative_position_bucket(place[None, :] - place[:, None])
    np.testing.assert_array_equal(bucket_table(600, BUCKETS), wanted.numpy())
    np.testing.assert_array_equal(bucket_table(20, BUCKETS), wanted[:20, :20].numpy())


def test_distances_count_from_the_farthest_before_to_the_farthest_behind() -> None:
    assert distance_buckets(3, 32).tolist() == [2, 1, 0, 17, 18]
    assert distance_buckets(600, 32).max() == 31


def test_scores_are_by_head_and_pair_of_tokens() -> None:
    bias = torch.arange(64, dtype=torch.float32).view(32, 2)
    found = position_scores(bias, 4)
    assert found.shape == (1, 2, 4, 4)
    assert found[0, 1, 2, 0] == bias[2, 1]
    assert found[0, 0, 0, 2] == bias[18, 0]
