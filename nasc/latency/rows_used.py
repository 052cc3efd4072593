"""The rows of a latency table that predict a network, which a package states."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nasc.architecture.layers import layers
from nasc.architecture.space import Architecture
from nasc.latency.basis import space_layers
from nasc.latency.cache_misses import network_streamed_params
from nasc.latency.table import LatencyTable


def rows_used(table: LatencyTable, architecture: Architecture) -> dict[str, Any]:
    """The rows, as plain data: their sum, and what streaming adds, is the predicted latency.

    Args:
        table: Of the network's runtime and precision.
        architecture: The network.

    Raises:
        LookupMiss: If one of its layers was not measured.
    """
    geometry, head = table.space.geometry, table.key.head
    counted = Counter(layers(architecture, geometry, head))
    streamed = network_streamed_params(architecture, geometry, head)
    own = space_layers(table.space, head)
    more = sorted({layer.hidden_in for layer in counted if layer not in own} - {geometry.hidden})
    beside = f"; hidden size {', '.join(map(str, more))} measured by itself" if more else ""
    return {
        "holds_for": table.key.describe() + beside,
        **({"created": table.created} if table.created else {}),
        "rows": [
            {
                "layer": str(layer),
                "count": count,
                "cost_ms": table.cost_ms(layer),
                "std_error_ms": table.std_error_ms(layer),
            }
            for layer, count in counted.items()
        ],
        "streaming_ms": table.streaming.extra_ms(streamed),
    }
