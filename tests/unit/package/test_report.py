"""`nasc report DIR --html FILE`: one page, whatever a package says of itself."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from resealed import reseal

from device_profiles.reading import sha256_of
from nasc.cli import main
from nasc.errors import PackageError, UsageError
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import MANIFEST, read_manifest, read_plain_manifest
from nasc.pipelines.package_plots import pictures
from nasc.pipelines.package_report import page_of, report_package

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> & $a_b$'


def network(latency_ms: float, loss: float | None) -> dict[str, Any]:
    return {
        "architecture": f"{EVIL} {latency_ms}",
        "runtime": "onnxruntime",
        "predicted_loss": loss,
        "latency_ms": latency_ms,
    }


EVIDENCE = {
    "table": {
        "holds_for": "here",
        "created": "today",
        "rows": [{"layer": EVIL, "count": 2, "cost_ms": 2.5, "std_error_ms": 0.1}],
        "streaming_ms": 0.0,
    },
    "search": {
        "statement": EVIL,
        "space": "toy",
        "networks": 10,
        "limits": {"latency_ms": 6.0},
        "variants": ["onnxruntime fp32"],
        "best": [network(5.0, 0.1)],
        "compared": [network(5.0, 0.1), network(4.0, None)],
        "chosen": network(5.0, 0.1),
        "front": [network(3.0, 0.5), network(5.0, 0.1), network(8.0, 0.0)],
    },
}
CONFORMANCE = {
    "padded_cosine": 0.99,
    "tokens": 1,
    "precision": "fp32",
    "alone_max_abs_diff": 1e-6,
    "alone_cosine": 1.0,
    "padded_max_abs_diff": 1e-6,
}


class Tags(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def package(packed: Mapping[tuple[str, str], Path], tmp_path: Path) -> Path:
    """A package with evidence, whose words are an attack, and hashes that hold."""
    folder = Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "package<b>"))
    raw = read_plain_manifest(folder)
    raw["teacher"]["name"] = raw["text"]["description"] = EVIL
    raw["attempts"] = [
        {"architecture": EVIL, "latency_ms": 5.0, "held_ms": None, "note": EVIL, "met": False},
        {"architecture": [EVIL], "latency_ms": "fast", "predicted": EVIL},
        {"latency_ms": 4.0, "predicted": {"low_ms": 3.0, "latency_ms": 4.0, "high_ms": 5.0}},
        {},
    ]
    raw |= {"evidence": EVIDENCE, "conformance": [CONFORMANCE]}
    raw["licences"] = [{"what": EVIL, "licence": EVIL, "source": EVIL}]
    reseal(folder, raw)
    return folder


def test_the_page_shows_what_is_said_and_runs_none_of_it(package: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = report_package(package, page)
    assert found.to_dict() == {
        "package": str(package),
        "html": str(page),
        "size_bytes": page.stat().st_size,
        "pictures": [
            "The front, and the point that was chosen",
            "Prediction against measurement",
            "Samples",
            "Quality of the file as it ships",
        ],
    }
    text = page.read_text(encoding="utf-8")
    told = Tags(text)
    assert told.tags <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "code"),
        *("table", "tr", "td", "th", "figure", "figcaption", "img"),
    }
    assert not [name for name in told.attributes if name.startswith("on") or name == "href"]
    assert told.text.count("<script>") >= 8
    kind = "data:image/svg+xml;base64,"
    assert [source[: len(kind)] for source in told.sources] == 4 * [kind]
    for source in told.sources:
        svg = base64.b64decode(source[len(kind) :])
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert b"<script" not in svg
    assert "http" not in text.replace("http-equiv", "")
    for figure in (f"{read_manifest(package).params:,}", sha256_of(package / MANIFEST)):
        assert figure in told.text


def test_a_page_is_the_same_each_time_and_replaces_nothing(package: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    report_package(package, page)
    first = page.read_bytes()
    with pytest.raises(UsageError, match="--force"):
        report_package(package, page)
    report_package(package, page, force=True)
    assert page.read_bytes() == first


def test_a_package_that_was_changed_is_not_shown(package: Path, tmp_path: Path) -> None:
    (package / "vocab.txt").write_text("x")
    with pytest.raises(PackageError, match=r"vocab\.txt was changed"):
        report_package(package, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(PackageError, match=r"there is no manifest\.json"):
        report_package(tmp_path, tmp_path / "page.html")


def test_a_pruned_teacher_that_has_no_score_is_drawn_as_a_line(package: Path) -> None:
    raw = read_plain_manifest(package)
    raw["evidence"]["search"]["chosen"]["predicted_loss"] = None
    titles = [title for title, _, _ in pictures(Manifest.from_dict(raw))]
    assert titles[0].startswith("The front")


def test_a_package_of_before_or_without_measurement_has_a_page(
    packed: Mapping[tuple[str, str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "old"))
    reseal(folder, schema_version=6)
    assert len(report_package(folder, tmp_path / "old.html").pictures) == 3
    manifest = dataclasses.replace(read_manifest(folder), measured=None, attempts=(), quality={})
    drawn = list(pictures(manifest))
    assert not drawn
    assert "<img" not in page_of(manifest, "p", "0" * 64, drawn)


def test_the_command_line(package: Path, tmp_path: Path) -> None:
    run, page = CliRunner().invoke, tmp_path / "page.html"
    done = run(main, ["report", str(package), "--html", str(page), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["html"] == str(page)
    for wrong, message in (
        (["--kernels"], "--html goes with a package alone"),
        (["--csv", "x.csv"], "--html goes with a package alone"),
    ):
        done = run(main, ["report", str(package), "--html", str(page), *wrong])
        assert (done.exit_code, message in done.stderr) == (2, True)
    done = run(main, ["report", str(package)])
    assert (done.exit_code, "of a package give --html FILE" in done.stderr) == (2, True)
