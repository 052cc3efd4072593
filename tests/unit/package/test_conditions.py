"""What a latency limit is about: what goes together, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from nasc.errors import PackageError
from nasc.latency.lengths import LengthMixture, LengthPart
from nasc.package.conditions import Conditions

MIXTURE = LengthMixture((LengthPart(8, 3), LengthPart(16, 1)), 9.0, "made up")


def conditions(seq_len: int = 16, **changes: Any) -> Conditions:
    about: dict[str, Any] = {"device": "host", "runtime": "onnxruntime", "batch": 1, "threads": 2}
    return Conditions(**about | {"statistic": "quiet median", "seq_len": seq_len} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fixed_shape": True},
        {"lengths": MIXTURE},
        {"quantile": "p90", "protocol": "mlperf-single-stream"},
        {"sustained_minutes": 5.0},
    ],
)
def test_conditions_survive_as_plain_data(changes: dict[str, Any]) -> None:
    one = conditions(**changes)
    assert Conditions.from_dict(one.to_dict()) == one
    assert one.to_dict()["tokenisation_included"] is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "mlperf-single-stream"}, "None by protocol 'mlperf-single-stream'"),
        ({"protocol": "other", "quantile": "p90"}, "p90 by protocol 'other'"),
        ({"lengths": MIXTURE, "seq_len": 8}, "a mixture of lengths up to 16 with batch 1, length"),
        ({"lengths": MIXTURE, "batch": 2}, "with batch 2"),
        ({"lengths": MIXTURE, "fixed_shape": True}, "fixed shape True"),
        ({"lengths": MIXTURE, "quantile": "p90"}, "the mean over a mixture has no p90"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        conditions(**changes)


def test_in_words_the_shape_and_what_is_held_are_told() -> None:
    assert str(conditions(threads=1)) == (
        "device host, onnxruntime, batch 1, 16 tokens, 1 thread, tokenisation not included, "
        "statistic: quiet median"
    )
    fixed = conditions(fixed_shape=True, quantile="p90", protocol="mlperf-single-stream")
    assert "16 tokens and no other shape, 2 threads" in str(fixed)
    assert str(fixed).endswith("statistic: p90 by protocol mlperf-single-stream")
    assert (fixed.shape, conditions().shape) == ((1, 16), None)
