"""The scripts of benchmarks/: they load, are where documents say, and keep their results."""

import importlib.util
import io
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import device_profiles
from device_profiles import Noise
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.evaluation.encoder import Encoder
from nasc.latency.session import MeasurementSession
from nasc.tasks.retrieval import Retrieval, read_retrieval, retrieval_places
from nasc.teacher import load_teacher
from profilers import ModelJob
from profilers.testing import SyntheticMachine, synthetic_opener

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*/*.py"))
TEXTS = [
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/**/*.py", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
]


def loaded(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their types up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return loaded(BENCHMARKS / "quality" / "results.py")


def test_networks_of_the_quality_benchmarks_have_the_teacher_s_head(
    teacher_folder: Callable[..., Path],
    tmp_path: Path,
    questions: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no head is named."""
    (tmp_path / "text.txt").write_text("\n\n".join(f"the cat sat {i}." for i in range(99)))
    folder = teacher_folder(positions=128)
    settings = Settings(
        teacher=str(folder), corpus=(str(tmp_path / "text.txt"),), cache=tmp_path / "cache"
    )
    context = RunContext(settings)
    head = load_teacher(folder).head()
    quality = loaded(BENCHMARKS / "quality" / "quality.py")
    monkeypatch.syspath_prepend(BENCHMARKS / "quality")
    grid = loaded(BENCHMARKS / "quality" / "quality_grid.py")
    assert quality.pruned(context, (0,), "fp32").head == head
    own = SimpleNamespace(context=context, settings=settings)
    network = grid.Grid.narrow(own, 16)
    assert network.head == head

    # and are asked for paragraphs, as shipped
    latency = SimpleNamespace(latency_ms=1.0, upper_ms=1.1)
    monkeypatch.setattr(grid, "measure", lambda *_: {"body": latency})
    judged = SimpleNamespace(
        context=context, files=tmp_path, asked=read_retrieval(questions), judge=lambda *_: {}
    )
    body = grid.Grid.body(judged, network)
    encoder = Encoder(tmp_path / "body.onnx", context.teacher.tokenizer, batch_size=1)
    vectors = [encoder.encode(list(t)) for t in (judged.asked.questions, judged.asked.paragraphs)]
    assert body["places"] == retrieval_places(judged.asked, *vectors).tolist()
    assert 0 < body["retrieval"]["mrr_at_10"]["value"] < 1


@pytest.mark.slow
def test_all_load() -> None:
    """Each with its own folder on the path; what they set and import of each other is undone."""
    modules, environment = set(sys.modules), dict(os.environ)
    try:
        for script in SCRIPTS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "path", [str(script.parent), *sys.path])
                runpy.run_path(str(script), run_name="loaded")
    finally:
        for name in set(sys.modules) - modules:
            if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
        os.environ.clear()
        os.environ.update(environment)


def test_documents_name_scripts_that_are_there() -> None:
    named = {
        (path.name, name)
        for path in TEXTS
        for name in re.findall(r"benchmarks/[\w/.-]+\.\w+", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not {(path, name) for path, name in named if not (ROOT / name).is_file()}


def test_the_readme_names_every_script() -> None:
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in SCRIPTS if path.stem not in text]


@pytest.mark.slow
def test_the_noise_of_a_made_up_device_is_found(tmp_path: Path) -> None:
    """The lines that are printed make the device's file."""
    noise = loaded(BENCHMARKS / "latency" / "noise.py")
    truth_ms = {"reference": 4.0, "model": 6.0, "other": 2.0, "empty": 0.06}
    machine = SyntheticMachine(truth_ms, noise=0.002, process_spread=0.05)
    device = device_profiles.find("host")
    session = MeasurementSession.on(device, tmp_path, opener=synthetic_opener(machine))
    jobs = []
    for name in ("model", "other", "empty"):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(name.encode())
        jobs.append(ModelJob(name, path, {}))
    said: list[str] = []
    repeats = noise.Repeats(processes=12, measurements=2, empty=2, memory=2, seconds=1.0)
    found = noise.measure_noise(session, jobs[:2], jobs[2], repeats, said.append)
    assert found["process_spread"].value == pytest.approx(0.05, abs=0.03)
    assert 0 < found["process_spread"].error < 0.02
    assert 0 <= found["shift"].value < 0.1
    assert 0 < found["jitter_ms"].value < 0.06
    assert found["peak_room"] == noise.Found(0.0, 0.0)
    assert said[0] == "12 worker processes"

    lines = noise.table_lines(found)
    assert lines[0] == "[noise]"
    board = tmp_path / "board.toml"
    text = device.path.read_text(encoding="utf-8").replace('name = "host"', 'name = "board"')
    board.write_text("\n".join([text, *lines, ""]), encoding="utf-8")
    stated = device_profiles.find(board).noise
    for name, one in found.items():
        assert one.value + one.error <= getattr(stated, name) <= 1.011 * (one.value + one.error)
    assert stated.busy_spread == Noise().busy_spread


def test_variances_between_groups_are_told_from_those_within() -> None:
    noise = loaded(BENCHMARKS / "latency" / "noise.py")
    rng = np.random.default_rng(0)
    variances = []
    for _ in range(300):
        groups = [rng.normal(0.03 * rng.normal(), 0.02, size=int(n)) for n in (2, 3, 3, 4, 3, 3)]
        variances.append(noise.between(groups))
    values, errors = np.array(variances).T
    assert np.sqrt(values.mean()) == pytest.approx(0.03, rel=0.1)
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)
    assert noise.deviation(-1e-4, 1e-4) == noise.Found(0.0, 0.01)
    assert noise.Found(0.0123, 0.00041).stated(0.25) == 0.0128
    assert noise.Found(0.2, 0.2).stated(0.25) == 0.25


def test_rows_are_kept_as_given_and_sorted_by_name(results: ModuleType, tmp_path: Path) -> None:
    table = results.Results(tmp_path / "results.jsonl")
    assert table.rows() == {}
    row: dict[str, Any] = {"scores": {"f1": 0.1 + 0.2, "accuracy": 1.0}, "text": "a\u2028| é"}
    table.add("b", {"seconds": 1})
    table.add("a", row)
    table.add("b", {"seconds": 2})
    again = results.Results(tmp_path / "results.jsonl").rows()
    assert list(again.items()) == [("a", row), ("b", {"seconds": 2})]
    assert list(again["a"]["scores"]) == ["f1", "accuracy"]  # the first is that of record
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_rows_added_at_the_same_time_are_all_there(results: ModuleType, tmp_path: Path) -> None:
    path, names = tmp_path / "results.jsonl", [f"row-{n:02}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: results.Results(path).add(name, {}), names))
    assert list(results.Results(path).rows()) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a"}\n{"name": "b", "se', "line 2: no JSON object with a name"),
        ('{"name": "a"}\n<<<<<<< HEAD\n', "line 2: no JSON object"),
        ('{"seconds": 1}\n', "line 1: no JSON object"),
        ('{"name": "a"}\n{"name": "a"}\n', "line 2: a second 'a'. Leave one"),
    ],
)
def test_a_damaged_table_is_refused_by_line(
    results: ModuleType, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        results.Results(path).add("c", {})
    assert path.read_text(encoding="utf-8") == text


def give(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path, name: str, text: str
) -> None:
    monkeypatch.setattr("sys.argv", ["results.py", name, "--results", str(path)])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    results.main()


def test_what_a_command_printed_becomes_a_row(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    give(results, monkeypatch, path, "distill-4", '{\n "steps": 4,\n "rows": []\n}')
    give(results, monkeypatch, path, "audit", '{"networks": []}')
    assert path.read_text() == (
        '{"name": "audit", "networks": []}\n{"name": "distill-4", "steps": 4, "rows": []}\n'
    )


@pytest.mark.parametrize("printed", ["", "[]", '{"name": 1}', '{"steps": 4'])
def test_what_is_no_row_is_refused(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(SystemExit, match=r"what was given is no JSON.*Nothing was written"):
        give(results, monkeypatch, path, "distill-4", printed)
    assert not path.exists()


def test_the_kept_table_is_written_as_it_would_be(results: ModuleType) -> None:
    lines = results.TABLE.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = [row["name"] for row in rows]
    assert names == sorted(set(names))
    assert [json.dumps(row) for row in rows] == lines
    assert all(next(iter(row)) == "name" for row in rows)


def test_rows_of_the_grid_show_what_they_find(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside older ones, of which nothing was asked."""
    monkeypatch.syspath_prepend(BENCHMARKS / "quality")
    report = loaded(BENCHMARKS / "quality" / "quality_report.py")
    quality = loaded(BENCHMARKS / "quality" / "quality.py")
    rows = results.Results(results.TABLE).rows()
    paragraphs = np.random.default_rng(0).normal(size=(30, 8))
    asked = Retrieval(("?",) * 60, ("",) * 30, np.repeat(np.arange(30), 2))
    found = quality.found_paragraphs(asked, np.repeat(paragraphs, 2, axis=0), paragraphs)
    assert found["places"] == [1] * 60
    for name, shown in (("narrow-0.5", report.table), ("part-whole", report.parts)):
        before, after = shown(rows), shown(rows | {name: rows[name] | found})
        more = {one.count("|") - old.count("|") for one, old in zip(after, before, strict=True)}
        assert more == {1}
        place = after[0].split(" | ").index("MRR@10")
        cells = [line.split(" | ")[place] for line in after[2:]]
        assert sorted(cells)[-2:] == ["", "1.000 (1.000 to 1.000)"]


@pytest.fixture
def rivals_report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS / "quality")
    return loaded(BENCHMARKS / "quality" / "rivals_report.py")


def rival(network: str, score: float, **more: Any) -> dict[str, Any]:
    """A row as `network_training.py` prints it."""
    names = ("mrr_at_10", "sts_spearman", "sst-2", "ranking_ndcg", "similarity", "cosine")
    return {"network": network, "recipe": "joined", **dict.fromkeys(names, score), **more}


def rivals_found(*rows: dict[str, Any]) -> dict[str, Any]:
    """A table of rows of trainings, with the costs of some networks."""
    costs = {"teacher": 8.0, "supernet: 16: M | 16: F": 3.9, "narrow 16": 4.2, "narrow 8": 2.5}
    about = {"precision": "int8", "size_bytes": 9_000}
    return {
        "rivals": {
            "rows": [rival("teacher", 1.0, recipe="none"), rival("static 9", 0.1, recipe="none")],
            "costs": {name: {"latency_ms": ms, **about} for name, ms in costs.items()}
            | {"static 9": {"latency_ms": 0.1, "precision": "fp32", "size_bytes": 9_000}},
        },
        "rivals-a": {"steps": 70, "rows": list(rows)},
    }


def test_rivals_are_told_by_what_their_seeds_and_costs_come_to(
    rivals_report: ModuleType, tmp_path: Path
) -> None:
    """A network that is over a share is not the best within it; other recipes do not count."""
    found = rivals_found(
        rival("narrow 8", 0.3, recipe="none"),
        rival("narrow 8", 0.5, seed=1),
        rival("narrow 8", 0.7, seed=0),
        rival("narrow 8", 0.1, seed=0, recipe="sentences"),
        rival("narrow 16", 0.9, seed=0),
        rival("16: M | 16: F", 0.9, seed=0),  # comes trained: not by so many steps
        rival("supernet: 16: M | 16: F", 0.8, seed=0),
    )
    networks = rivals_report.judged(found)
    assert [(n.name, n.steps, n.seeds) for n in networks] == [
        ("teacher", 0, 1),
        ("narrow 16", 70, 1),
        ("supernet: 16: M | 16: F", 70, 1),
        ("narrow 8", 0, 1),
        ("narrow 8", 70, 2),
        ("static 9", 0, 1),
    ]
    document = tmp_path / "quality.md"
    document.with_suffix("").mkdir()
    lines = rivals_report.rivals(found, document)
    assert [line for line in lines if line.startswith("| narrow 8 | 31.2% | 2.50 | 0.0 | 70 | 2 |")]
    ours, narrow, static = "0.800, `16: M \\| 16: F`", "0.600 ± 0.141, narrow 8", "0.100, static 9"
    assert f"| 1/2 | mean of tasks | {ours} | {narrow} |  | {static} |" in lines
    assert f"| 1/4 | mean of tasks |  |  |  | {static} |" in lines
    assert (document.with_suffix("") / "rivals.svg").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (rival("narrow 8", 0.7, seed=1), "two trainings of 'narrow 8' with the seed 1"),
        (rival("narrow 9", 0.7, seed=1), "did not measure 'narrow 9'"),
        ({"network": "narrow 8", "recipe": "joined", "seed": 2}, "not judged by mrr_at_10"),
    ],
)
def test_rivals_that_cannot_be_told_are_refused(
    rivals_report: ModuleType, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        rivals_report.judged(rivals_found(rival("narrow 8", 0.5, seed=1), row))


def share(network: str, of_the_teacher: float) -> dict[str, Any]:
    """A row as `trained_shares.py` prints it."""
    return {"network": network, "steps": 7, "share": of_the_teacher, "loss": 0.3, "least_loss": 0.1}


def test_shares_of_several_processors_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest first; files with other networks are not mixed."""
    monkeypatch.syspath_prepend(BENCHMARKS / "quality")
    shares = loaded(BENCHMARKS / "quality" / "trained_shares.py")
    small, large = share("8: M", 0.125), share("16: M | 8: F", 0.5)
    found = {
        "audit": {},
        "shares-a": {"processor": "A", "teacher_ms": 8.0, "rows": [small, large]},
        "shares-b": {
            "processor": "B",
            "teacher_ms": 2.0,
            "rows": [share("16: M | 8: F", 0.4), small],
        },
    }
    assert shares.shown({"audit": {}}) == []
    head, _, *rows = shares.shown(found)
    assert head == "| network | steps | A, teacher 8.0 ms | B, teacher 2.0 ms |"
    assert rows == [
        "| `16: M \\| 8: F` | 7 | 50.0% (+0.200) | 40.0% (+0.200) |",
        "| `8: M` | 7 | 12.5% (+0.200) | 12.5% (+0.200) |",
    ]
    found["shares-b"]["rows"].pop()
    with pytest.raises(SystemExit, match="differ in '8: M'"):
        shares.shown(found)


def test_the_report_is_of_the_kept_table(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What stands between the marks is what the table says."""
    monkeypatch.syspath_prepend(BENCHMARKS / "quality")
    report = loaded(BENCHMARKS / "quality" / "quality_report.py")
    document = tmp_path / "quality.md"
    document.write_text((ROOT / "docs" / "quality.md").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(sys, "argv", ["quality_report.py", "--document", str(document)])
    report.main()
    assert document.read_text("utf-8") == (ROOT / "docs" / "quality.md").read_text("utf-8")


@pytest.fixture(scope="module")
def static() -> ModuleType:
    return loaded(BENCHMARKS / "quality" / "static_vectors.py")


def test_a_static_model_gives_the_mean_of_its_tokens(
    static: ModuleType, teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    teacher = load_teacher(teacher_folder())
    ids = static.kept_tokens(teacher)
    special = teacher.tokenizer.all_special_ids
    assert sorted([*ids, *special]) == list(range(len(teacher.tokenizer)))
    vectors = static.token_vectors(teacher, ids)
    alone = teacher.vectors(["cat"])[0]
    alone /= np.linalg.norm(alone)
    cat = vectors[list(ids).index(teacher.tokenizer.convert_tokens_to_ids("cat"))]
    assert cat / np.linalg.norm(cat) == pytest.approx(alone, abs=1e-5)
    table = static.static_table(teacher, ids, vectors, 8)
    assert not table[special].any()
    path = tmp_path / "static.onnx"
    static.write_static(table, path, 40)
    encoder = Encoder(path, teacher.tokenizer, batch_size=2)
    texts = ["the cat sat", "a big dog", "sun"]
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        mean = table[teacher.tokenizer(text, add_special_tokens=False)["input_ids"]].mean(0)
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_static_weights_and_components(static: ModuleType) -> None:
    """By hand: shares of three ranks are 6/13, 4/13, 3/13; all components keep distances."""
    a = 1e-4
    expected = [a / (a + share) for share in (6 / 13, 4 / 13, 3 / 13)]
    assert static.zipf_weights(3) == pytest.approx(expected)
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    whole = static.principal(vectors, 5)
    assert np.linalg.norm(whole[3] - whole[9]) == pytest.approx(
        np.linalg.norm(vectors[3] - vectors[9]), rel=1e-5
    )
    spread = whole.std(0)
    assert list(spread) == sorted(spread, reverse=True)
    assert static.principal(vectors, 2) == pytest.approx(whole[:, :2])
