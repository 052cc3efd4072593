"""Which networks an audit draws, and what it holds against what."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from nasc import api
from nasc.architecture.space import MINILM_L6, Block
from nasc.architecture.variant import Variant
from nasc.cli import main
from nasc.errors import NascError, UsageError
from nasc.latency.predict import Prediction
from nasc.selection.audit import BIN_NETWORKS, Audit, alike, audit, rankings_of, some_bins
from nasc.solver.problem import ScoredBlocks


def test_networks_of_a_bin_are_of_one_latency() -> None:
    latency = np.random.default_rng(0).uniform(1, 10, 5000)
    places, bins = alike(latency, 125)
    assert len(places) == len(set(places.tolist())) == 125
    assert np.bincount(bins).min() >= BIN_NETWORKS
    assert (np.diff(bins) >= 0).all()
    means = []
    for number in range(bins[-1] + 1):
        own = latency[places[bins == number]]
        assert own.max() / own.min() < 1.03
        means.append(own.mean())
    assert means[0] < 1.3
    assert means[-1] > 9.5
    assert means == sorted(means)


def test_a_pool_too_small_gives_what_it_has() -> None:
    places, bins = alike(np.array([1.0, 2.0, 4.0]), 30)
    assert sorted(places.tolist()) == [0, 1, 2]
    assert len(bins) == 3


@pytest.mark.parametrize(("count", "taken"), [(24, [8, 8, 8]), (20, [10, 10]), (120, [10] * 12)])
def test_some_networks_are_taken_out_of_few_bins(count: int, taken: list[int]) -> None:
    bins = np.repeat(np.arange(12), BIN_NETWORKS)
    places = some_bins(bins, count)
    found = np.bincount(bins[places], minlength=12)
    assert sorted(found[found > 0].tolist()) == taken
    assert found[0] > 0
    assert found[-1] > 0


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    params = rng.uniform(1, 2, 40)
    return pd.DataFrame(
        {
            "architecture": [f"n{i}" for i in range(40)],
            "latency_ms": np.linspace(1, 2, 40),
            "bin": np.repeat([0, 1, 2, 3], 10),
            "proxy": -params + 0.01 * rng.normal(size=40),
            "plain_sum": -params + 0.1 * rng.normal(size=40),
            "params": params,
            "macs": rng.permutation(params),
            "true_loss": -params,
            "quality": params,
        }
    )


@pytest.mark.parametrize("what", ["true_loss", "quality"])
def test_more_parameters_and_quality_are_better(what: str) -> None:
    for ranking in rankings_of(table(), what).values():
        assert ranking.tau["params"].tau == 1.0
        assert ranking.tau["proxy"].tau > 0.9
        assert ranking.tau["macs"].tau < 0.6
        assert ranking.gains["params"].tau < 0 < ranking.gains["macs"].low


def test_an_audit_is_plain_data_and_lines() -> None:
    found = Audit(
        table().assign(quality=np.nan), {"true_loss": rankings_of(table(), "true_loss")}, 0
    )
    assert found.to_dict()["networks"][0]["quality"] is None
    assert found.to_dict()["rankings"]["true_loss"]["in_bins"]["tau"]["params"]["tau"] == 1.0
    assert [name for name, _ in found.rows()][:2] == [
        "true loss, overall: proxy",
        "true loss, overall: plain sum",
    ]


@pytest.mark.parametrize(("networks", "distilled"), [(2, 0), (10, 2), (10, 11)])
def test_too_few_networks_are_refused(networks: int, distilled: int) -> None:
    context: Any = SimpleNamespace()
    with pytest.raises(UsageError, match="an audit ranks 3 networks or more"):
        audit(context, networks=networks, distilled=distilled)


def test_a_supernet_with_too_few_networks_is_refused() -> None:
    block = Block(128, ("ffn",))
    positions = (ScoredBlocks((block,), np.zeros(1)),) * 3
    costs: Any = SimpleNamespace(
        metrics=("latency_ms",), predict=lambda architecture, runtime: Prediction(1.0, 0.9, 1.1)
    )
    scores = SimpleNamespace(positions=lambda: positions)
    context: Any = SimpleNamespace(
        space=SimpleNamespace(geometry=MINILM_L6),
        variants=(Variant("onnxruntime", "fp32"),),
        settings=SimpleNamespace(seed=0),
        graph_head="embed",
        tables=SimpleNamespace(measure_costs=lambda variants: costs),
        supernet=SimpleNamespace(
            measure_variant_loss=lambda variant: 0.0,
            prepare=lambda: SimpleNamespace(scores=scores),
        ),
    )
    with pytest.raises(UsageError, match="holds 1 networks to choose from"):
        audit(context, networks=20)


def test_a_table_that_cannot_be_written_is_told_before_anything_slow(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "is a folder"), (tmp_path / "file" / "a.csv", "ile exists")):
        result = CliRunner().invoke(main, ["audit", "--csv", str(path)])
        assert result.exit_code != 0
        assert "Traceback" not in result.output
        with pytest.raises(NascError, match=f"{why}|cannot write .*Not a directory"):
            api.audit(csv=path)
