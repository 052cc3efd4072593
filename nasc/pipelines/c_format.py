"""What `nasc compile --format c,android-c` writes: the network that was chosen, as C code.

Compiled by TVM's kernels, built here and run: it is written only if its vectors are those of the
network in torch and, where the package beside it computes the same, those of the package.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import scores_tokens
from nasc.context.context import RunContext
from nasc.errors import PackageError, UsageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.evaluation.parity import check_parity, check_reduced, conformance
from nasc.evaluation.parity_report import Parity, ReducedPrecisionReport, accept_reduced
from nasc.export.matrices import Float
from nasc.export.onnx import build
from nasc.lowering import Artifact
from nasc.lowering.static.supported import why_no_library
from nasc.networks.network import Network
from nasc.package.build import GOLDEN, TOKENIZER, build_package
from nasc.package.c_program import build_program, run_program
from nasc.package.formats import CFormat, format_of
from nasc.package.formats.c_folder import TEXT_DEMO, WEIGHTS
from nasc.package.formats.c_package import AGREEMENT, MODEL, open_session, refusal, write_library
from nasc.package.golden import Golden, allowed_difference
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import FILE as TABLES
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_files import write_tokenizer
from nasc.package.unmeasured import without_latency
from nasc.pipelines.app_format import programs_hold
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached, parity_tokens
from nasc.pipelines.options import Options
from profilers.devices.transports import is_host

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nasc.lowering.static.program import StaticNetwork

C = "c"
"""What opens the code, as artifacts name it."""


def c_format(name: str) -> CFormat:
    """How a format holds the code.

    Args:
        name: Of one that does.
    """
    found = format_of(name)
    assert isinstance(found, CFormat)
    return found


def _computes_alike(form: CFormat, manifest: Manifest) -> bool:
    """Whether a package's vectors are those of the code that a format holds."""
    same_kernels = form.SAME_CODE and manifest.conditions.runtime == form.LOWERED_FOR
    return manifest.precision == "fp32" or same_kernels


def check_c(name: str, context: RunContext) -> None:
    """Raise before anything is searched where no code in C can be made.

    Args:
        name: Of the format.
        context: Of the run.

    Raises:
        UsageError: If the device is another than this machine, TVM or ziglang is missing, texts go
            in by pairs, scores of tokens come out, or the teacher has what C libraries do not.
        PackageError: If the tokenizer does what its port in C does not.
        profilers.RuntimeMissing: If there is no C compiler.
    """
    device = context.device
    if not is_host(device) or device.emulated:
        raise UsageError(
            f"--format {name} is checked by running it here; device {device.name!r} is another "
            f"machine. Run nasc there, or leave --format {name} out"
        )
    c_format(name).check_ready(name)
    if context.teacher.paired:
        raise UsageError(
            f"--format {name} takes one text at a time, the teacher {context.teacher.name!r} "
            f"scores pairs: leave --format {name} out"
        )
    if scores_tokens(context.head):
        raise UsageError(
            f"--format {name} gives vectors or scores of texts, the teacher "
            f"{context.teacher.name!r} scores tokens: leave --format {name} out, or take its "
            "encoder alone: --head embed"
        )
    if (why := why_no_library(context.space.geometry)) is not None:
        raise UsageError(f"{why}: leave --format {name} out")
    with temporary_folder() as folder:
        _tables(context.tokenizer, context.max_length, folder)


def write_c(
    name: str,
    context: RunContext,
    output: Path,
    package: Path,
    manifest: Manifest,
    network: Network,
    evaluator: ArtifactEvaluator,
    options: Options,
) -> Path:
    """Write the code in C beside a package.

    Args:
        name: Of the format.
        context: Of the run.
        output: The folder.
        package: Of the same network, written a moment ago.
        manifest: What `nasc.package.build.build_package` was given for it.
        network: With its weights, in its precision.
        evaluator: Judges the code where it computes otherwise than the package does.
        options: What is asked for.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If what was compiled gives other vectors than the package, or is too far from
            the network in fp32; nothing is written.
        ParityError: If it gives others than the network in torch.
        LimitsMissed: If a quality that is asked for is not reached.
        ExportError: If TVM cannot compile it without its runtime, or it does not build.
    """
    form = c_format(name)
    with temporary_folder() as place:
        library = place / "library" / form.C_FOLDER
        arch = _write_library(form, network, manifest.max_length, library)
        found = _judge(form, context, library, package, manifest, network, evaluator, place, arch)
        check_reached(found["quality"], options.min_quality)
        own = without_latency(dataclasses.replace(manifest, **found), name, form.NOT_PROMISED)
        # Texts of any length, whatever the package takes.
        conditions = dataclasses.replace(own.conditions, fixed_shape=False)
        own = dataclasses.replace(own, conditions=conditions)
        return build_package(
            output,
            model=place / "library",
            tokenizer=context.tokenizer,
            manifest=own,
            force=options.force,
            say=context.reporter.say,
            open_encoder=open_c,
            check=programs_hold(name, form, own, context),
            sign=options.sign,
        )


def _write_library(form: CFormat, network: Network, max_length: int, folder: Path) -> str:
    """Write the library of a network, and give the processor of it that this machine's is.

    Raises:
        PackageError: If there is none.
    """
    compiled = [_compile(network, max_length, processor) for processor in form.C_PROCESSORS]
    own = [one for one in compiled if not refusal(one.arch)]
    if not own:
        raise PackageError(refusal(compiled[0].arch))
    others = [one for one in compiled if one not in own]
    write_library(own[0], build(network, matrices=Float()), folder, others)
    return own[0].arch


def _judge(
    form: CFormat,
    context: RunContext,
    library: Path,
    package: Path,
    manifest: Manifest,
    network: Network,
    evaluator: ArtifactEvaluator,
    place: Path,
    arch: str,
) -> dict[str, Any]:
    """Parity, quality and conformance of the code as it runs here.

    Raises:
        PackageError, ParityError: See `write_c`.
    """
    golden = Golden.read(package / GOLDEN)
    artifact, alike = _artifact(library, network), _computes_alike(form, manifest)
    with open_c(artifact) as encoder:
        if alike:
            check_vectors(golden, encoder)
        else:
            golden = golden.of(encoder)
        parity = _parity(form, context, manifest, network, encoder, evaluator, place)
        tokens = parity_tokens(context)
        log = conformance(network, encoder, tokens, longest=manifest.max_length)
    check_texts(golden, library, arch, context.tokenizer, place)
    quality = manifest.quality if alike else evaluator.opening_by(open_c).quality(artifact)
    return {"parity": parity, "quality": quality, "conformance": log}


@contextlib.contextmanager
def open_c(
    artifact: Artifact,
    tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
    *,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Encoder]:
    """See `nasc.evaluation.encoder.OpenEncoder`: the code is built and run here.

    It computes text by text, so that a batch is as many as one start of the program is worth.
    """
    with open_session(artifact.path) as session:
        yield Encoder(
            artifact.path,
            tokenizer,
            max_length=max_length,
            batch_size=max(batch_size, BATCH_SIZE),
            session=session,
        )


def _artifact(library: Path, network: Network) -> Artifact:
    return Artifact(library / MODEL, (), C, network.architecture.precision, version=0)


def _compile(
    network: Network, max_length: int, processor: Mapping[str, Any] | None
) -> StaticNetwork:
    """The network at the usual lengths, and at that of the longest text."""
    from nasc.lowering.static.compile import compile_static, usual_lengths  # imports TVM

    lengths = {*usual_lengths(network), max_length}
    return compile_static(network, lengths=lengths, processor=processor)


def _parity(
    form: CFormat,
    context: RunContext,
    manifest: Manifest,
    network: Network,
    encoder: Encoder,
    evaluator: ArtifactEvaluator,
    place: Path,
) -> Parity | ReducedPrecisionReport | None:
    """Of this code; of a task or of scores in a reduced precision that of its body.

    A reduced precision is held to the code in fp32 on labelled data, too, where there is any and
    the package beside, which was, has other vectors.

    Raises:
        ParityError: If the code in fp32 gives other vectors than the network.
        PackageError: If a reduced precision is too far from it.
    """
    tokens = parity_tokens(context)
    if network.architecture.precision == "fp32":
        return check_parity(network, encoder, tokens)
    if manifest.task is None:
        report = check_reduced(network, encoder, tokens)
    elif _computes_alike(form, manifest):
        return manifest.parity
    else:
        body = network.body()
        _write_library(form, body, manifest.max_length, place / "body")
        with open_c(_artifact(place / "body", body)) as own:
            report = check_reduced(body, own, tokens)
    before = after = None
    if evaluator.has_labels and not _computes_alike(form, manifest):
        judge, wide = evaluator.opening_by(open_c), network.with_precision("fp32")
        _write_library(form, wide, manifest.max_length, place / "fp32")
        before = judge.score(_artifact(place / "fp32", wide))
        after = judge.score(_artifact(encoder.path.parent, network))
    accepted, reason = accept_reduced(report, fp32_score=before, reduced_score=after)
    if not accepted:
        raise PackageError(
            f"the C code in {network.architecture.precision} is refused ({reason}). The package is "
            "written, the folder of C is not. Allow fp32 alone: --precision fp32"
        )
    return report


def check_vectors(golden: Golden, encoder: Encoder) -> None:
    """Raise unless token ids give the vectors of the package."""
    rows = encoder.outputs([list(one.input_ids) for one in golden.texts], batch_size=1)
    _check(golden.difference(rows), golden, "token ids")


def check_texts(
    golden: Golden,
    library: Path,
    arch: str,
    tokenizer: PreTrainedTokenizerBase,
    place: Path,
) -> None:
    """Raise unless texts give the vectors of the package, by the tokenizer in C.

    Texts of more than one line are left out: the demonstration reads a text a line.
    """
    tables = place / TABLES
    tables.write_bytes(_tables(tokenizer, golden.max_length, place))
    program = build_program(library, TEXT_DEMO, arch, place / "embed_text")
    texts = {
        one.text: one for one in golden.texts if isinstance(one.text, str) and "\n" not in one.text
    }
    command = [program, library / arch / WEIGHTS, tables]
    rows = run_program(command, list(texts))
    lines = tuple(texts.values())
    _check(dataclasses.replace(golden, texts=lines).difference(rows), golden, "texts")


def _check(difference: float, golden: Golden, what: str) -> None:
    allowed = allowed_difference(AGREEMENT, [np.array(one.vector) for one in golden.texts])
    if not difference <= allowed:
        raise PackageError(
            f"the C code gives other vectors of {what} than the package: they differ by "
            f"{difference:.2g}, {allowed:.2g} are allowed. The package is written, the folder of C "
            "is not: please report this, with both"
        )


def _tables(tokenizer: PreTrainedTokenizerBase, max_length: int, folder: Path) -> bytes:
    """The tables of a tokenizer as a package ships it.

    Raises:
        PackageError: If it does what its port in C does not.
    """
    own = folder / "tokenizer"
    own.mkdir()
    write_tokenizer(own, tokenizer, max_length)
    return compile_tokenizer(Tokenizer.from_file(str(own / TOKENIZER)))
