"""What messages to and from a worker hold; docs/worker-protocol.md."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from profilers.jobs import DTYPES

PROTOCOL = 1
"""Version of the worker protocol, as a worker tells it when it starts."""

MAX_ANSWER_BYTES = 512 << 20
"""An answer's line may be so long: the outputs of a run in base64."""

RUN_S, LOAD_S = "run_s", "load_s"
"""Limits of time by their names in `profilers.jobs.WorkerLimits`. As the last line of stderr of a
worker that SIGALRM ended, the one that was exceeded."""


def encode_array(value: Any) -> dict[str, Any]:
    """An array as a message holds it.

    Raises:
        ValueError: Its type is none of `profilers.jobs.DTYPES`.
    """
    array = np.asarray(value, order="C")
    if array.dtype.name not in DTYPES:
        raise ValueError(f"type {array.dtype.name!r} cannot be sent")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(array.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def decode_array(data: Any) -> Any:
    """The array of a message; `encode_array` made it.

    Raises:
        KeyError, TypeError, ValueError: It is no array.
    """
    if data["dtype"] not in DTYPES:
        raise ValueError(f"type {data['dtype']!r} cannot be sent")
    kind = np.dtype(data["dtype"]).newbyteorder("<")
    raw = base64.b64decode(data["data"], validate=True)
    return np.frombuffer(raw, kind).reshape(data["shape"]).astype(kind.newbyteorder("="))
