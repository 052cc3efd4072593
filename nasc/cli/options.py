"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from device_profiles.reading import shown
from nasc import api
from nasc.cli.group import Number

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8", "int8-emb4")
RUNTIMES = ("onnxruntime", "openvino", "tvm", "torch", "onnxruntime-web")
FORMATS = ("onnx", "web", "android", "android-ort", "aar", "ios", "c", "android-c")
TASKS = ("cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli", "squad")
VECTOR_TASKS = ("retrieval", "ranking")
"""Of vectors alone: `nasc evaluate` knows them, nothing is fine-tuned on them."""

_AMOUNT = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmg]?)b?", re.ASCII | re.IGNORECASE)


class Amount(click.ParamType[float]):
    """A positive number, perhaps with a decimal suffix: 5M, 20MB, 1.5e7."""

    name = "number"
    _FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}  # noqa: RUF012

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Number of a text such as 20MB; MB is 10^6."""
        match = _AMOUNT.fullmatch(str(value).strip())
        try:
            number = float(match[1]) * self._FACTORS[match[2].lower()] if match else None
        except ValueError:
            number = None
        if number is None or not 0 < number < math.inf:
            self.fail(f"{shown(value)} is no positive number (examples: 20, 5M, 20MB)", param, ctx)
        return number


class Latencies(click.ParamType[tuple[float, ...]]):
    """Latencies in milliseconds, with commas between."""

    name = "latencies"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Each of them."""
        if isinstance(value, tuple):
            return value
        return tuple(Number(0, min_open=True).convert(v, param, ctx) for v in str(value).split(","))


class TaskName(click.ParamType[str]):
    """A task, however it is written: sst-2, SST2."""

    name = "task"

    def __init__(self, more: tuple[str, ...] = ()) -> None:
        """Tasks that are learnt, and more that a command knows."""
        self._tasks = (*TASKS, *more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its own name."""
        plain = {re.sub(r"\W|_", "", task): task for task in self._tasks}
        found = plain.get(re.sub(r"\W|_", "", str(value).lower()))
        if found is None:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self._tasks))}", param, ctx)
        return found

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Tasks that begin so."""
        return [CompletionItem(task) for task in self._tasks if task.startswith(incomplete.lower())]


def complete_folder(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Folders, found by the shell."""
    return [CompletionItem(incomplete, type="dir")]


def complete_device(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Devices that are known by name, or files."""
    import device_profiles

    names = [name for name in device_profiles.names() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def complete_space(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Presets, or files."""
    from nasc.architecture.space import PRESETS

    names = [name for name in PRESETS if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _name_phone(ctx: click.Context, param: click.Parameter, serial: str | None) -> None:
    """Have adb's own variable name the phone, for as long as the command runs."""
    from profilers.devices.phones import SERIAL_VARIABLE

    if serial is None or ctx.resilient_parsing:
        return
    before = os.environ.get(SERIAL_VARIABLE)
    os.environ[SERIAL_VARIABLE] = serial

    def restore() -> None:
        os.environ.pop(SERIAL_VARIABLE, None)
        if before is not None:
            os.environ[SERIAL_VARIABLE] = before

    ctx.find_root().call_on_close(restore)  # a command that is refused closes none of its own


_CLUSTER = "nasc.cluster"


def _keep_cluster(ctx: click.Context, param: click.Parameter, cluster: str | None) -> None:
    """Have --device, which is read next, hold the device to its cores."""
    if cluster is not None and not re.fullmatch("big|mid|little|0x[0-9a-fA-F]{1,1024}", cluster):
        raise click.BadParameter(
            f"{shown(cluster)}: write big, mid, little, or a mask of cores as in 0xc0", ctx, param
        )
    ctx.meta[_CLUSTER] = cluster


def _check_device(ctx: click.Context, param: click.Parameter, device: str) -> str:
    """Refuse a device that is not there before what takes seconds is even imported."""
    if (cluster := ctx.meta.get(_CLUSTER)) is not None:
        each = [device] if Path(device).is_file() else device.split(",")
        device = ",".join(f"{one.strip()}:{cluster}" for one in each)
    if not ctx.resilient_parsing and not ctx.meta.get(_ESTIMATE):
        import device_profiles
        from nasc.latency.missing_device import without_device
        from profilers import DeviceUnreachable, check_device

        for one in device_profiles.find_all(device):
            try:
                check_device(one)
            except DeviceUnreachable as error:
                if _ESTIMATE not in ctx.meta:  # a command that measures, and nothing else
                    raise
                if ctx.meta.get(_PREDICTS_ALONE):  # it looks for tables of the device
                    continue
                raise without_device(one, error) from error
    return device


_PREDICTS_ALONE = "nasc.predicts-alone"

_ESTIMATE = "nasc.estimate"


def _keep_estimate(ctx: click.Context, param: click.Parameter, estimate: bool) -> bool:
    """Have --device, which is read next, ask no device."""
    ctx.meta[_ESTIMATE] = estimate
    return estimate


serial_option = click.option(
    "--serial",
    metavar="S",
    expose_value=False,
    is_eager=True,
    callback=_name_phone,
    help="Which of several phones that adb sees [default: $ANDROID_SERIAL].",
)
named_device_option = click.option(
    "--device",
    default="host",
    show_default=True,
    shell_complete=complete_device,
    help="Device profile: a name or a TOML file; it need not be reached from here.",
)

device_option = _options(
    click.option(
        "--device",
        default="host",
        show_default=True,
        shell_complete=complete_device,
        callback=_check_device,
        help="Device profile: a name or a TOML file.",
    ),
    serial_option,
    click.option(
        "--cluster",
        metavar="CORES",
        expose_value=False,
        is_eager=True,
        callback=_keep_cluster,
        help="Cores that run the models: big, mid or little by the device's file, or a mask such "
        "as 0xc0 [default: the device's, else the system's choice].",
    ),
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of everything random.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Cache folder [default: the user's, or $NASC_CACHE].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
runtime_option = click.option(
    "--runtime", type=click.Choice(RUNTIMES), help="What runs it [default: the device's]."
)
fixed_shape_option = click.option(
    "--fixed-shape",
    is_flag=True,
    help="Make a network for inputs of this batch and length alone: some runtimes run it faster.",
)
lengths_option = click.option(
    "--lengths",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Price the mixture of lengths of your texts, not one length: a CSV of length,count, or "
    "the texts themselves (.txt, .jsonl, .csv). A latency is the mean over it; not with --seq-len.",
)


def _keep_predicting(ctx: click.Context, param: click.Parameter, estimate: bool) -> bool:
    """The same, of a command that needs no device where there are latency tables of it."""
    ctx.meta[_PREDICTS_ALONE] = True
    return _keep_estimate(ctx, param, estimate)


def _estimate_option(
    keep: Callable[[click.Context, click.Parameter, bool], bool],
) -> Callable[[F], F]:
    return click.option(
        "--estimate",
        is_flag=True,
        is_eager=True,
        callback=keep,
        help="Ask no device: estimate latencies from what its file states of its cores; everything "
        "made says ESTIMATE.",
    )


estimate_option = _estimate_option(_keep_estimate)
predicting_option = _estimate_option(_keep_predicting)
sustained_option = click.option(
    "--sustained",
    "sustained_minutes",
    type=click.FloatRange(0.1, 120),
    metavar="MINUTES",
    help="Keep the device under load for so long, 0.1 to 120, before it is measured: what it gives "
    "when it has heated up. Tables and packages are of that alone.",
)
tuned_option = click.option(
    "--tuned/--no-tuned",
    default=True,
    show_default=True,
    help="Compile TVM's kernels by tuning records: what nasc tune found here, then what comes with "
    "nasc.",
)
vocab_option = click.option(
    "--vocab-from",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep of the vocabulary (WordPiece) what these texts use, and the single characters that "
    "any text may need: a file of texts, each a line or a row.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Of the runtime [default: the device's]."
)
run_timeout_option = click.option(
    "--run-timeout",
    "run_timeout_s",
    type=click.FloatRange(0, 1e6, min_open=True),
    metavar="SECONDS",
    help="A run of the model that takes longer is ended [default: 120].",
)
run_code_option = click.option(
    "--run-code",
    is_flag=True,
    help="Run code that comes with it (TVM's and torch's), with all that you may do: only for what "
    "you trust.",
)
protocol_option = click.option(
    "--protocol",
    type=click.Choice(("mlperf-single-stream",)),
    help="Measure by the rules of MLPerf's single-stream scenario: p90 of queries one after the "
    "other, its early-stopping estimate at confidence 0.99.",
)
min_duration_option = click.option(
    "--min-duration",
    "min_duration_s",
    type=click.FloatRange(0, 86400, min_open=True),
    metavar="SECONDS",
    help="A run of --protocol lasts so long at least [default: 600, as MLPerf's own].",
)
text_column_option = click.option(
    "--text-column",
    metavar="NAME",
    help="Column of --corpus that holds the text, where it has columns (.jsonl, .csv, .parquet, "
    "datasets:...) [default: text, sentence, content or passage, or the only one of text].",
)
pairs_option = click.option(
    "--pairs",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="In place of --corpus for a teacher that scores two texts: pairs of them, one a line "
    "with a tab between (.jsonl: lists or objects of two); no labels.",
)
space_options = _options(
    click.option(
        "--teacher",
        shell_complete=complete_folder,
        help="Folder or hub id [default: all-MiniLM-L6-v2 from PyPI].",
    ),
    click.option(
        "--space",
        shell_complete=complete_space,
        help="Search space: a preset or a TOML file [default: by teacher].",
    ),
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
        help="Text that scores, distils and judges networks, and trains the supernet where one "
        "is trained: file, folder, datasets:NAME, or wikipedia-simple (157 MB of the hub, "
        "CC BY-SA); repeatable [default: articles of the English Wikipedia that come with nasc].",
    ),
    text_column_option,
    pairs_option,
    click.option(
        "--train-minutes",
        type=float,
        help="Train a supernet for so long, and take none that comes with nasc; --space does so "
        "too [default where none is at hand: 3].",
    ),
    click.option("--train-steps", type=click.IntRange(0), help="The same, in steps."),
    seed_option,
    cache_option,
)
setting_options = _options(
    device_option,
    click.option(
        "--runtime",
        type=click.Choice(("auto", *RUNTIMES)),
        help="What runs the model; auto: whichever is best there [default: the device's].",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(PRECISIONS),
        help="Allowed precision; repeatable [default: all that the runtime computes in there].",
    ),
    click.option(
        "--seq-len", type=click.IntRange(1), default=128, show_default=True, help="Tokens."
    ),
    click.option(
        "--batch", type=click.IntRange(1), default=1, show_default=True, help="Sentences in a run."
    ),
    fixed_shape_option,
    threads_option,
    sustained_option,
    tuned_option,
    click.option(
        "--head",
        help="embed: one vector a sentence, pooled as the teacher's; hidden: one a token, both "
        "without a head of its own that scores; classify-N, spans: tasks' [default: the teacher's "
        "own].",
    ),
    supernet_options,
)
_size_limit_options = _options(
    click.option("--size-bytes", type=Amount(), help="Limit on the model file (20MB)."),
    click.option("--params", type=Amount(), help="Limit on parameters (5M)."),
    click.option("--peak-memory-bytes", type=Amount(), help="Limit on peak memory (150MB)."),
)


limit_options = _options(
    click.option(
        "--latency-ms",
        type=click.FloatRange(0, min_open=True),
        help="Limit on latency, in milliseconds.",
    ),
    _size_limit_options,
)
device_limit_options = _options(
    click.option(
        "--latency-ms",
        "latencies_ms",
        type=Latencies(),
        metavar="MS",
        help="Limit on latency, in milliseconds; of several devices one for each, with commas "
        "between, or one for all.",
    ),
    _size_limit_options,
)


def settings_of(options: dict[str, Any]) -> api.Settings:
    """The conditions, taken out of all options.

    Raises:
        click.UsageError: If one length is asked for beside a mixture.
    """
    source = click.get_current_context().get_parameter_source("seq_len")
    if options.get("lengths") is not None and source == ParameterSource.COMMANDLINE:
        raise click.UsageError(
            f"--lengths {shown(str(options['lengths']))} gives a mixture of lengths, --seq-len "
            f"{options['seq_len']} one: give one of them"
        )
    names = [f.name for f in dataclasses.fields(api.Settings)]
    values = {name: options.pop(name) for name in names if name in options}
    if "precisions" in values:
        values["precisions"] = tuple(p for p in PRECISIONS if p in values["precisions"]) or None
    return api.Settings(**values)


def limits_of(options: dict[str, Any]) -> api.Limits:
    """The limits, taken out of all options; none on latency where that is no single one."""
    return api.Limits(**{f.name: options.pop(f.name, None) for f in dataclasses.fields(api.Limits)})
