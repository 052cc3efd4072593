"""What `nasc compile --format` writes beside the package that was measured.

One network is chosen and measured by one runtime: the package. A format of another runtime is a
folder of the same network in the same precision, judged by its own file; it states no latency.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import device_profiles
from device_profiles import CPU
from device_profiles.temporary import temporary_folder
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import AUTO
from nasc.errors import LimitsMissed, PackageError, UsageError
from nasc.latency.session import MeasurementSession, precisions_here
from nasc.lowering import PRECISIONS, Artifact, why_unsupported
from nasc.networks.network import Network
from nasc.package.build import build_package
from nasc.package.formats import FORMATS, SHIPPED, CFormat, format_of, is_package, runtime_of
from nasc.package.manifest import Manifest
from nasc.package.sibling_folders import build_sha256, folder_beside
from nasc.package.unmeasured import without_latency
from nasc.pipelines.app_format import check_app, write_app
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached
from nasc.pipelines.c_format import check_c, write_c
from nasc.pipelines.options import Options

PROCESSOR = "host"
"""Device where models for apps are judged in place of a GPU."""


def check_formats(context: RunContext, formats: Sequence[str]) -> None:
    """Raise before anything is measured where a format that is asked for cannot be written.

    Args:
        context: Of the run.
        formats: Out of `nasc.package.formats.FORMATS`.

    Raises:
        UsageError, PackageError, profilers.RuntimeMissing: With what to change; see `check_c`,
            `check_app` and `variants_in`.
    """
    wanted, own = context.settings.runtime, context.device.default_runtime
    runtime = own if wanted in (None, AUTO) else wanted
    for name in FORMATS:
        is_asked = name in formats
        if not is_asked and is_package(name, runtime) and format_of(runtime).VECTORS_ALONE:
            check_app(name, context, context.head)
    for name in formats:
        form = format_of(runtime_of(name))
        if isinstance(form, CFormat):
            check_c(name, context)
        if form.VECTORS_ALONE:
            check_app(name, context, context.head)
    if formats:
        variants_in(context, formats)


def variants_in(context: RunContext, formats: Sequence[str]) -> tuple[Variant, ...]:
    """The context's variants whose networks can be written in every format that is asked for.

    Args:
        context: Told of those that cannot.
        formats: Out of `nasc.package.formats.FORMATS`.

    Raises:
        UsageError: If there is none, or none in a precision that is asked for by name.
    """
    why = {variant: _why_not(context, formats, variant) for variant in context.variants}
    found = tuple(variant for variant, reason in why.items() if reason is None)
    left = {variant: reason for variant, reason in why.items() if reason is not None}
    wanted = context.settings.precisions or ()
    lost = [p for p in wanted if p not in {variant.precision for variant in found}]
    if lost or not found:
        reasons = dict.fromkeys(r for v, r in left.items() if not lost or v.precision == lost[0])
        asked = f"--precision {lost[0]}: " if lost else ""
        raise UsageError(f"{asked}{'; '.join(reasons)}. Leave that format out, or the precision")
    for variant, reason in left.items():
        context.say_once(f"{variant} is left out: {reason}")
    return found


def _why_not(context: RunContext, formats: Sequence[str], variant: Variant) -> str | None:
    """Why a variant's networks cannot be written in one of some formats; None where they can."""
    precision = variant.precision
    for name in formats:
        form = format_of(runtime_of(name))
        runtime = form.LOWERED_FOR
        possible, where = PRECISIONS[runtime], ""
        if isinstance(form, CFormat):
            possible = precisions_here(runtime)
            where = " for this processor" * (precision in PRECISIONS[runtime])
        if precision not in possible or precision not in form.PRECISIONS:
            return f"--format {name} is not made in {precision}{where}"
        if reason := why_unsupported(runtime, precision, context.space, context.trained_head):
            return f"--format {name}: {reason}"
    return None


@dataclass(frozen=True, slots=True)
class _Model:
    """A model file of the network with what is known of it."""

    path: Path
    manifest: Manifest


class FolderWriter:
    """Writes folders of other formats beside a package, one after the other.

    What is lowered for several of them is there for as long as the context lasts.
    """

    def __init__(
        self,
        context: RunContext,
        options: Options,
        evaluator: ArtifactEvaluator,
        package: Path,
        manifest: Manifest,
        network: Network,
    ) -> None:
        """Nothing is written yet.

        Args:
            context: Of the run.
            options: What is asked for.
            evaluator: Judges model files that were not measured.
            package: The package that was measured, written a moment ago.
            manifest: What `nasc.package.build.build_package` was given for it.
            network: In it, with its weights and the vocabulary that ships.
        """
        self._context = context
        self._options = options
        self._evaluator = evaluator
        self._package = package
        self._manifest = dataclasses.replace(manifest, beside_sha256=build_sha256(package))
        self._network = network
        self._kept = contextlib.ExitStack()
        self._models: dict[str, _Model] = {}
        self._sessions: dict[str, MeasurementSession] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kept.close()

    def write(self, name: str) -> Path:
        """Write a folder.

        Args:
            name: Of the format.

        Returns:
            The folder, as an absolute path.

        Raises:
            PackageError, ParityError, ExportError: If it does not hold what the package does, or
                a quality that is asked for; nothing of it is written then.
        """
        context = self._context
        place = folder_beside(self._package, name)
        context.reporter.stage(f"Package in {name.upper()}")(0, 1, str(place))
        with context.timed(f"package in {name.upper()}"):
            try:
                return self._written(name, place)
            except LimitsMissed as error:  # of the package they are met, and it is there
                raise PackageError(
                    f"--format {name}: '{place}' is not written: {error}. The package "
                    f"'{self._package}' is"
                ) from error

    def _written(self, name: str, place: Path) -> Path:
        """Write a folder of a format; see `write`."""
        context, options = self._context, self._options
        form = format_of(runtime_of(name))
        if isinstance(form, CFormat):
            return write_c(
                name,
                context,
                place,
                self._package,
                self._manifest,
                self._network,
                self._evaluator,
                options,
            )
        model = self._model(name, form.LOWERED_FOR)
        if runtime_of(name) not in SHIPPED:
            return write_app(
                name, context, place, model.path, model.manifest, options.force, options.sign
            )
        return build_package(
            place,
            model=model.path,
            tokenizer=context.tokenizer,
            manifest=without_latency(model.manifest, runtime_of(name)),
            force=options.force,
            say=context.reporter.say,
            open_encoder=self._session(form.LOWERED_FOR).open_encoder,
            sign=options.sign,
        )

    def _model(self, name: str, runtime: str) -> _Model:
        """The network for a format's runtime: the package's own, or one made and judged now."""
        if runtime not in self._models:
            if self._manifest.conditions.runtime == runtime:
                path = self._package / format_of(runtime).MODEL
                self._models[runtime] = _Model(path, self._manifest)
            else:
                self._models[runtime] = self._lowered(name, runtime)
        return self._models[runtime]

    def _session(self, runtime: str) -> MeasurementSession:
        """By a runtime: on the device, or where a GPU computes there on this machine's processor.

        A GPU needs a build of the runtime for it; what is made for apps runs on processors.
        """
        context = self._context
        if context.device.accelerator.kind == CPU:
            return context.session(runtime)
        if runtime not in self._sessions:
            here, say = device_profiles.find(PROCESSOR), context.reporter.say
            made = MeasurementSession.on(here, context.cache, runtime=runtime, say=say)
            self._sessions[runtime] = made
        return self._sessions[runtime]

    def _lowered(self, name: str, runtime: str) -> _Model:
        context, session = self._context, self._session(runtime)
        evaluator = self._evaluator.on(session)
        folder = self._kept.enter_context(temporary_folder())
        shape = context.settings.shape
        artifact: Artifact = session.lower(self._network, folder, shape=shape)
        parity, refusal = evaluator.parity(self._network, artifact)
        if refusal is not None:
            raise PackageError(
                f"--format {name}: the network in {artifact.precision} by {runtime} is refused "
                f"({refusal}). The package is written, what is made of that is not. Allow fp32 "
                "alone: --precision fp32"
            )
        quality = evaluator.quality(artifact)
        check_reached(quality, self._options.min_quality)
        log = evaluator.conformance(self._network, artifact)
        changed: dict[str, Any] = {"parity": parity, "quality": quality, "conformance": log}
        return _Model(artifact.path, dataclasses.replace(self._manifest, **changed))
