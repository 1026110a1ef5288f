"""`batch`: many conversions, each verified."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptconv.base.errors import Interrupted
from ckptconv.cli.main import (
    TEXT,
    CIReports,
    FilePath,
    as_html,
    as_json,
    github_summary,
    quiet,
    reporting,
    require_outputs,
    say,
    show,
    writable,
)
from ckptconv.cli.speech import to_stderr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptconv.batches.task import Outcome


COMMANDS = ("pt2tf", "pt2flax", "tf2pt", "flax2pt", "normalize", "verify")
"""As a plan names them; here too, since help imports no verb."""


@click.command()
@click.argument("plan", type=FilePath())
@click.option(
    "target",
    "--to",
    type=TEXT,
    metavar="TARGET",
    help="Take PLAN as a pattern of checkpoints, such as 'models/*', and write each to TARGET, such as 'out/{name}'.",
)
@click.option(
    "--command",
    type=click.Choice(COMMANDS),
    default="pt2tf",
    show_default=True,
    help="With --to: the command to run on each checkpoint.",
)
@click.option(
    "--level",
    type=click.Choice(["weights", "outputs"]),
    default="outputs",
    show_default=True,
    help="With --to: how each result is verified.",
)
@click.option(
    "--overwrite", is_flag=True, help="With --to: replace an existing output of ckptconv."
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of conversions to run at the same time on this machine; by default, half the number of cores.",
)
@click.option(
    "dask_scheduler",
    "--dask",
    type=TEXT,
    metavar="ADDRESS",
    help="Run on the Dask cluster of this scheduler, whose workers must see the same files.",
)
@click.option(
    "--records",
    type=FilePath(file_okay=False),
    metavar="DIR",
    help="Directory for the records of what was proven; by default, PLAN with the suffix .batch, and with --to"
    " ckptconv.batch in the working directory.",
)
@click.option(
    "--junit",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    callback=writable,
    help="Write JUnit XML with a test case for each conversion.",
)
@as_html
@as_json
@quiet
def batch(
    plan: Path,
    html: Path | None,
    junit: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run many conversions, verify each of them, and report on all.

    PLAN is a TOML file with a table [[conversion]] for each: command, source, target, and options as keys. When
    run again after an interruption, it resumes where it stopped, and skips what matched and has not changed. The exit
    code is 1 if a verification found a difference, otherwise that of the worst failure.

    \b
    Example: ckptconv batch conversions.toml --jobs 4
    """
    from ckptconv.batches import batch as verb
    from ckptconv.batches import report as render

    _require_sense(options)
    stdout_taken = require_outputs(
        {"--html": html, "--junit": junit, "GITHUB_STEP_SUMMARY": github_summary()},
        as_json=as_json,
        files=[plan] if plan.is_file() else [],
    )

    chosen = {name: value for name, value in options.items() if value is not None}
    ended: list[Outcome] = []

    def tell(outcome: Outcome, done: int, total: int) -> None:
        ended.append(outcome)
        if not quiet:
            to_stderr(f"[{done}/{total}] {render.line(outcome)}")

    with reporting("batch", junit) as report:
        try:
            result = verb.batch(plan, progress=tell, **chosen)
        except Interrupted as error:
            raise resumable(error, ended) from None
        report(
            CIReports(
                lambda seconds: render.batch_junit(result),
                lambda: render.batch_annotations(result),
                lambda: render.batch_summary(result),
            )
        )
    if html:
        from ckptconv.batches.page import batch_page
        from ckptconv.report.html.page import write_page

        write_page(html, batch_page(result))
    say(quiet, tuple(render.notices(result)))
    show(
        as_json,
        lambda: render.batch_json(result),
        lambda screen: render.batch_text(result, screen),
        quiet=quiet,
        stdout_taken=stdout_taken,
    )
    sys.exit(result.exit_code)


def resumable(error: Interrupted, ended: Sequence[Outcome]) -> Interrupted:
    """Return what a user is told of a batch that was stopped: what is there, and how to go on."""
    proven = sum(outcome.matches for outcome in ended)
    published = f"every conversion that was proven ({proven:,})" if proven else None
    error = Interrupted(error.signal_number, published, "no conversion was proven")
    error.add_note("the same command goes on where this one was stopped")
    return error


def _require_sense(options: dict[str, Any]) -> None:
    """Refuse options that say nothing without another one, as wrong usage."""
    ctx = click.get_current_context()
    names = [
        name
        for name in ("command", "level", "overwrite")
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if names and not options["target"]:
        raise click.UsageError(
            f"--{names[0]} is for a pattern (--to); a plan says it for each conversion."
        )
    if options["jobs"] and options["dask_scheduler"]:
        raise click.UsageError("--jobs is for this machine; with --dask the cluster decides.")
