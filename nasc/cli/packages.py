"""`nasc compile`, `nasc verify`: packages, and what they promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_profiles import named_devices
from device_profiles.reading import shown
from nasc import api
from nasc.cli.group import AnyNumber, main
from nasc.cli.options import (
    FORMATS,
    TaskName,
    cache_option,
    device_limit_options,
    estimate_option,
    json_option,
    lengths_option,
    limits_of,
    min_duration_option,
    protocol_option,
    run_code_option,
    run_timeout_option,
    serial_option,
    setting_options,
    settings_of,
    vocab_option,
)

if TYPE_CHECKING:
    from nasc.tasks.shipping import TaskOptions

QUANTILES = ("p50", "p90", "p99")


def _formats(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    """Names between commas, each once."""
    names = () if given is None else tuple(dict.fromkeys(n.strip() for n in given.split(",")))
    wrong = [name for name in names if name not in FORMATS]
    if wrong:
        raise click.BadParameter(
            f"{shown(wrong[0])} is not one of {', '.join(FORMATS)}", ctx, param
        )
    return names


@main.command()
@device_limit_options
@setting_options
@vocab_option
@lengths_option
@estimate_option
@click.option("--distill-minutes", type=float, help="Budget of the chosen network [default: 2.5].")
@click.option("--distill-steps", type=click.IntRange(0), help="Its steps, instead of minutes.")
@click.option(
    "--quantile",
    type=click.Choice(QUANTILES),
    help="Hold this quantile of the runs as observed to --latency-ms, not the statistic of record.",
)
@protocol_option
@min_duration_option
@click.option(
    "--min-quality",
    multiple=True,
    metavar="NAME=VALUE",
    help="pooled_cosine=0.9, similarity_spearman=0.9 or ranking_ndcg=0.8 on held-out text, of "
    "scores class_agreement, score_spearman, token_f1, entity_f1, answer_f1 or answer_agreement, "
    "or a score of the task; repeatable.",
)
@click.option(
    "--sts-data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="STS file with labels: a reduced precision may cost 0.01 of the score on it.",
)
@click.option(
    "--retrieval-data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of SQuAD: the package states how well it finds the paragraphs that answer its "
    "questions (2,000 at most, drawn by --seed), and --min-quality takes mrr_at_10, recall_at_1 "
    "and recall_at_10.",
)
@click.option(
    "--query-only",
    is_flag=True,
    help="For queries alone, where documents are embedded by the teacher: trained, chosen and "
    "judged by its similarities with the teacher's vectors.",
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
@click.option(
    "--finetune-learning-rate",
    type=float,
    help="Its peak [default: 5e-5]; try 2e-4 if a narrow one learns nothing.",
)
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
@click.option(
    "--format",
    "formats",
    callback=_formats,
    metavar="NAMES",
    help="What is written of the network that was chosen and measured, with commas between. onnx: "
    "for onnxruntime; web: in OUTPUT-web, an npm package for browsers; android: a module for apps; "
    "android-ort: the same, whose model takes less memory; aar: as android, an archive (needs "
    "Kotlin's compiler); ios: a Swift package; c: C code, without a runtime; android-c: a module "
    "of that (both need '.[runner,tvm]'). What another runtime runs than the one that was measured "
    "states no latency.",
)
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign what is written with an elliptic private key in PEM (needs '.[signing]').",
)
@json_option
def compile(as_json: bool, **options: Any) -> None:
    """Build the best subnet within limits into a package, measured on the device.

    A latency limit means, unless options say otherwise: batch 1, 128 tokens, the device's
    default threads, tokenisation not included; it is met when the upper bound of the
    measured statistic of record is under it.

    \b
    Example: nasc compile --latency-ms 20
             nasc compile --latency-ms 5 --size-bytes 20MB --corpus texts/
             nasc compile --latency-ms 5 --lengths lengths.csv
             nasc compile --size-bytes 8MB --vocab-from texts.txt
             nasc compile --latency-ms 10 --task sst-2 --finetune-data SST-2/
             nasc compile --latency-ms 20 --format onnx,android,ios,web,c
             nasc compile --latency-ms 20 --runtime tvm --format c
             nasc compile --device host,pixel6 --latency-ms 20,30
    """
    from nasc.cli.console import print_json, print_rows, reporting

    options["min_quality"] = dict(_named_value(text) for text in options["min_quality"])
    options["task"] = _task(options)
    latencies = options.pop("latencies_ms") or (None,)
    limits, settings = limits_of(options), settings_of(options)
    each = [dataclasses.replace(limits, latency_ms=one) for one in latencies]
    devices = named_devices(settings.device)
    if len(devices) > 1 or len(each) > 1:
        _compile_devices(devices, each, settings, api.Options(**options), as_json)
        return
    limits = each[0]
    with reporting() as reporter:
        result = api.compile(limits, settings, api.Options(**options), reporter)
    if as_json:
        print_json(result.to_dict())
    else:
        print_rows(result.rows())


def _compile_devices(
    devices: Sequence[str],
    limits: list[api.Limits],
    settings: api.Settings,
    options: api.Options,
    as_json: bool,
) -> None:
    """A package for each device, and an index."""
    from nasc.cli.console import print_json, print_table, print_text, reporting
    from nasc.pipelines.compile_devices import HEADER

    with reporting() as reporter:
        result = api.compile_devices(devices, limits, settings, options, reporter)
    if as_json:
        print_json(result.to_dict())
    elif result.results:
        print_table(HEADER, result.table())
        print_text(f"\npackages and their index: {result.folder}")
    for device, error in result.missed.items():
        click.echo(f"Error: no package for {device}: {error}", err=True)
    if result.missed:
        raise click.exceptions.Exit(1)


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
        return name, float(AnyNumber().convert(value, None, None))
    except click.BadParameter:
        raise click.BadParameter(
            f"{shown(text)}: write NAME=VALUE, as in pooled_cosine=0.9", param_hint="--min-quality"
        ) from None


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--no-measure", is_flag=True, help="Leave the latency out.")
@click.option("--device", help="A name or a TOML file [default: the package's].")
@serial_option
@run_timeout_option
@run_code_option
@click.option(
    "--min-duration",
    "min_duration_s",
    type=click.FloatRange(0, 86400, min_open=True),
    metavar="SECONDS",
    help="A run of MLPerf's single-stream lasts so long at least, where the package states one "
    "[default: as long as its own, at most 600]",
)
@click.option(
    "--sustained",
    "sustained_minutes",
    type=click.FloatRange(0.1, 120),
    metavar="MINUTES",
    help="Keep the device under load for so long before it is measured [default: as long as the "
    "package states, at most 10].",
)
@click.option(
    "--key",
    metavar="PUB",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public key in PEM of whoever must have signed it (needs '.[signing]').",
)
@cache_option
@json_option
def verify(
    package: Path,
    no_measure: bool,
    device: str | None,
    run_timeout_s: float | None,
    min_duration_s: float | None,
    sustained_minutes: float | None,
    run_code: bool,
    key: Path | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Check a package: every file, every promise, and the latency on its device.

    Exit status: 0 if everything was checked and holds; 1 if something does not hold; 3 if nothing
    failed but something could not be checked, the latency on another machine for example. With
    --no-measure the latency is left out, and 0 is for all the rest.

    \b
    Example: nasc verify nasc-host-20ms
             nasc verify nasc-host-20ms --key pub.pem
             nasc verify nasc-host-pixel6

    A folder of several devices' packages is checked package by package.
    """
    from nasc.cli.console import print_json, print_text, reporting
    from nasc.package.index import is_index

    options: dict[str, Any] = {
        "measure": not no_measure,
        "device": device,
        "run_timeout_s": run_timeout_s,
        "min_duration_s": min_duration_s,
        "sustained_minutes": sustained_minutes,
        "run_code": run_code,
        "key": key,
        "cache": cache,
    }
    if device is None and is_index(package):
        with reporting() as reporter:
            each = api.verify_devices(package, reporter=reporter, **options)
        if as_json:
            print_json(each.to_dict())
        for name, report in each.reports.items():
            if not as_json:
                print_text(f"{name}:")
                _print_checks(report)
            _say_what_is_wrong(report)
        raise click.exceptions.Exit(each.exit_code)
    with reporting() as reporter:
        report = api.verify(package, reporter=reporter, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_checks(report)
    _say_what_is_wrong(report)
    raise click.exceptions.Exit(report.exit_code)


def _print_checks(report: api.VerifyReport) -> None:
    """Every check with its outcome, a line each."""
    from nasc.cli.console import print_text
    from nasc.utils.printable import printable

    lines = (f"{check.mark:12} {check.name}: {check.detail}" for check in report.checks)
    print_text("\n".join(map(printable, lines)))


def _say_what_is_wrong(report: api.VerifyReport) -> None:
    """What failed, or was not checked, on stderr."""
    from nasc.package.verify_report import MEASURED

    if report.failed:
        click.echo(f"Error: package '{report.folder}' does not hold what it says", err=True)
    elif not report.complete:
        names = [check.name for check in report.not_checked]
        advice = (
            " Verify it on the device it was made for, when that is quiet; or leave the latency "
            "out: --no-measure"
            if MEASURED & set(names)
            else ""
        )
        click.echo(
            f"Not checked: {', '.join(names)}. Nothing of package '{report.folder}' failed, but "
            f"not all of it is known to hold: the reasons stand beside each.{advice}",
            err=True,
        )
