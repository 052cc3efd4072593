"""The group of all commands: suggestions, and expected errors as one message each."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import math
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from device_profiles.reading import shown
from nasc.utils.printable import printable
from nasc.version import __version__


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


_DIGITS = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class _PlainDigits(click.ParamType[Any]):
    """A whole number in plain digits: int() also takes those of other scripts, and 1_000."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of a text."""
        if isinstance(value, str) and not _DIGITS.fullmatch(value.strip()):
            self.fail(f"{shown(value)} is not a whole number (examples: 1, 128)", param, ctx)
        return super().convert(value, param, ctx)


class _PlainNumber(click.ParamType[Any]):
    """A finite number in plain digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of a text."""
        plain = not isinstance(value, str) or (
            len(value) <= 40 and _NUMBER.fullmatch(value.strip()) is not None
        )
        if not plain or not math.isfinite(float(value)):
            self.fail(f"{shown(value)} is not a number (examples: 0.5, 20, 1e-3)", param, ctx)
        return super().convert(value, param, ctx)


class Whole(_PlainDigits, click.IntRange):
    """A whole number within bounds."""


class Number(_PlainNumber, click.FloatRange):
    """A number within bounds."""


class AnyWhole(_PlainDigits, click.types.IntParamType):
    """A whole number."""


class AnyNumber(_PlainNumber, click.types.FloatParamType):
    """A number."""


def _strict(kind: click.ParamType[Any]) -> click.ParamType[Any]:
    """The same kind of option, of plain numbers only."""
    if isinstance(kind, _PlainDigits | _PlainNumber):
        return kind
    if isinstance(kind, click.IntRange):
        return Whole(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
    if isinstance(kind, click.FloatRange):
        return Number(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
    if kind is click.INT:
        return AnyWhole()
    if kind is click.FLOAT:
        return AnyNumber()
    return kind


_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ARGUMENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""What is wrong with a path that somebody named: the same command would fail again."""

_KEPT = "What was measured and trained is kept: the same command goes on"


def describe_os_error(error: OSError) -> str:
    """What an error of the system means for who runs a command, by its number."""
    names = [str(n) for n in (error.filename, error.filename2) if n is not None]
    where = " -> ".join(f"'{name}'" for name in names)
    if error.errno in _FULL:
        target = where or (
            "the disk of the output, of the cache (--cache DIR) or of temporary files "
            f"({tempfile.gettempdir()}; TMPDIR=DIR names another)"
        )
        return f"{error.strerror}: {target} cannot be written. Free some space. {_KEPT}"
    reason = f"{error.strerror or error}" + (f": {where}" if where else "")
    if error.errno in _PERMISSION:
        return f"{reason}. Mend the permission or name another place. {_KEPT}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{reason}. Allow more open files: ulimit -n 4096. {_KEPT}"
    if error.errno == errno.ENOMEM:
        return f"{reason}. Free some memory. {_KEPT}"
    if error.errno in _ARGUMENT:
        return f"{reason}. Name another file or folder"
    return f"{reason}. {_KEPT}"


class _Group(click.Group):
    """Suggests commands, and turns expected errors into one message and an exit code."""

    group_class = type  # groups in it are such groups

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Take a command; its numbers are plain ones."""
        for param in cmd.params:
            param.type = _strict(param.type)
        super().add_command(cmd, name)

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
            _complain(describe_os_error(error))
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
