"""Writing a package: complete under its name, or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.temporary import temporary_folder
from nasc.architecture.layers import params
from nasc.errors import NascError, PackageError
from nasc.evaluation.encoder import OpenEncoder, open_here
from nasc.lowering import Artifact
from nasc.package.formats import ModelFile, PackageFormat, format_of
from nasc.package.formats.base import model_files
from nasc.package.golden import PAIRS, TEXTS, Golden
from nasc.package.hashes import record_file, record_folder, write_manifest
from nasc.package.library_files import write_library_files
from nasc.package.manifest import Manifest
from nasc.package.measurements import MEASURED
from nasc.package.readme import measured_text, readme
from nasc.package.replacing import NEXT_STEP, is_package, move_in, restore, why_kept
from nasc.package.signing import sign_package
from nasc.package.tokenizer_files import write_tokenizer
from nasc.utils.files import check_path
from nasc.utils.outputs import check_place, full_path
from nasc.utils.progress import Say
from profilers.runtimes import installed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER = "tokenizer.json"
GOLDEN = "golden.json"
README = "README.md"


def build_package(
    out_dir: str | Path,
    *,
    model: Artifact | str | Path | bytes,
    tokenizer: PreTrainedTokenizerBase,
    manifest: Manifest,
    force: bool = False,
    say: Say | None = None,
    open_encoder: OpenEncoder = open_here,
    check: Callable[[Path], None] | None = None,
    sign: Path | None = None,
) -> Path:
    """Write a package.

    Everything is written into a folder beside `out_dir`, checked, and renamed. A package
    that is replaced stays whole until the new one is complete. Only a package as nasc wrote it is
    ever replaced: see `nasc.package.replacing`.

    Args:
        out_dir: The package's folder; its parents are made.
        model: What a lowering made for the runtime of the manifest's conditions, or the path of its
            main file, or the bytes of its only one; or a folder of all that the format has.
        tokenizer: The teacher's, a fast tokenizer of transformers.
        manifest: What is known of the model. `size_bytes`, `params`, `files` and the version of the
            runtime are set here.
        force: Replace the package that is there.
        say: See `nasc.package.replacing.move_in`.
        open_encoder: Runs the model for the golden texts.
        check: Called with the folder of the complete package before it gets its name; where it
            raises, nothing is written.
        sign: Private key that it is signed with; None signs nothing.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If the folder exists, cannot be written, or the manifest is not about
            this model; nothing is left behind, and what was there stays as it was.
        UsageError: If its path is not UTF-8, or the key is none to sign with.
        ProfilerError: If the model cannot be run.
    """
    out = full_path(Path(out_dir))
    check_path(out, "--output DIR")
    try:
        check_target(out, force)
        with temporary_folder(out.parent, out.name) as part:
            if out.is_dir():  # somebody may have made it private
                part.chmod(0o700 | stat.S_IMODE(out.stat().st_mode))
            _fill(part, model, tokenizer, manifest, open_encoder)
            if check is not None:
                check(part)
            if sign is not None:
                sign_package(part, sign)
            move_in(part, out, say)
    except OSError as error:
        raise _unwritable(out, error) from error
    return out


def _unwritable(out: Path, error: OSError) -> PackageError:
    where = f" ('{error.filename}')" if error.filename else ""
    return PackageError(
        f"cannot write the package '{out}': {error.strerror or error}{where}. What was there "
        "before is unchanged. Free the space or name another folder: --output DIR"
    )


def check_target(out: Path, force: bool) -> None:
    """Raise unless a package may be written to a path; bring back what a killed run moved away.

    Args:
        out: The folder.
        force: Whether a package that lies there may be replaced.

    Raises:
        PackageError: If something lies there that may not be replaced, or nothing can be
            written beside it.
    """
    full = full_path(out)
    if full.is_mount():
        raise PackageError(
            f"'{out}' is where a file system is mounted, which no folder can take the place of. "
            f"Name a folder in it: --output {full / 'package'}"
        )
    try:
        check_place(out, "--output DIR", PackageError, "the package")
        restore(full)
        _check_is_elsewhere(out, full)
        if not os.path.lexists(full):
            return
        if full.is_dir() and not full.is_symlink() and not any(full.iterdir()):
            return
    except OSError as error:
        raise _unwritable(out, error) from error
    reason = why_kept(full)
    if reason is not None:
        what = (
            f"the package '{out}' is not as nasc wrote it"
            if is_package(full)
            else f"'{out}' exists and is no package"
        )
        raise PackageError(f"{what}: it is never replaced ({reason}). {NEXT_STEP}")
    if not force:
        raise PackageError(
            f"the package '{out}' exists. Replace it: --force; or name another folder: --output DIR"
        )


def _check_is_elsewhere(out: Path, full: Path) -> None:
    """Raise where a package would take the place of a link, or of the folder somebody is in.

    Raises:
        PackageError: With another folder.
    """
    if full.is_symlink():
        raise PackageError(
            f"'{out}' is a link, which no package takes the place of. Name what it leads to: "
            f"--output {full.resolve()}"
        )
    try:
        current = Path.cwd()
    except FileNotFoundError:  # removed meanwhile
        return
    if current.is_relative_to(full.resolve()):
        raise PackageError(
            f"'{out}' is the folder you are in, or holds it: a package that takes its place would "
            f"leave you in none. Name a folder in it: --output {full / 'package'}"
        )


def _fill(
    folder: Path,
    model: Artifact | str | Path | bytes,
    tokenizer: PreTrainedTokenizerBase,
    manifest: Manifest,
    open_encoder: OpenEncoder,
) -> None:
    """All files of the package, the hashes last."""
    runtime = manifest.conditions.runtime
    form = format_of(runtime)
    path = folder / form.MODEL
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_model(folder, form, runtime, model)
    write_tokenizer(folder, tokenizer, manifest.max_length)
    write_library_files(folder, manifest, tokenizer.pad_token_id or 0)
    facts = _read_model(form, path)
    form.write_more(folder, manifest)
    manifest = dataclasses.replace(
        manifest,
        size_bytes=facts.size_bytes,
        params=params(manifest.architecture, manifest.geometry, manifest.head),
        versions=_with_runtime(manifest.versions, runtime),
        licences=(*manifest.licences, *_licences(form)),
    )
    problems = contradictions(manifest, facts) + wrong_measurement(manifest, path)
    if problems:
        raise PackageError(f"the manifest is not about this model: {'; '.join(problems)}")
    tolerance = form.TOLERANCE[manifest.precision]
    with open_encoder(_packaged(folder, form, manifest), tokenizer) as encoder:
        texts = PAIRS if manifest.golden_pairs else TEXTS
        golden = Golden.make(encoder, texts, manifest.max_length, tolerance)
    (folder / GOLDEN).write_text(golden.to_json(), encoding="utf-8")
    (folder / MEASURED).write_text(measured_text(manifest), encoding="utf-8")
    files = record_folder(folder)
    text = readme(dataclasses.replace(manifest, files=files))
    (folder / README).write_text(text, encoding="utf-8")
    files[README] = record_file(folder / README)
    manifest = dataclasses.replace(manifest, files=dict(sorted(files.items())))
    write_manifest(folder, manifest.to_plain())


def _licences(form: PackageFormat) -> list[dict[str, str]]:
    """Of what a format adds to a network and its tokenizer."""
    found = [{"what": "texts and programs", "licence": "Apache-2.0", "source": "NASC"}]
    texts = sorted(name for name in form.MORE_FILES if name.startswith("licenses/"))
    if texts:
        licence, source = f"Apache-2.0; {', '.join(texts)}", "apache-tvm, apache-tvm-ffi"
        found.append({"what": "TVM's runtime", "licence": licence, "source": source})
    return found


def _write_model(
    folder: Path, form: PackageFormat, runtime: str, model: Artifact | str | Path | bytes
) -> None:
    """Write a model's files under the names of the format.

    Raises:
        PackageError: If they are made for another runtime, or are not as many as the format has.
        OSError: If one cannot be read or written.
    """
    if not isinstance(model, (bytes, Artifact)) and Path(model).is_dir():
        shutil.copytree(model, folder, dirs_exist_ok=True)
        return
    if isinstance(model, bytes):
        (folder / form.MODEL).write_bytes(model)
        return
    if isinstance(model, Artifact):
        if model.runtime != runtime:
            raise PackageError(
                f"the manifest is not about this model: it is made for {model.runtime}, the "
                f"conditions say {runtime}"
            )
        sources = [model.path, *model.companions]
    else:
        sources = [Path(model), *(Path(model).with_suffix(Path(n).suffix) for n in form.COMPANIONS)]
    names = model_files(form)
    if len(sources) != len(names):
        raise PackageError(
            f"the model has {len(sources)} files; of {form.NAME} there are {len(names)}: "
            f"{', '.join(names)}"
        )
    for name, source in zip(names, sources, strict=True):
        form.write_model(source, folder / name)


def _packaged(folder: Path, form: PackageFormat, manifest: Manifest) -> Artifact:
    """The model of a package; which lowering made it is not known of files that were given."""
    path, *companions = (folder / name for name in model_files(form))
    runtime, precision = manifest.conditions.runtime, manifest.precision
    return Artifact(path, tuple(companions), runtime, precision, version=0)


def _with_runtime(versions: Mapping[str, str], runtime: str) -> dict[str, str]:
    """Versions with that of the runtime, where it is installed here."""
    _, version = installed(runtime)
    return dict(versions) if version is None else {**versions, runtime: version}


def _read_model(form: PackageFormat, path: Path) -> ModelFile:
    try:
        facts = form.inspect(path)
    except (OSError, NascError):
        raise
    except Exception as error:  # libraries raise several kinds on a damaged file
        reason = str(error).strip().splitlines()[:1]
        raise PackageError(f"the model is no valid {form.NAME} file: {' '.join(reason)}") from error
    if facts.unexpected:
        raise PackageError(f"the model is none of nasc's: {'; '.join(facts.unexpected[:3])}")
    return facts


def contradictions(manifest: Manifest, facts: ModelFile) -> list[str]:
    """Where a model file and a manifest say different things; one phrase each."""
    counted = params(manifest.architecture, manifest.geometry, manifest.head)
    compared = (
        ("architecture", facts.architecture, str(manifest.architecture)),
        ("head", facts.head, manifest.head),
        ("parameters", facts.params, manifest.params),
        ("parameters of the architecture", counted, manifest.params),
        ("shape of inputs", facts.shape, manifest.conditions.shape),
        ("size in bytes", facts.size_bytes, manifest.size_bytes),
    )
    return [
        f"{name}: {found!r} in the file, {stated!r} in the manifest"
        for name, found, stated in compared
        if found != stated and (name, found) != ("parameters", None)
    ]


def wrong_measurement(manifest: Manifest, model: Path) -> list[str]:
    """Why the manifest's measurement is not one of this file; empty if it is or there is none.

    Raises:
        ProfilerError: If the file cannot be read.
    """
    if manifest.measured is None:
        return []
    measurement = manifest.measured.measurement
    jobs = manifest.measured.jobs(model)
    if any(job.content_hash() != measurement[job.name].content_hash for job in jobs):
        return ["the measurement is of another file or other inputs"]
    return []
