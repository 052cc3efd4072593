"""Thirty faults of packages: all found as they are, and all when every hash was made anew.

What content cannot tell, once hashes, golden vectors and texts were made anew, the signature does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from resealed import reseal, rewrite
from transformers import BertTokenizer

from nasc.errors import UsageError
from nasc.evaluation.encoder import Encoder
from nasc.package.build import build_package
from nasc.package.formats.onnx_folder import TOLERANCE
from nasc.package.golden import TEXTS, Golden
from nasc.package.hashes import SIGNATURE
from nasc.package.read_manifest import read_manifest, read_plain_manifest
from nasc.package.replacing import remove_package, why_kept
from nasc.package.signing import check_private_key, check_public_key, sign_package
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport
from profilers import ModelJob

pytest.importorskip("model_signing", reason="needs the extra 'signing'")
pytestmark = pytest.mark.usefixtures("shared_process")

FP32, INT8 = "fp32", "int8"
MODEL = "model.onnx"


@dataclass(frozen=True)
class Case:
    """Packages of one precision: the one that is damaged, and what others it is damaged by.

    Attributes:
        folder: A copy that may be changed, signed.
        other: A package of the same architecture with other weights.
        states: A package of another head.
    """

    folder: Path
    other: Path
    states: Path

    def take(self, name: str, of: Path) -> None:
        shutil.copyfile(of / name, self.folder / name)

    def swap(self, one: str, two: str) -> None:
        first = (self.folder / one).read_bytes()
        (self.folder / one).write_bytes((self.folder / two).read_bytes())
        (self.folder / two).write_bytes(first)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        (self.folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    def weights(self, change: Callable[[str, Any], Any]) -> None:
        """Change tensors of the model: given a name and values, the new values or None."""
        model, changed = onnx.load(self.folder / MODEL), 0
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            new = change(tensor.name, value)
            if new is not None:
                new = np.asarray(new).astype(value.dtype)
                changed += not np.array_equal(new, value)
                tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
        assert changed
        onnx.save(model, self.folder / MODEL)

    def cut(self, size: int) -> None:
        data = (self.folder / MODEL).read_bytes()
        (self.folder / MODEL).write_bytes(data[:size])

    def state(self, *path: Any, value: Any) -> None:
        """Have the manifest say something else."""
        plain = read_plain_manifest(self.folder)
        inner = plain
        for name in path[:-1]:
            inner = inner[name]
        assert inner[path[-1]] != value
        inner[path[-1]] = value
        name = "manifest.json" if path[0] not in ("measured", "tokenisation_ms") else BESIDE
        raw = json.loads((self.folder / name).read_text(encoding="utf-8"))
        raw[path[0]] = plain[path[0]]
        (self.folder / name).write_text(json.dumps(raw), encoding="utf-8")

    def follow(self) -> None:
        """Have golden vectors and the measurement be of the model that lies there now."""
        manifest = read_manifest(self.folder)
        measured = manifest.measured
        assert measured is not None
        tokenizer = BertTokenizer.from_pretrained(self.folder)
        encoder = Encoder(self.folder / MODEL, tokenizer, max_length=manifest.max_length)
        golden = Golden.make(encoder, TEXTS, manifest.max_length, TOLERANCE[manifest.precision])
        (self.folder / "golden.json").write_text(golden.to_json(), encoding="utf-8")
        raw = json.loads((self.folder / BESIDE).read_text(encoding="utf-8"))
        job = ModelJob("model", self.folder / MODEL, measured.inputs)
        raw["measured"]["measurement"]["models"][0]["content_hash"] = job.content_hash()
        (self.folder / BESIDE).write_text(json.dumps(raw), encoding="utf-8")


BESIDE = "measurements.json"
POOLING = "1_Pooling/config.json"
SCALES = "_scale"


def flip_a_bit(name: str, value: Any) -> Any:
    if name != "1.mha.o_weight":
        return None
    bits = value.copy().view(np.uint32)
    bits.flat[7] ^= np.uint32(1 << 30)
    return bits.view(np.float32)


def only(which: str, change: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: change(value) if name == which else None


def each_int8(change: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: change(value) if value.dtype == np.int8 else None


def each_scale(change: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: change(value) if name.endswith(SCALES) else None


def weights_of_another(case: Case) -> None:
    case.take(MODEL, case.other)
    case.follow()


def false_int8(case: Case) -> None:
    """Every weight halved as integers: as fast, and wrong, with golden vectors of its own."""
    case.weights(each_int8(lambda value: value // 2))
    case.follow()


def cased(case: Case) -> None:
    case.replace("tokenizer.json", '"lowercase":true', '"lowercase":false')


def words_swapped(case: Case) -> None:
    ids = json.loads((case.folder / "tokenizer.json").read_text())["model"]["vocab"]
    one, two = ids["a"], ids["i"]
    case.replace("tokenizer.json", f'"a":{one}', f'"a":{two}')
    case.replace("tokenizer.json", f'"i":{two}', f'"i":{one}')


CASES: list[tuple[str, str, Callable[[Case], object], str | None]] = [
    # name, precision, what is done, and which check finds it with hashes made anew
    # Swapped files
    ("the model of another build", FP32, lambda c: c.take(MODEL, c.other), "golden vectors"),
    ("the model of another head", FP32, lambda c: c.take(MODEL, c.states), "model"),
    ("golden vectors of another build", FP32, lambda c: c.take("golden.json", c.other), "golden v"),
    ("the README of another head", FP32, lambda c: c.take("README.md", c.states), "README"),
    (
        "figures of another measurement",
        FP32,
        lambda c: c.replace("MEASURED.md", "| 5.", "| 3."),
        "README",
    ),
    (
        "the pooling of another head",
        FP32,
        lambda c: c.take("1_Pooling/config.json", c.states),
        "fi",
    ),
    (
        "two files swapped",
        FP32,
        lambda c: c.swap("config.json", "tokenizer_config.json"),
        "files for other libraries",
    ),
    ("model and golden vectors of another build", FP32, weights_of_another, None),
    # Changed weights
    ("one bit", FP32, lambda c: c.weights(flip_a_bit), "golden vectors"),
    ("a layer of nothing", FP32, lambda c: c.weights(only("1.mha.o_weight", np.zeros_like)), "gol"),
    ("a layer negated", FP32, lambda c: c.weights(only("1.mha.o_weight", np.negative)), "golden v"),
    (
        "a layer off by less than golden vectors tell",
        FP32,
        lambda c: c.weights(only("1.mha.o_weight", lambda value: value * (1 + 1e-6))),
        "measurement",
    ),
    # A manifest of another build
    ("the manifest of another build", FP32, lambda c: c.take("manifest.json", c.states), "model"),
    ("measurements of another build", FP32, lambda c: c.take(BESIDE, c.other), "measurement"),
    (
        "both of another build",
        FP32,
        lambda c: (c.take("manifest.json", c.states), c.take(BESIDE, c.states)),
        "model",
    ),
    ("a limit that is not met", FP32, lambda c: c.state("limits", "latency_ms", value=1.0), "lim"),
    ("a latency that was not", FP32, lambda c: c.state("measured", "latency_ms", value=1.0), "mea"),
    (
        "a better quality",
        FP32,
        lambda c: c.state("quality", "pooled_cosine", value=0.9999),
        None,
    ),
    ("another teacher", FP32, lambda c: c.state("teacher", "sha256", value="2" * 64), None),
    # A truncated model
    ("half a model", FP32, lambda c: c.cut(100_000), "model"),
    ("a model that lacks a byte", FP32, lambda c: c.cut(-1), "model"),
    ("no model", FP32, lambda c: c.cut(0), "model"),
    # A wrong vocabulary
    ("two words swapped", FP32, words_swapped, "tokenizer"),
    ("a tokenizer that keeps case", FP32, cased, "tokenizer"),
    (
        "another list of words",
        FP32,
        lambda c: c.replace("vocab.txt", "\nthe\n", "\ndog\n"),
        "files for other libraries",
    ),
    (
        "a tokenizer that cuts earlier",
        FP32,
        lambda c: c.replace("tokenizer.json", '"max_length":48', '"max_length":40'),
        "tokenizer",
    ),
    # Quantisation gone wrong: as fast, and false
    ("weights of nothing in int8", INT8, lambda c: c.weights(each_int8(np.zeros_like)), "golden v"),
    ("scales doubled", INT8, lambda c: c.weights(each_scale(lambda value: 2 * value)), "golden v"),
    ("one scale for all", INT8, lambda c: c.weights(each_scale(lambda v: 0 * v + v.max())), "gold"),
    ("false int8 with golden vectors of its own", INT8, false_int8, None),
]
NAMES = [name for name, *_ in CASES]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two pairs of keys, as openssl makes them."""
    folder, found = tmp_path_factory.mktemp("keys"), {}
    for name in ("key", "foreign"):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
        subprocess.run(make, check=True, capture_output=True)
        make = ["openssl", "ec", "-in", private, "-pubout", "-out", public]
        subprocess.run(make, check=True, capture_output=True)
        found |= {name: private, f"{name}.pub": public}
    return found


@pytest.fixture(scope="module")
def signed(
    packed: Mapping[tuple[str, str], Path],
    keys: Mapping[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
) -> Callable[[str], Case]:
    """By precision a signed package and others; tests must not change them."""
    place, found = tmp_path_factory.mktemp("signed"), {}
    for precision in (FP32, INT8):
        model = make_model(precision, seed=1)
        other = build_package(
            place / f"{precision}-other",
            model=model,
            tokenizer=tokenizer,
            manifest=make_manifest(model, precision),
        )
        folder = Path(shutil.copytree(packed[precision, "embed"], place / precision))
        sign_package(folder, keys["key"])
        found[precision] = Case(folder, other, packed[FP32, "hidden"])
    return found.__getitem__


def failed(report: VerifyReport) -> dict[str, str]:
    assert not (report.ok and report.failed)
    return {check.name: check.detail for check in report.failed}


def test_there_are_thirty() -> None:
    assert len(set(NAMES)) == len(CASES) == 30


@pytest.mark.parametrize(("name", "precision", "change", "found_by"), CASES, ids=NAMES)
def test_a_fault_is_found_as_it_is_and_with_hashes_made_anew(
    signed: Callable[[str], Case],
    keys: Mapping[str, Path],
    tmp_path: Path,
    name: str,
    precision: str,
    change: Callable[[Case], object],
    found_by: str | None,
) -> None:
    whole = signed(precision)
    folder = Path(shutil.copytree(whole.folder, tmp_path / "package"))
    case = Case(folder, whole.other, whole.states)
    change(case)
    report = verify_package(folder, measure=False, key=keys["key.pub"])
    assert failed(report).keys() & {"files", "manifest"}
    assert not [one for one in report.checks if one.name == "signature" and one.ok]

    forge(folder, case, found_by)
    found = failed(verify_package(folder, measure=False, key=keys["key.pub"]))
    assert "not by this key, or not of these files" in found.pop("signature")
    if found_by is None:  # nothing but the signature tells
        assert not found
        assert verify_package(folder, measure=False).ok
    else:
        assert any(check.startswith(found_by) for check in found), found


def forge(folder: Path, case: Case, found_by: str | None) -> None:
    """Make all hashes anew; where content is to tell nothing, what is read too."""
    build = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    measured = json.loads((folder / BESIDE).read_text(encoding="utf-8"))
    plain = build | {
        name: value
        for name, value in measured.items()
        if name not in ("format", "build_sha256", "files")
    }
    if (folder / MODEL).stat().st_size:
        plain["size_bytes"] = (folder / MODEL).stat().st_size
    reseal(folder, plain)
    if found_by is None:
        rewrite(folder)


def test_a_signed_package_holds_and_only_by_its_key(
    signed: Callable[[str], Case], keys: Mapping[str, Path]
) -> None:
    folder = signed(FP32).folder
    report = verify_package(folder, measure=False, key=keys["key.pub"])
    assert report.ok, report.failed
    [check] = [check for check in report.checks if check.name == "signature"]
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert check.detail == f"by this key, over {len(names) - 1} files"
    assert "Key mismatch" in failed(verify_package(folder, key=keys["foreign.pub"]))["signature"]
    report = verify_package(folder, measure=False)  # without a key it is told, and nothing more
    assert report.ok
    assert "--key PUB" in next(str(one) for one in report.checks if one.name == "signature")
    assert why_kept(folder) is None


def test_a_package_that_is_not_signed_fails_where_a_key_is_given(
    packed: Mapping[tuple[str, str], Path], keys: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(packed[FP32, "embed"], tmp_path / "package"))
    found = failed(verify_package(folder, measure=False, key=keys["key.pub"]))
    assert found == {"signature": "there is none (model.sig)"}
    for content in (b"", b"{}", b"[" * 100_000, b"\xff"):
        (folder / SIGNATURE).write_bytes(content)
        assert "signature" in failed(verify_package(folder, measure=False, key=keys["key.pub"]))


def test_a_package_is_signed_as_it_is_written(
    keys: Mapping[str, Path],
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
) -> None:
    model = make_model()
    about: dict[str, Any] = {"tokenizer": tokenizer, "manifest": make_manifest(model)}
    with pytest.raises(UsageError, match=r"--sign \S+pub.pem: no elliptic key"):
        build_package(tmp_path / "p", model=model, sign=keys["key.pub"], **about)
    assert not list(tmp_path.iterdir())
    folder = build_package(tmp_path / "p", model=model, sign=keys["key"], **about)
    assert verify_package(folder, measure=False, key=keys["key.pub"]).ok
    remove_package(folder)
    assert not folder.exists()


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("name", ["vocab.txt", "more", SIGNATURE])
def test_a_pipe_is_not_waited_for(
    signed: Callable[[str], Case], keys: Mapping[str, Path], tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(signed(FP32).folder, tmp_path / "package"))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert not verify_package(folder, measure=False, key=keys["key.pub"]).ok


def test_links_of_a_hub_are_signed_content(
    signed: Callable[[str], Case], keys: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(signed(FP32).folder, tmp_path / "package"))
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(filter(Path.is_file, folder.rglob("*")))):
        blob = tmp_path / "blobs" / str(number)
        path.rename(blob)
        path.symlink_to(blob)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")
    assert verify_package(folder, measure=False, key=keys["key.pub"]).ok


def bad_keys(folder: Path, keys: Mapping[str, Path]) -> Iterator[tuple[Path, str]]:
    yield folder / "none.pem", "cannot be read: .*No such file"
    (folder / "text.pem").write_text("my key")
    yield folder / "text.pem", "no elliptic key in PEM"
    make = ["openssl", "genrsa", "-out", folder / "rsa.pem", "2048"]
    subprocess.run(make, check=True, capture_output=True)
    yield folder / "rsa.pem", "no elliptic key in PEM"
    make = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", keys["key"]]
    subprocess.run([*make, "-out", folder / "locked.pem"], check=True, capture_output=True)
    yield folder / "locked.pem", "no elliptic key in PEM .*without a password"


def test_a_key_that_is_none_is_one_message(keys: Mapping[str, Path], tmp_path: Path) -> None:
    for path, message in bad_keys(tmp_path, keys):
        for check, option in ((check_private_key, "--sign"), (check_public_key, "--key")):
            with pytest.raises(UsageError, match=rf"{option} \S+: .*{message}.*openssl ecparam"):
                check(path)
    check_private_key(keys["key"])
    check_public_key(keys["key.pub"])
