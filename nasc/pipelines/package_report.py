"""What `nasc report DIR --html FILE` does: a package's evidence as one self-contained page.

Whatever a package says is somebody's word: it is shown as text, and the page runs no script and
loads nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.reading import sha256_of
from nasc.errors import NascError, UsageError
from nasc.evaluation.parity_report import Parity
from nasc.package.hashes import check_unchanged
from nasc.package.manifest import Manifest
from nasc.package.quality import INTERVAL, quality_texts
from nasc.package.read_manifest import MANIFEST, read_manifest
from nasc.pipelines.package_plots import check_drawing, pictures
from nasc.utils.files import check_path, replacing
from nasc.utils.outputs import check_file, full_path

Cell = str | float | int | None

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may do with the page: show its own pictures, by its own styles."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; background: #fff; margin: 0 auto;
  max-width: 60rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d9dde3; }
p.about { color: #555c69; margin: .25rem 0 1rem; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figure img { width: 100%; height: auto; }
figcaption { color: #555c69; font-size: .9rem; }
table { border-collapse: collapse; margin: .5rem 0; max-width: 100%; display: block;
  overflow-x: auto; }
td, th { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top;
  border-bottom: 1px solid #eceff3; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
td:first-child { white-space: nowrap; }
th { color: #555c69; font-weight: 600; }
code { font-size: .85rem; overflow-wrap: anywhere; }
"""


CONFORMANCE = (
    "tokens",
    "precision",
    "alone_max_abs_diff",
    "alone_cosine",
    "padded_max_abs_diff",
    "padded_cosine",
)


@dataclass(frozen=True, slots=True)
class PackageReport:
    """A page about a package.

    Attributes:
        package: The folder.
        html: The page.
        size_bytes: Of the page.
        pictures: Titles of its pictures.
    """

    package: Path
    html: Path
    size_bytes: int
    pictures: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        return [("page", str(self.html)), ("plots", "; ".join(self.pictures) or "none")]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "package": str(self.package),
            "html": str(self.html),
            "size_bytes": self.size_bytes,
            "pictures": list(self.pictures),
        }


def report_package(package: Path, page: Path, *, force: bool = False) -> PackageReport:
    """Write what a package says of itself as one HTML page.

    Args:
        package: The folder.
        page: Where the page goes.
        force: Replace a file that lies there.

    Raises:
        PackageError: If there is no package, or its files are not as hashed.
        UsageError: If matplotlib is missing, or a file lies there.
        NascError: If the page cannot be written.
    """
    check_drawing()
    check_file(page, "--html FILE", force=force)
    check_path(package, "nasc report DIR --html FILE")
    folder = Path(os.path.expanduser(package)).absolute()
    manifest = read_manifest(folder)
    check_unchanged(folder, manifest.files)
    drawn = list(pictures(manifest))
    text = page_of(manifest, folder.name, sha256_of(folder / MANIFEST), drawn)
    try:
        with replacing(full_path(page), new=not force) as part:
            part.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(f"'{page}' came to be meanwhile. Replace it: --force") from error
    except OSError as error:
        raise NascError(f"cannot write '{page}': {error.strerror or error}") from error
    titles = tuple(title for title, _, _ in drawn)
    return PackageReport(folder, full_path(page), len(text.encode()), titles)


def page_of(
    manifest: Manifest, name: str, build_sha256: str, drawn: Sequence[tuple[str, str, bytes]]
) -> str:
    """The page.

    Args:
        manifest: Of the package.
        name: Of its folder.
        build_sha256: Of manifest.json.
        drawn: Title, caption and SVG of each picture.
    """
    figures = "".join(_figure(*one) for one in drawn)
    sections = "".join(
        f"<h2>{_text(title)}</h2>{table}" for title, table in _sections(manifest) if table
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(name)}</title><style>{STYLE}</style></head><body>
<h1>{_text(manifest.architecture)}</h1>
<p class="about">{_text(name)}: {_text(manifest.conditions)}. Measured {_text(manifest.created)}.
Build <code>{_text(build_sha256)}</code>. All files are as hashed; whether what they say holds, says
<code>nasc verify</code>.</p>
{_table((), _summary(manifest))}
{figures}{sections}
</body></html>
"""


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _figure(title: str, caption: str, svg: bytes) -> str:
    # As a picture, not as part of the page: nothing in an SVG runs then.
    data = base64.b64encode(svg).decode()
    return (
        f"<h2>{_text(title)}</h2><figure>"
        f'<img alt="{_text(title)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _cell(value: Cell) -> str:
    if value is None:
        return "&ndash;"
    if isinstance(value, bool) or not isinstance(value, float):
        return _text(f"{value:,}" if isinstance(value, int) else value)
    return _text(f"{value:.6g}")


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table; nothing where there are no rows."""
    body = "".join(f"<tr>{''.join(f'<td>{_cell(c)}</td>' for c in row)}</tr>" for row in rows)
    if not body:
        return ""
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f"<table>{f'<tr>{names}</tr>' if head else ''}{body}</table>"


def _summary(manifest: Manifest) -> list[tuple[str, Cell]]:
    rows: list[tuple[str, Cell]] = [(f"limit {n}", v) for n, v in manifest.limits.items()]
    measured = manifest.measured
    if measured is not None:
        rows += [
            ("latency (ms)", measured.latency_ms),
            (
                "its bounds (one-sided 95%, ms)",
                f"{measured.lower_ms:.4g} to {measured.upper_ms:.4g}",
            ),
            (
                "as observed: p50, p90, p99 (ms)",
                f"{measured.p50_ms:.4g}, {measured.p90_ms:.4g}, {measured.p99_ms:.4g}",
            ),
        ]
    if manifest.estimate is not None:
        rows.append(("latency", manifest.estimate))
    rows += [
        ("model (bytes)", manifest.size_bytes),
        ("parameters", manifest.params),
        ("peak memory (bytes)", manifest.peak_memory.measured_bytes),
        ("follows", manifest.teacher.name),
        ("training", str(manifest.training)),
        ("text", manifest.text.description),
    ]
    return rows


def _quality(quality: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """Figures by name; a text where one has an interval."""
    texts = quality_texts(quality)
    return [
        (n.replace("_", " "), text if f"{n}{INTERVAL[0]}" in quality else quality[n])
        for n, text in texts.items()
    ]


def _sections(manifest: Manifest) -> list[tuple[str, str]]:
    """Titles and tables, empty where a package has nothing of it."""
    evidence = manifest.evidence
    search, table = evidence.get("search") or {}, evidence.get("table") or {}
    return [
        ("Quality", _table((), _quality(manifest.quality))),
        ("Agreement of the file with its network", _parity(manifest)),
        ("Conformance, length by length", _conformance(manifest)),
        ("Networks that were measured", _attempts(manifest)),
        ("What was searched", _search(search)),
        (
            "Rows of the latency table that predict it",
            _table(
                ("layer", "times", "cost (ms)", "standard error (ms)"),
                (
                    (one["layer"], one["count"], one["cost_ms"], one["std_error_ms"])
                    for one in table.get("rows", ())
                ),
            ),
        ),
        ("Context of the measurement", _context(manifest)),
        (
            "Licences",
            _table(
                ("what", "licence", "by"),
                ((one["what"], one["licence"], one["source"]) for one in manifest.licences),
            ),
        ),
        ("Versions", _table((), manifest.versions.items())),
        (
            "Files",
            _table(
                ("name", "bytes", "sha256"),
                ((name, one.size_bytes, one.sha256) for name, one in manifest.files.items()),
            ),
        ),
    ]


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None:
        return ""
    values = dataclasses.asdict(parity)
    rows: list[tuple[str, Cell]] = [("precision", "fp32")] if isinstance(parity, Parity) else []
    for name, value in values.items():
        told = ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
        rows.append((name.replace("_", " "), told))
    return _table((), rows)


def _conformance(manifest: Manifest) -> str:
    return _table(
        ("tokens", "precision", "off alone", "cosine alone", "off in a batch", "cosine in a batch"),
        (tuple(one[name] for name in CONFORMANCE) for one in manifest.conformance),
    )


def _attempts(manifest: Manifest) -> str:
    def cells(attempt: Any) -> Iterable[Cell]:
        predicted = attempt.get("predicted")
        predicted = predicted if isinstance(predicted, dict) else {}
        yield from (attempt.get("architecture"), attempt.get("runtime"))
        yield from (predicted.get("latency_ms"), attempt.get("latency_ms"), attempt.get("held_ms"))
        yield from ("yes" if attempt.get("met") else "no", attempt.get("note"))

    head = ("network", "by", "predicted (ms)", "measured (ms)", "at most (ms)", "met", "note")
    return _table(head, (tuple(cells(attempt)) for attempt in manifest.attempts))


def _search(search: Any) -> str:
    if not search:
        return ""
    about: list[tuple[str, Cell]] = [
        ("what is optimal", search["statement"]),
        ("space", search["space"]),
        ("networks", search.get("networks")),
        ("limits", ", ".join(f"{n} {v:g}" for n, v in search["limits"].items())),
        ("among", ", ".join(search["variants"])),
    ]
    rows = [
        (what, one["architecture"], one["runtime"], one["predicted_loss"], one["latency_ms"])
        for what, many in (
            ("best by predicted loss", search.get("best", ())),
            ("compared", search.get("compared", ())),
            ("chosen", [search["chosen"]]),
        )
        for one in many
    ]
    head = ("", "network", "by", "predicted loss", "predicted latency (ms)")
    return _table((), about) + _table(head, rows)


def _context(manifest: Manifest) -> str:
    if manifest.measured is None:
        return ""
    measurement = manifest.measured.measurement
    rows: list[tuple[str, Cell]] = [
        (name, str(value)[:300]) for name, value in sorted(measurement.context.items())
    ]
    rows += [
        ("rounds", measurement.rounds),
        ("drift ratio", measurement.drift_ratio),
        ("busy share", measurement.busy_share),
    ]
    return _table((), rows)
