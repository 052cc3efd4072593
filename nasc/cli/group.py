"""The group of all commands: suggestions, and expected errors as one message each."""

from __future__ import annotations

import difflib
import io
import sys
from typing import Any

import click

from nasc import __version__


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
            where = f": '{error.filename}'" if error.filename else ""
            click.echo(
                f"Error: {error.strerror or error}{where}. Free some space or mend the "
                "permission; what was measured and trained is kept: the same command goes on",
                err=True,
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
