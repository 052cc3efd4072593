"""Which runtimes and precisions a run may choose from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import profilers
from device_profiles import DeviceProfile
from nasc.architecture.space import PRECISIONS, SMALLER, SearchSpace
from nasc.architecture.variant import Variant
from nasc.context.inputs import RunInputs
from nasc.context.sessions import Sessions
from nasc.context.settings import AUTO, ESTIMATED_RUNTIME, NOT_BY_AUTO
from nasc.errors import ExportError, TableMissing, UsageError
from nasc.latency.estimate import estimated_precisions
from nasc.latency.missing_device import without_device
from nasc.lowering import PRECISIONS as LOWERED
from nasc.lowering import get_lowering, why_unsupported
from nasc.package.formats import SHIPPED
from profilers.devices.transports import runtimes_on


@dataclass(frozen=True, slots=True)
class OfferedVariants:
    """Variants of a search space that a device computes.

    Attributes:
        device: The device.
        precisions: That it computes in, by runtime.
        space: The search space.
        reasons: By variant why networks of the space are not made in it; None where they are. The
            truest precision comes first.
    """

    device: DeviceProfile
    precisions: Mapping[str, Sequence[str]]
    space: SearchSpace
    reasons: Mapping[Variant, str | None]

    @classmethod
    def of(
        cls,
        device: DeviceProfile,
        precisions: Mapping[str, Sequence[str]],
        space: SearchSpace,
        head: str,
        *,
        smaller: bool,
    ) -> OfferedVariants:
        """What of the precisions of a device is of a space.

        Args:
            device: The device.
            precisions: That it computes in, by runtime.
            space: Of the networks.
            head: That they are trained with.
            smaller: Whether precisions that are only smaller than another are looked at, too.
        """
        why = {
            Variant(runtime, precision): why_unsupported(runtime, precision, space, head)
            for precision in PRECISIONS
            for runtime in precisions
            if precision in precisions[runtime]
            and precision in space.precisions
            and (smaller or precision not in SMALLER)
        }
        return cls(device, precisions, space, why)

    @property
    def supported(self) -> tuple[Variant, ...]:
        """Those in which networks are made."""
        return tuple(variant for variant, reason in self.reasons.items() if reason is None)

    @property
    def known(self) -> str:
        """What the device computes in, in words."""
        return "; ".join(
            f"{runtime}: {', '.join(each)}" for runtime, each in self.precisions.items()
        )

    def check_asked(self, asked: Iterable[str], found: Sequence[Variant]) -> None:
        """Raise where a precision that was asked for is in no variant.

        Args:
            asked: The precisions.
            found: Variants of these that may be chosen.

        Raises:
            UsageError: With the reason, and a runtime that may help.
        """
        for precision in asked:
            if any(variant.precision == precision for variant in found):
                continue
            elsewhere = [r for r in runtimes_on(self.device) if precision in LOWERED[r]]
            others = [r for r in elsewhere if r not in self.precisions]
            advice = f" Another runtime may: --runtime {others[0]}" if others else ""
            unmade = [text for v, text in self.reasons.items() if text and v.precision == precision]
            if unmade:
                raise UsageError(f"--precision {precision}: {'; '.join(unmade)}.{advice}")
            raise UsageError(
                f"--precision {precision} is not computed on device {self.device.name!r} by what "
                f"may be taken there ({self.known}).{advice}"
            )

    def none_left(self, teacher: str) -> UsageError:
        """The error where nothing can be chosen.

        Args:
            teacher: Its name.
        """
        if unmade := [text for text in self.reasons.values() if text]:
            others = [r for r in runtimes_on(self.device) if r not in self.precisions]
            advice = f" Take another runtime: --runtime {others[0]}" if others else ""
            return UsageError(
                f"no network of the teacher {teacher!r} can be made: "
                f"{'; '.join(dict.fromkeys(unmade))}.{advice}"
            )
        return UsageError(
            f"search space {self.space.name!r} is in {', '.join(self.space.precisions)}, device "
            f"{self.device.name!r} computes in {self.known}"
        )


def find_variants(
    inputs: RunInputs,
    sessions: Sessions,
    has_tables: Callable[[Variant], bool],
    *,
    limits_bytes: bool,
) -> tuple[Variant, ...]:
    """What may be chosen: runtimes and the precisions that the device computes in by them.

    The truest precision comes first; the device's own runtime before others.

    Args:
        inputs: Of the run.
        sessions: On the device.
        has_tables: Whether a variant can be priced without the device.
        limits_bytes: Whether the size of files or memory is limited: only then are precisions that
            are smaller than another, and less true, taken without being asked for, by name or in a
            space's own precisions.

    Raises:
        UsageError: If a precision that is asked for is computed by none of the runtimes, or by
            none that makes networks of the space in it.
        TableMissing: If the device cannot be reached, and no variant can be priced without it.
        profilers.RuntimeMissing: If the runtime that is asked for is not installed there.
        profilers.ProfilerError: If the device cannot be reached.
    """
    precisions, asked = offered_precisions(inputs, sessions), inputs.settings.precisions
    smaller = limits_bytes or asked is not None or inputs.space.precisions != PRECISIONS
    offered = OfferedVariants.of(
        sessions.device, precisions, inputs.space, inputs.trained_head, smaller=smaller
    )
    for variant, reason in offered.reasons.items():
        if reason is not None:
            inputs.say_once(f"{variant} is left out: {reason}")
    found = offered.supported
    if sessions.why_offline is not None:
        found = tuple(variant for variant in offered.supported if has_tables(variant))
        if not found:
            raise without_device(sessions.device, sessions.why_offline) from sessions.why_offline
        if left_out := [str(variant) for variant in offered.supported if variant not in found]:
            inputs.say_once(
                f"left out, as no latency table of device {sessions.device.name!r} prices it under "
                f"these conditions: {', '.join(left_out)}"
            )
    offered.check_asked(asked or (), found)
    if not found:
        raise offered.none_left(inputs.teacher.name)
    return found


def offered_precisions(inputs: RunInputs, sessions: Sessions) -> Mapping[str, Sequence[str]]:
    """What a device computes in by the runtimes that may be taken, its own runtime first.

    Raises:
        profilers.RuntimeMissing: If the runtime that is asked for is not installed there.
        profilers.ProfilerError: If the device cannot be reached.
    """
    own, wanted = sessions.device.default_runtime, inputs.settings.runtime
    if inputs.settings.estimate:
        precisions = estimated_precisions(sessions.device, sessions.estimate_threads)
        return {ESTIMATED_RUNTIME: precisions}
    if wanted == AUTO:
        tried = tried_runtimes(sessions.device)
        return _installed(sorted(tried, key=lambda runtime: runtime != own), inputs, sessions)
    return {wanted or own: sessions.on(wanted or own).precisions()}


def tried_runtimes(device: DeviceProfile) -> tuple[str, ...]:
    """Runtimes that are looked for on a device where none is named."""
    left_out, there = NOT_BY_AUTO.get(device.accelerator.kind, ()), runtimes_on(device)
    return tuple(r for r in SHIPPED if r in there and r not in left_out)


def _installed(
    runtimes: Iterable[str], inputs: RunInputs, sessions: Sessions
) -> Mapping[str, Sequence[str]]:
    """What the device computes in by those runtimes that it and this machine have.

    Raises:
        profilers.RuntimeMissing, ExportError: If none can be had.
    """
    offered: dict[str, tuple[str, ...]] = {}
    missing: Exception | None = None
    for runtime in runtimes:
        try:
            offered[runtime] = sessions.on(runtime).precisions(ask=True)
            get_lowering(runtime)
            if refusal := sessions.why_not_packed(runtime):
                offered.pop(runtime)
                inputs.say_once(f"{runtime} is left out: {refusal}")
        except (profilers.RuntimeMissing, ExportError, TableMissing) as error:
            offered.pop(runtime, None)
            missing = error
            inputs.say_once(f"{runtime} is left out: {error}")
    if missing is not None and not offered:
        raise missing
    return offered
