"""What `nasc compile --format c` writes: the network that was chosen, as a folder of C.

Compiled by the kernels of the package for TVM beside it, built here and run: it is written only if
its vectors are those of the network in torch and those of the package.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import scores_tokens
from nasc.context.context import RunContext
from nasc.errors import PackageError, UsageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.evaluation.parity import check_parity, check_reduced, conformance
from nasc.evaluation.parity_report import Parity, ReducedPrecisionReport
from nasc.export.matrices import Float
from nasc.export.onnx import build
from nasc.lowering import Artifact
from nasc.networks.network import Network
from nasc.package.build import GOLDEN, TOKENIZER, build_package
from nasc.package.c_program import build_program, compiler, run_program
from nasc.package.formats.c_folder import TEXT_DEMO, WEIGHTS
from nasc.package.formats.c_package import AGREEMENT, MODEL, open_session, refusal, write_library
from nasc.package.golden import Golden, allowed_difference
from nasc.package.manifest import Conditions, Manifest, PeakMemory
from nasc.package.tokenizer_binary import FILE as TABLES
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_files import write_tokenizer
from nasc.pipelines.artifact_quality import parity_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nasc.lowering.static.program import StaticNetwork

NOT_MEASURED = "not measured: it is that of this network's package for TVM that was"
"""What such a folder says of its latency."""


def folder_beside(output: Path, name: str) -> Path:
    """Where a folder of another format goes: beside the package, which holds its own files alone.

    Args:
        output: Folder of the package.
        name: Of the format.
    """
    return output.with_name(f"{output.name}-{name}")


def check_c(context: RunContext) -> None:
    """Raise before anything is searched where no folder of C can be made.

    Raises:
        UsageError: If the device is another than this machine, ziglang is missing, or texts go in
            by pairs or scores of tokens come out.
        PackageError: If the tokenizer does what its port in C does not.
        profilers.RuntimeMissing: If there is no C compiler.
    """
    device = context.device
    if device.connection.kind != "local" or device.emulated:
        raise UsageError(
            f"--format c is checked by running it here; device {device.name!r} is another machine. "
            "Run nasc there, or leave --format c out"
        )
    if context.teacher.paired:
        raise UsageError(
            f"--format c takes one text at a time, the teacher {context.teacher.name!r} scores "
            "pairs: leave --format c out"
        )
    if scores_tokens(context.head):
        raise UsageError(
            f"--format c gives vectors or scores of texts, the teacher {context.teacher.name!r} "
            "scores tokens: leave --format c out, or take its encoder alone: --head embed"
        )
    if importlib.util.find_spec("ziglang") is None:
        raise UsageError(
            "--format c needs ziglang, whose linker cleans the machine code. Install it: "
            "python -m pip install ziglang"
        )
    compiler()
    with temporary_folder() as folder:
        _tables(context.tokenizer, context.max_length, folder)


def write_c(
    context: RunContext,
    output: Path,
    package: Path,
    manifest: Manifest,
    network: Network,
    force: bool,
    sign: Path | None = None,
) -> Path:
    """Write the folder of C beside a package for TVM.

    Args:
        context: Of the run.
        output: The folder.
        package: Of the same network, for TVM, written a moment ago.
        manifest: What `nasc.package.build.build_package` was given for it.
        network: With its weights, in its precision.
        force: Replace the folder that is there.
        sign: Private key that it is signed with.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If what was compiled gives other vectors than the package; nothing is written.
        ParityError: If it gives others than the network in torch.
        ExportError: If TVM cannot compile it without its runtime, or it does not build.
    """
    compiled = _compile(network, manifest.max_length)
    if why := refusal(compiled.arch):
        raise PackageError(why)
    golden = Golden.read(package / GOLDEN)
    tokenizer = context.tokenizer
    with temporary_folder() as place:
        library = place / "library"
        write_library(compiled, build(network, matrices=Float()), library)
        with open_c(_artifact(library, network)) as encoder:
            check_vectors(golden, encoder)
            parity = _parity(context, manifest, network, encoder)
            tokens = parity_tokens(context)
            log = conformance(network, encoder, tokens, longest=manifest.max_length)
        check_texts(golden, library, compiled.arch, tokenizer, place)
        return build_package(
            output,
            model=library,
            tokenizer=tokenizer,
            manifest=dataclasses.replace(c_manifest(manifest, parity), conformance=log),
            force=force,
            say=context.reporter.say,
            open_encoder=open_c,
            sign=sign,
        )


def c_manifest(manifest: Manifest, parity: Parity | ReducedPrecisionReport | None) -> Manifest:
    """What the folder says of itself: nothing of a latency or of limits, which nobody measured.

    Nor of tuning records: its kernels go by general schedules.

    Args:
        manifest: Of the package for TVM.
        parity: Of the folder's own code.
    """
    said = manifest.conditions
    return dataclasses.replace(
        manifest,
        limits={},
        conditions=Conditions(
            said.device, "c", said.batch, said.seq_len, said.threads, said.statistic
        ),
        predicted=None,
        latency_table=NOT_MEASURED,
        estimate=None,
        tuned=None,
        measured=None,
        tokenisation_ms=None,
        peak_memory=PeakMemory(),
        parity=parity,
        attempts=(),
        evidence={},
        conformance=(),
    )


@contextlib.contextmanager
def open_c(
    artifact: Artifact,
    tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
    *,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Encoder]:
    """See `nasc.evaluation.encoder.OpenEncoder`: the code is built and run here."""
    with open_session(artifact.path) as session:
        yield Encoder(
            artifact.path,
            tokenizer,
            max_length=max_length,
            batch_size=batch_size,
            session=session,
        )


def _artifact(library: Path, network: Network) -> Artifact:
    return Artifact(library / MODEL, (), "c", network.architecture.precision, version=0)


def _compile(network: Network, max_length: int) -> StaticNetwork:
    """The network at the usual lengths, and at that of the longest text."""
    from nasc.lowering.static.compile import compile_static, usual_lengths  # imports TVM

    return compile_static(network, lengths={*usual_lengths(network), max_length})


def _parity(
    context: RunContext, manifest: Manifest, network: Network, encoder: Encoder
) -> Parity | ReducedPrecisionReport | None:
    """Of this code; the package's of a task in a reduced precision, which is judged by its body."""
    if network.architecture.precision == "fp32":
        return check_parity(network, encoder, parity_tokens(context))
    if manifest.task is not None:
        return manifest.parity
    return check_reduced(network, encoder, parity_tokens(context))


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
            f"the C code gives other vectors of {what} than the package for TVM: they differ by "
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
