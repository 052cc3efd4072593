"""The command line: parse, call, print, exit code.

Whatever is heavy is imported inside the commands, so that `nasc --help` loads no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nasc import __version__

if TYPE_CHECKING:
    from nasc.solver.problem import Limits, Solution
    from nasc.tasks.shipping import TaskOptions
    from nasc.workbench import Settings

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ("fp32", "int8")
QUANTILES = ("p50", "p90", "p99")
TASKS = ("cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli", "squad")


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
        except KeyboardInterrupt:
            click.echo(
                "Interrupted. What was measured and trained is kept: the same command goes on.",
                err=True,
            )
            ctx.exit(130)


class Amount(click.ParamType[float]):
    """A positive number, perhaps with a decimal suffix: 5M, 20MB, 1.5e7."""

    name = "number"
    _FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}  # noqa: RUF012

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Number of a text such as 20MB; MB is 10^6."""
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*([kmg]?)b?", str(value).strip().lower())
        try:
            number = float(match.group(1)) * self._FACTORS[match.group(2)] if match else None
        except ValueError:
            number = None
        if number is None or number <= 0:
            self.fail(f"{value!r} is no positive number (examples: 20, 5M, 20MB)", param, ctx)
        return number


class TaskName(click.ParamType[str]):
    """A task, however it is written: sst-2, SST2."""

    name = "task"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its own name."""
        plain = {re.sub(r"\W|_", "", task): task for task in TASKS}
        found = plain.get(re.sub(r"\W|_", "", str(value).lower()))
        if found is None:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, TASKS))}", param, ctx)
        return found


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


device_option = click.option(
    "--device", default="host", show_default=True, help="Device profile: a name or a TOML file."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random."
)
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Cache folder [default: the user's, or $NASC_CACHE].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Of the runtime [default: the device's]."
)
space_options = _options(
    click.option("--teacher", help="Folder or hub id [default: all-MiniLM-L6-v2 from PyPI]."),
    click.option("--space", help="Search space: a preset or a TOML file [default: by teacher]."),
)
supernet_options = _options(
    space_options,
    click.option(
        "--supernet",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A supernet trained by nasc train [default: one that comes with nasc for the teacher, "
        "if there is one; else train one, cached].",
    ),
    click.option(
        "--corpus",
        multiple=True,
        help="Text to train on: file, folder or datasets:NAME; repeatable "
        "[default: prose found on this machine].",
    ),
    click.option(
        "--train-minutes",
        type=float,
        help="Budget of the supernet if one must be trained [default: 3]. Given, none that comes "
        "with nasc is taken.",
    ),
    click.option("--train-steps", type=click.IntRange(0), help="Its steps, instead of minutes."),
    seed_option,
    cache_option,
)
setting_options = _options(
    device_option,
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(PRECISIONS),
        help="Allowed precision; repeatable [default: all].",
    ),
    click.option(
        "--seq-len", type=click.IntRange(1), default=128, show_default=True, help="Tokens."
    ),
    click.option(
        "--batch", type=click.IntRange(1), default=1, show_default=True, help="Sentences in a run."
    ),
    threads_option,
    click.option(
        "--head",
        default="embed",
        show_default=True,
        help="embed: one pooled vector a sentence; hidden: one a token; classify-N, spans: tasks'.",
    ),
    supernet_options,
)
limit_options = _options(
    click.option("--latency-ms", type=float, help="Limit on latency, in milliseconds."),
    click.option("--size-bytes", type=Amount(), help="Limit on the model file (20MB)."),
    click.option("--params", type=Amount(), help="Limit on parameters (5M)."),
    click.option("--peak-memory-bytes", type=Amount(), help="Limit on peak memory (150MB)."),
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nasc")
def main() -> None:
    """NASC makes text encoders fit: as fast and as small as a device needs, with proof.

    \b
    nasc profile --device host       measure each operation on the device, once
    nasc compile --latency-ms 20     the best subnet within the limit, as a package
    """


def _settings(options: dict[str, Any]) -> Settings:
    from nasc.workbench import Settings

    names = [f.name for f in dataclasses.fields(Settings)]
    values = {name: options.pop(name) for name in names if name in options}
    if "precisions" in values:
        values["precisions"] = tuple(p for p in PRECISIONS if p in values["precisions"]) or None
    return Settings(**values)


def _limits(options: dict[str, Any]) -> Limits:
    from nasc.solver.problem import Limits

    return Limits(**{f.name: options.pop(f.name) for f in dataclasses.fields(Limits)})


@main.command()
@device_option
@space_options
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="Repeatable [default: those of the space].",
)
@click.option(
    "--seq-len",
    "seq_lens",
    multiple=True,
    type=click.IntRange(1),
    help="Tokens; repeatable [default: 128].",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1),
    help="Sentences in a run; repeatable [default: 1].",
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1),
    help="Of the runtime; repeatable [default: the device's].",
)
@click.option(
    "--head", default="embed", show_default=True, help="embed, hidden, classify-N or spans."
)
@click.option("--force", is_flag=True, help="Measure again what is in the cache.")
@seed_option
@cache_option
@json_option
def profile(as_json: bool, **options: Any) -> None:
    """Measure a latency table: the cost of every operation on a device.

    Repeatable options make a table for each combination. What was measured before comes from
    the cache.

    \b
    Example: nasc profile --device host --precision int8 --seq-len 32 --seq-len 128
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting

    with reporting() as reporter:
        found = api.profile(reporter=reporter, **options)
    if as_json:
        print_json([profiled.to_dict() for profiled in found])
        return
    for profiled in found:
        print_rows(list(profiled.summary().items()))
        click.echo()


@main.command()
@space_options
@click.option("--corpus", multiple=True, help="File, folder or datasets:NAME; repeatable.")
@click.option(
    "--packed",
    is_flag=True,
    help="Train on all of the text, however large: tokenised to disk, in rows without padding.",
)
@click.option("--minutes", type=float, help="Budget [default: 3].")
@click.option("--steps", type=click.IntRange(1), help="Steps, instead of minutes.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=float, default=2e-4, show_default=True)
@click.option(
    "--sampling",
    type=click.Choice(["balanced", "uniform"]),
    help="uniform: every path alike (the paper); balanced: every width and length alike "
    "[default: balanced; --shrink has its own].",
)
@click.option(
    "--chain",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the steps whose blocks read what the student before them gave, as in a network, "
    "instead of what the teacher gave.",
)
@click.option(
    "--start",
    type=click.Choice(["teacher", "scratch"]),
    default="teacher",
    show_default=True,
    help="Candidates from the teacher's weights, or from random ones (the paper).",
)
@click.option(
    "--bf16/--no-bf16",
    default=None,
    help="Products in bfloat16 [default: where the processor has them in hardware].",
)
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts that a batch is worked on in, to save memory.",
)
@click.option(
    "--parallel",
    type=click.Choice(["data", "block"]),
    default="data",
    show_default=True,
    help="How processes of torchrun share the work: each batch, or the blocks.",
)
@click.option(
    "--all-operations/--first-run-operations",
    default=True,
    help="Also train separable convolutions, which do not start from the teacher.",
)
@click.option(
    "--compact",
    is_flag=True,
    help="Store what is left in int8 per channel, with its scores: a quarter of the size.",
)
@click.option(
    "--shrink/--no-shrink",
    default=False,
    help="Progressive shrinking: remove the worse sub-architectures as the training goes. Steps "
    "sample uniformly among what is left in the bins.",
)
@device_option
@click.option(
    "--seq-len",
    type=click.IntRange(1),
    help="Tokens that the latencies of the bins are for [default: 128].",
)
@click.option(
    "--bins", type=click.IntRange(1), help="Of parameters and latency, by block [default: 10]."
)
@click.option("--keep", type=click.IntRange(1), help="Left in each bin at the end [default: 10].")
@click.option(
    "--sample", type=click.IntRange(2), help="Evaluated in a bin each round [default: 2000]."
)
@click.option(
    "--warm-epochs", type=click.IntRange(0), help="Epochs before the first round [default: 3]."
)
@click.option(
    "--epoch-steps",
    type=click.IntRange(1),
    help="Steps of an epoch, after each of which comes a round [default: rounds over the run].",
)
@click.option(
    "--unit",
    type=click.Choice(["architectures", "operations", "dominated"]),
    help="What a round removes: the worse architectures of a bin, operations with all that hold "
    "them, or architectures that --keep others beat in size, latency and loss, for small spaces "
    "[default: architectures].",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="supernet.safetensors",
    show_default=True,
    help="Where the supernet goes.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@seed_option
@cache_option
@json_option
def train(as_json: bool, output: Path, force: bool, shrink: bool, **options: Any) -> None:
    """Train a supernet by block-wise distillation on plain text.

    A run that was stopped goes on when the same command is given again.

    \b
    Example: nasc train --corpus texts/ --minutes 60 --output supernet.safetensors
             nasc train --corpus texts/ --steps 20000 --shrink --device host
             torchrun --nproc-per-node 3 --no-python nasc train --steps 20000 --parallel block
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting
    from nasc.supernet.shrink import ShrinkConfig

    if options["minutes"] is not None and options["steps"] is not None:
        raise click.UsageError("give --minutes or --steps, not both")
    if options["seq_len"] is not None and not shrink:
        raise click.UsageError("--seq-len goes with --shrink")
    names = ("bins", "keep", "sample", "warm_epochs", "epoch_steps", "unit")
    given = {name: v for name in names if (v := options.pop(name)) is not None}
    if given and not shrink:
        raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --shrink")
    if given.get("unit") == "dominated":
        given.setdefault("bins", 1)
    options["shrink"] = ShrinkConfig(**given) if shrink else None
    with reporting() as reporter:
        summary = api.train(output=output, force=force, reporter=reporter, **options)
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one speaks
        return
    if as_json:
        print_json(summary)
    else:
        print_rows([(name, str(value)) for name, value in summary.items()])


@main.command()
@setting_options
@click.option(
    "--networks",
    type=click.IntRange(3),
    default=120,
    show_default=True,
    help="How many are drawn, over the range of latency.",
)
@click.option(
    "--distill",
    "distilled",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many of them are distilled too, and judged after it.",
)
@click.option(
    "--distill-steps",
    "steps",
    type=click.IntRange(1),
    default=150,
    show_default=True,
    help="Of each distillation.",
)
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the networks.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the losses.")
@json_option
def audit(
    as_json: bool,
    networks: int,
    distilled: int,
    steps: int,
    csv: Path | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Check how truly the sum of block losses ranks networks of equal latency.

    Kendall's tau of that proxy, of the parameters and of the multiply-accumulates with the loss
    as complete networks, and with the quality after distillation; intervals by bootstrap.

    \b
    Example: nasc audit --supernet supernet.safetensors --networks 120 --plot audit.png
             nasc audit --distill 24 --json
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting

    settings = _settings(options)
    with reporting() as reporter:
        found = api.audit(
            settings,
            networks=networks,
            distilled=distilled,
            steps=steps,
            csv=csv,
            plot=plot,
            reporter=reporter,
        )
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows(found.rows())


@main.command()
@limit_options
@setting_options
@click.option("--best", type=click.IntRange(1), help="How many [default: 5].")
@click.option("--front", is_flag=True, help="The whole Pareto front of latency and loss.")
@click.option(
    "--strategy",
    type=click.Choice(["exact", "enumerate"]),
    help="exact: by predicted loss; enumerate: the paper's way, out of the table of all "
    "combinations the 100 best by true loss [default: exact].",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the front to a file."
)
@json_option
def search(
    as_json: bool,
    best: int | None,
    front: bool,
    strategy: str | None,
    plot: Path | None,
    **options: Any,
) -> None:
    """Find the best architectures within limits; nothing is built.

    \b
    Example: nasc search --latency-ms 5 --best 3
             nasc search --front --plot front.png
    """
    from nasc import api
    from nasc.console import print_json, reporting

    if plot is not None and not front:
        raise click.UsageError("--plot draws the front: give --front too")
    if front and best is not None:
        raise click.UsageError("--front is the whole front, --best some networks: give one")
    if front and strategy is not None:
        raise click.UsageError("--strategy finds some networks, --front the whole front: give one")
    if plot is not None:
        from nasc.report import check_plot

        check_plot(plot)
    limits, settings = _limits(options), _settings(options)
    with reporting() as reporter:
        found = api.search(
            limits,
            settings,
            best=best or 5,
            front=front,
            strategy=strategy or "exact",
            reporter=reporter,
        )
        if plot is not None:
            from nasc.report import plot_front

            plot_front(found, plot, settings)
            reporter.say(f"front drawn to {plot}")
    if as_json:
        print_json([_solution(s) for s in found])
        return
    first = f"{'true':>8} " if strategy == "enumerate" else ""
    click.echo(f"{first}{'loss':>8} {'ms':>8} {'at most':>8} {'MB':>7} {'params':>8}  architecture")
    for s in found:
        true = "" if s.true_loss is None else f"{s.true_loss:8.4f} "
        click.echo(
            f"{true}{s.predicted_loss:8.4f} "
            f"{s.costs['latency_ms']:8.2f} {s.upper['latency_ms']:8.2f} "
            f"{s.costs['size_bytes'] / 1e6:7.1f} {s.costs['params'] / 1e6:7.1f}M  {s.architecture}"
        )
    click.echo(f"predicted, not measured; {_conditions(settings)}", err=True)


def _solution(s: Solution) -> dict[str, Any]:
    return {
        "architecture": str(s.architecture),
        "precision": s.architecture.precision,
        "predicted_loss": s.predicted_loss,
        "predicted": dict(s.costs),
        "upper": dict(s.upper),
    } | ({} if s.true_loss is None else {"true_loss": s.true_loss})


def _conditions(settings: Settings) -> str:
    from profilers import STATISTIC

    threads = settings.threads or "the device's default"
    return (
        f"device {settings.device}, batch {settings.batch}, {settings.seq_len} tokens, threads: "
        f"{threads}, tokenisation not included, statistic: {STATISTIC}"
    )


@main.command()
@limit_options
@setting_options
@click.option("--distill-minutes", type=float, help="Budget of the chosen network [default: 2.5].")
@click.option("--distill-steps", type=click.IntRange(0), help="Its steps, instead of minutes.")
@click.option(
    "--quantile",
    type=click.Choice(QUANTILES),
    help="Hold this quantile of the runs as observed to --latency-ms, not the statistic of record.",
)
@click.option(
    "--min-quality",
    multiple=True,
    metavar="NAME=VALUE",
    help="pooled_cosine=0.9 or similarity_spearman=0.9 on held-out text, or a score of the task; "
    "repeatable.",
)
@click.option(
    "--sts-data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="STS file with labels: int8 may cost 0.01 of the score on it.",
)
@click.option(
    "--task",
    type=TaskName(),
    help="Fine-tune on a task of GLUE, or squad, and ship a package that does it.",
)
@click.option(
    "--finetune-data",
    type=click.Path(path_type=Path),
    help="Folder of the task's published files, or its training file.",
)
@click.option(
    "--dev-data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The task's dev file, where --finetune-data is a file.",
)
@click.option(
    "--finetune-examples",
    type=click.IntRange(1),
    help="Only so many, spread over the file [default: all].",
)
@click.option("--finetune-epochs", type=float, help="Passes over the examples [default: 3].")
@click.option("--finetune-learning-rate", type=float, help="Its peak [default: 5e-5].")
@click.option(
    "--finetune-length",
    type=click.IntRange(1),
    help="Tokens that an example is cut to [default: 128; squad: 384].",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the package [default: named by device and limits].",
)
@click.option("--force", is_flag=True, help="Replace an existing package.")
@json_option
def compile(as_json: bool, **options: Any) -> None:
    """Build the best subnet within limits into a package, measured on the device.

    A latency limit means, unless options say otherwise: batch 1, 128 tokens, the device's
    default threads, tokenisation not included; it is met when the upper bound of the
    measured statistic of record is under it.

    \b
    Example: nasc compile --latency-ms 20
             nasc compile --latency-ms 5 --size-bytes 20MB --corpus texts/
             nasc compile --latency-ms 10 --task sst-2 --finetune-data SST-2/
    """
    from nasc.compiler import Options
    from nasc.compiler import compile as run
    from nasc.console import print_json, print_rows, reporting

    options["min_quality"] = dict(_named_value(text) for text in options["min_quality"])
    options["task"] = _task(options)
    limits, settings = _limits(options), _settings(options)
    with reporting() as reporter:
        result = run(limits, settings, Options(**options), reporter)
    if as_json:
        print_json(result.to_dict())
    else:
        print_rows(result.rows())


def _task(options: dict[str, Any]) -> TaskOptions | None:
    """The options of a task, taken out of all options."""
    name, data, dev = options.pop("task"), options.pop("finetune_data"), options.pop("dev_data")
    examples = options.pop("finetune_examples")
    fields = {"epochs": "epochs", "learning_rate": "learning_rate", "length": "max_length"}
    given = {
        field: value
        for option, field in fields.items()
        if (value := options.pop(f"finetune_{option}")) is not None
    }
    if name is None:
        if given or data or dev or examples:
            raise click.UsageError("--finetune-... and --dev-data go with --task")
        return None
    if data is None:
        raise click.UsageError("--task needs --finetune-data")
    from nasc.tasks.finetune import FinetuneConfig
    from nasc.tasks.shipping import TaskOptions

    return TaskOptions(name, data, dev, examples, FinetuneConfig(**given, seed=options["seed"]))


def _named_value(text: str) -> tuple[str, float]:
    name, _sep, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write NAME=VALUE, as in pooled_cosine=0.9", param_hint="--min-quality"
        ) from None


def _named_size(text: str) -> tuple[str, int]:
    name, _sep, value = text.partition("=")
    if not (name and value.isdecimal() and int(value) > 0):
        raise click.BadParameter(
            f"{text!r}: write NAME=SIZE, a whole number of 1 or more, as in images=3",
            param_hint="--dim",
        )
    return name, int(value)


@main.command()
@click.argument("supernet", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--csv", type=click.Path(dir_okay=False, path_type=Path), help="What is left, as a table."
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the rounds to a file."
)
@json_option
def report(supernet: Path, csv: Path | None, plot: Path | None, as_json: bool) -> None:
    """Show how a supernet was trained, and what progressive shrinking left of it.

    \b
    Example: nasc report supernet.safetensors --plot rounds.png
    """
    from nasc import api
    from nasc.console import print_json, print_rows

    found = api.report(supernet, csv=csv, plot=plot)
    if as_json:
        print_json(found)
        return
    rows = [(name, str(found[name])) for name in ("supernet", "teacher", "space", "steps", "text")]
    left = found["left"]
    if found["compact"]:
        rows.append(("stored", "int8 per channel, only what is left, with its scores"))
    rows.append(("shrinking", "not shrunk" if left is None else f"{found['rounds']} rounds"))
    for position, table in enumerate(left or []):
        losses = [row["dev_loss"] for row in table if row["dev_loss"] is not None]
        least = f", least dev loss {min(losses):.4f}" if losses else ""
        rows.append((f"block {position + 1}", f"{len(table)} candidates left{least}"))
    if found["empty_bins"]:
        rows.append(("empty bins", f"{', '.join(map(str, found['empty_bins']))}: from the start"))
    print_rows(rows)


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--no-measure", is_flag=True, help="Leave the latency out.")
@click.option("--device", help="A name or a TOML file [default: the package's].")
@cache_option
@json_option
def verify(
    package: Path, no_measure: bool, device: str | None, cache: Path | None, as_json: bool
) -> None:
    """Check a package: every file, every promise, and the latency on its device.

    \b
    Example: nasc verify nasc-host-20ms
    """
    import device_profiles
    from nasc.console import print_json, reporting
    from nasc.package.verify import verify_package

    with reporting() as reporter:
        report = verify_package(
            package,
            measure=not no_measure,
            device=None if device is None else device_profiles.find(device),
            cache=cache,
            progress=reporter.stage("Verifying"),
            say=reporter.say,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        for check in report.checks:
            mark = {True: "ok", False: "FAILED", None: "not checked"}[check.ok]
            click.echo(f"{mark:12} {check.name}: {check.detail}")
    if not report.ok:
        click.echo(f"Error: package '{package}' does not hold what it says", err=True)
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("architecture")
@supernet_options
@click.option("--minutes", type=float, help="Budget [default: 2.5].")
@click.option("--steps", type=click.IntRange(0), help="Steps, instead of minutes.")
@click.option(
    "--objective",
    type=click.Choice(["auto", "states", "mlm"]),
    default="auto",
    show_default=True,
    help="states: hidden states and similarities; mlm: masked words and the teacher's prediction "
    "of them; auto: mlm where the teacher has a head for it.",
)
@click.option(
    "--start",
    type=click.Choice(["supernet", "scratch"]),
    help="From the supernet's weights, or random ones beside the teacher's embedding [default: "
    "supernet; scratch for a network by name].",
)
@click.option("--batch-size", type=click.IntRange(1), help="Sentences in a step [default: 32].")
@click.option("--learning-rate", type=float, help="Peak [default: states 1e-3, mlm 5e-4].")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option("--force", is_flag=True, help="Replace what lies in the folder.")
@json_option
def distill(architecture: str, output: Path, as_json: bool, **options: Any) -> None:
    """Cut a subnet out of a supernet and distil it, as a model of transformers.

    ARCHITECTURE is its text form, or the name of a network of the literature, which starts from
    scratch: nas-bert-60m, nas-bert-30m, nas-bert-10m, nas-bert-5m, bert-base, bert-60m, bert-30m,
    bert-10m, bert-5m.

    \b
    Example: nasc distill "keep | 192: F | keep" --output subnet --minutes 10
             nasc distill nas-bert-10m --teacher bert-h128 --steps 100000 --output subnet
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting

    if options["minutes"] is not None and options["steps"] is not None:
        raise click.UsageError("give --minutes or --steps, not both")
    settings = _settings(options)
    with reporting() as reporter:
        found = api.distill(architecture, output, settings, reporter=reporter, **options)
    if as_json:
        print_json(found)
    else:
        print_rows([(name, str(value)) for name, value in found.items()])


@main.command()
@click.argument("model", required=False)
@click.option("--task", type=TaskName(), required=True, help=f"{', '.join(TASKS)}.")
@click.option("--train", type=click.Path(path_type=Path), required=True, help="Labelled examples.")
@click.option("--dev", type=click.Path(path_type=Path), help="Examples that score the result.")
@click.option("--distill-from", help="Folder of a model fine-tuned on the same task.")
@click.option("--epochs", type=float, help="Passes over the examples [default: 3].")
@click.option("--steps", type=click.IntRange(1), help="Steps, instead of epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 32]")
@click.option("--learning-rate", type=float, help="Peak [default: 5e-5].")
@click.option(
    "--max-length", type=click.IntRange(4), help="Tokens of an example [default: 128; squad 384]."
)
@click.option("--distill-weight", type=float, help="Of the teacher's part [default: 0.5].")
@click.option("--examples", type=click.IntRange(1), help="Only so many, spread over the file.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option("--force", is_flag=True, help="Replace what lies in the folder.")
@seed_option
@cache_option
@json_option
def finetune(
    model: str | None,
    task: str,
    train: Path,
    output: Path,
    as_json: bool,
    dev: Path | None,
    distill_from: str | None,
    examples: int | None,
    force: bool,
    cache: Path | None,
    **options: Any,
) -> None:
    """Fine-tune a model on a task: a subnet of nasc distill, or by default the teacher.

    A run that was stopped goes on when the same command is given again.

    \b
    Example: nasc finetune --task sst-2 --train SST-2/train.tsv --output teacher-sst2
             nasc finetune subnet --task sst-2 --train SST-2/train.tsv \\
                 --distill-from teacher-sst2 --output subnet-sst2
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting
    from nasc.tasks.finetune import FinetuneConfig

    if options["epochs"] is not None and options["steps"] is not None:
        raise click.UsageError("give --epochs or --steps, not both")
    if options["distill_weight"] is not None and distill_from is None:
        raise click.UsageError("--distill-weight goes with --distill-from")
    given = {name: value for name, value in options.items() if value is not None}
    with reporting() as reporter:
        found = api.finetune(
            model,
            task,
            train,
            output,
            dev=dev,
            distill_from=distill_from,
            config=FinetuneConfig(**given),
            examples=examples,
            force=force,
            cache=cache,
            reporter=reporter,
        )
    if as_json:
        print_json(found)
        return
    scores = found.pop("scores")
    rows = [(name, str(value)) for name, value in found.items()]
    print_rows(rows + [(name, f"{value:.4f}") for name, value in scores.items()])


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--task", type=TaskName(), required=True, help=f"{', '.join(TASKS)}.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The task's file.")
@click.option("--max-length", type=click.IntRange(4), help="Tokens of an example.")
@json_option
def evaluate(package: Path, task: str, data: Path, max_length: int | None, as_json: bool) -> None:
    """Score a package or a fine-tuned model on a task with labels.

    Of a package the shipped file runs, not a torch model.

    \b
    Example: nasc evaluate nasc-host-20ms --task sts-b --data STS-B/dev.tsv
             nasc evaluate subnet-sst2 --task sst-2 --data SST-2/dev.tsv
    """
    from nasc import api
    from nasc.console import print_json, print_rows, reporting

    with reporting() as reporter:
        found = api.evaluate(package, task, data, max_length=max_length, reporter=reporter)
    if as_json:
        print_json(found)
    else:
        print_rows([(name, str(value)) for name, value in found.items()])


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option("--seq-len", type=click.IntRange(1), default=128, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@threads_option
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Another symbolic axis.")
@seed_option
@cache_option
@json_option
def bench(models: tuple[Path, ...], as_json: bool, dims: tuple[str, ...], **options: Any) -> None:
    """Measure anybody's ONNX files: latency with bounds, and peak memory.

    \b
    Example: nasc bench model.onnx other.onnx --device host --threads 1
    """
    from nasc import api
    from nasc.console import print_json, reporting

    sizes = {"batch": options.pop("batch"), "seq_len": options.pop("seq_len")}
    sizes |= dict(_named_size(text) for text in dims)
    with reporting() as reporter:
        found = api.bench(list(models), sizes, reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(f"{'ms':>9} {'at most':>9} {'p50':>9} {'p90':>9} {'p99':>9} {'MB peak':>8}  model")
    for entry in found.entries:
        m = entry.latency
        peak = "-" if entry.memory is None else f"{entry.memory.total_bytes / 1e6:.0f}"
        click.echo(
            f"{m.latency_ms:9.3f} {m.upper_ms:9.3f} {m.p50_ms:9.3f} {m.p90_ms:9.3f} "
            f"{m.p99_ms:9.3f} {peak:>8}  {entry.path}"
        )
    measurement = found.measurement
    notes = [f"statistic of record: {measurement.statistic}", f"sizes: {dict(found.dims)}"]
    notes += measurement.warnings()
    click.echo("; ".join(notes), err=True)


@main.command()
@json_option
def devices(as_json: bool) -> None:
    """List the devices known, and which can be reached now.

    A device of your own is a TOML file in the user folder, or --device path/to/file.

    \b
    Example: nasc devices
    """
    import device_profiles
    import profilers
    from nasc.console import print_json

    rows = []
    for device in device_profiles.available():
        reachable, reason = profilers.reachable(device)
        rows.append(
            {
                "name": device.name,
                "description": device.description,
                "transport": device.transport,
                "reachable": reachable,
                "reason": reason,
                "file": str(device.path),
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "reachable" if row["reachable"] else f"not reachable: {row['reason']}"
        click.echo(f"{row['name']:10} {row['transport']:7} {row['description']}\n{'':18} {state}")
    click.echo(f"your own devices: {device_profiles.user_folder()}", err=True)
