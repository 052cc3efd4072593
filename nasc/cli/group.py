"""The group of all commands: suggestions, and expected errors as one message each."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from nasc import __version__
from nasc.printable import printable


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as an error would: its processes and folders are gone.

    Within torchrun they are left alone: it ends all of its processes together.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread() or "LOCAL_RANK" in os.environ:
        names = []
    untouched = [
        number
        for number in (getattr(signal, name) for name in names)
        if signal.getsignal(number) is signal.SIG_DFL
    ]

    def leave(number: int, _: object) -> NoReturn:
        for one in untouched:  # a second signal ends it at once
            signal.signal(one, signal.SIG_DFL)
        raise SystemExit(128 + number)

    for number in untouched:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in untouched:
            signal.signal(number, signal.SIG_DFL)


def _complain(text: object) -> None:
    """An error's message on stderr; it may quote what others wrote."""
    click.echo(printable(f"Error: {text}", lines=True), err=True)


class _Group(click.Group):
    """Suggests commands, and turns expected errors into one message and an exit code."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        from device_profiles import DeviceProfileError
        from nasc.errors import InfeasibleLimits, NascError
        from profilers.errors import MeasurementInterrupted, ProfilerError

        _escape_what_stdout_lacks()
        try:
            with _ending_in_order():
                return super().invoke(ctx)
        except MeasurementInterrupted as error:
            click.echo(printable(f"Interrupted: {error}", lines=True), err=True)
            ctx.exit(130)
        except InfeasibleLimits as error:
            _complain(error.certificate)
            ctx.exit(error.exit_code)
        except NascError as error:
            _complain(error)
            ctx.exit(error.exit_code)
        except DeviceProfileError as error:
            _complain(error)
            ctx.exit(2)
        except ProfilerError as error:
            _complain(error)
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f": '{error.filename}'" if error.filename else ""
            _complain(
                f"{error.strerror or error}{where}. Free some space or mend the "
                "permission; what was measured and trained is kept: the same command goes on"
            )
            ctx.exit(1)
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
                raise
            click.echo(
                "Error: the GPU has no memory left. What was trained is kept: free its memory and "
                "run the same command, or set CUDA_VISIBLE_DEVICES to nothing, which computes on "
                "the processor",
                err=True,
            )
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(
                "Interrupted. What was measured and trained is kept: the same command goes on.",
                err=True,
            )
            ctx.exit(130)


def _escape_what_stdout_lacks() -> None:
    """Have characters that are not in the encoding of stdout written as escapes, as on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nasc")
def main() -> None:
    """NASC makes text encoders fit: as fast and as small as a device needs, with proof.

    \b
    nasc profile --device host       measure each operation on the device, once
    nasc compile --latency-ms 20     the best subnet within the limit, as a package
    """
