"""The group of all commands: suggestions, and expected errors as one message each."""

from __future__ import annotations

import difflib
import errno
import math
import re
import tempfile
from typing import Any

import click

from device_profiles.reading import shown
from nasc import __version__

_DIGITS = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class Whole(click.IntRange):
    """A whole number in plain digits: int() also takes those of other scripts, and 1_000."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of a text."""
        if isinstance(value, str) and not _DIGITS.fullmatch(value.strip()):
            self.fail(f"{shown(value)} is not a whole number (examples: 1, 128)", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number in plain digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of a text."""
        plain = not isinstance(value, str) or (
            len(value) <= 40 and _NUMBER.fullmatch(value.strip()) is not None
        )
        if not plain or not math.isfinite(float(value)):
            self.fail(f"{shown(value)} is not a number (examples: 0.5, 20, 1e-3)", param, ctx)
        return super().convert(value, param, ctx)


def _strict(kind: click.ParamType[Any]) -> click.ParamType[Any]:
    """The same kind of option, of plain numbers only."""
    if isinstance(kind, Whole | Number):
        return kind
    if isinstance(kind, click.IntRange):
        return Whole(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
    if isinstance(kind, click.FloatRange):
        return Number(kind.min, kind.max, kind.min_open, kind.max_open, kind.clamp)
    if kind is click.INT:
        return Whole()
    if kind is click.FLOAT:
        return Number()
    return kind


_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
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
    return f"{reason}. {_KEPT}"


class _Group(click.Group):
    """Suggests commands, and turns expected errors into one message and an exit code."""

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

        try:
            return super().invoke(ctx)
        except MeasurementInterrupted as error:
            click.echo(f"Interrupted: {error}", err=True)
            ctx.exit(130)
        except InfeasibleLimits as error:
            click.echo(f"Error: {error.certificate}", err=True)
            ctx.exit(error.exit_code)
        except NascError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except DeviceProfileError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except ProfilerError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            click.echo(f"Error: {describe_os_error(error)}", err=True)
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


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nasc")
def main() -> None:
    """NASC makes text encoders fit: as fast and as small as a device needs, with proof.

    \b
    nasc profile --device host       measure each operation on the device, once
    nasc compile --latency-ms 20     the best subnet within the limit, as a package
    """
