"""`verify`: are two checkpoints the same?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptconv.cli.main import (
    CHECKPOINT,
    PERCENT,
    SECONDS,
    SEED,
    TEXT,
    CIReports,
    FilePath,
    as_html,
    as_json,
    github_summary,
    positions,
    quiet,
    reporting,
    require_outputs,
    say,
    show,
    source,
    writable,
)
from ckptconv.cli.speech import progress, to_stderr, verbose

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.push import Push
    from ckptconv.verbs.verify import Verification


class Tolerated(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """An absolute error, and perhaps one relative to the largest value: `1e-4` or `1e-5,1e-3`."""

    name = "tolerance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Tolerance`; anything but one or two numbers of at least 0 is wrong usage."""
        from ckptconv.run.tolerance import Tolerance

        try:
            parts = [float(part) for part in str(value).split(",")]
        except ValueError:
            parts = []
        if len(parts) not in (1, 2) or not all(0 <= part < float("inf") for part in parts):
            self.fail(f"{value!r} is not ATOL or ATOL,RTOL, such as 1e-4 or 1e-5,1e-3", param, ctx)
        return Tolerance(*parts)


def _file(help: str, **settings: Any) -> Any:
    return {
        "type": FilePath(dir_okay=False),
        "metavar": "FILE",
        "help": help,
        **settings,
    }


@click.command()
@source
@click.argument("target", type=CHECKPOINT, required=False)
@click.option(
    "--level",
    type=click.Choice(["weights", "outputs"]),
    default="outputs",
    show_default=True,
    help="weights: compare bit for bit, without a framework. outputs: run both models too.",
)
@click.option(
    "--text",
    "texts",
    type=TEXT,
    multiple=True,
    help="Let both models answer this sentence, or this file if they read images or sound, and compare the answers; may"
    " be repeated.",
)
@click.option(
    "--inputs",
    **_file(
        'More inputs: a .jsonl file of {"text": ..., "target": ...}, with "image" or "audio" in place of "text" if the'
        " model reads files of those; or arrays, as .npz or .safetensors."
    ),
)
@click.option(
    "--tolerance",
    type=Tolerated(),
    metavar="ATOL[,RTOL]",
    help="Use an absolute tolerance instead of the measured one.",
)
@click.option(
    "--min-coverage",
    type=PERCENT,
    metavar="PERCENT",
    help="Fail unless at least PERCENT of the weights influence the compared outputs.",
)
@click.option(
    "--save-trace",
    **_file("Record the outputs of SOURCE in a trace; TARGET may be omitted.", callback=writable),
)
@click.option(
    "--trace", **_file("Compare TARGET with this trace; needs neither SOURCE nor PyTorch.")
)
@click.option(
    "--junit", **_file("Write JUnit XML with a test case for each check.", callback=writable)
)
@click.option(
    "--seed",
    type=SEED,
    metavar="N",
    default=0,
    show_default=True,
    help="Seed for the random test inputs.",
)
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="Time limit for the frameworks.",
)
@click.option(
    "--push",
    type=TEXT,
    metavar="ORG/NAME",
    help="Upload TARGET, an output of ckptconv, to this model on the hub if it matches.",
)
@click.option("--create-pr", is_flag=True, help="With --push: open a pull request.")
@positions
@as_html
@as_json
@quiet
def verify(
    source: Path,
    target: Path | None,
    level: Any,
    html: Path | None,
    junit: Path | None,
    trace: Path | None,
    push: str | None,
    create_pr: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Prove that two checkpoints are the same model.

    TARGET must contain the weights of SOURCE, bit for bit, and compute the same outputs; otherwise the exit code
    is 1. Each may be a PyTorch, TF or Flax checkpoint. PyTorch computes the reference, unless a
    trace holds it (--trace).

    \b
    Example: ckptconv verify dates dates-tf
    """
    _require_sense(target, level, html or junit, trace, options)
    _require_push(push, target, create_pr)
    runs = level == "outputs"
    _begin(source, target, runs and not trace, options["save_trace"])
    from ckptconv.verbs import verify as verb

    if trace and not os.path.lexists(trace):
        from ckptconv.base.files import require_file

        require_file(trace, "`ckptconv verify SOURCE --save-trace FILE` records a trace.")
    stdout_taken = require_outputs(
        {
            "--html": html,
            "--junit": junit,
            "--save-trace": options["save_trace"],
            "GITHUB_STEP_SUMMARY": github_summary(),
        },
        as_json=as_json,
        checkpoints=[source, target],
        files=[trace, options["inputs"]],
    )
    if trace:
        source, target = trace, source
    if target is None:
        _record(source, as_json, quiet, stdout_taken, options)
        return
    uploaded: Push | None = None
    with reporting("verify", junit) as report:
        with progress(
            "comparing weights", "running the models" if runs else "", quiet=quiet, models=runs
        ) as advance:
            options["progress"] = advance
            if push:
                from ckptconv.verbs.push import push as push_verified

                uploaded = push_verified(
                    source, target, push, level, create_pr=create_pr, **options
                )
            result = (
                uploaded.verification if uploaded else verb.verify(source, target, level, **options)
            )
        report(_ci_reports(result))
    if html:
        from ckptconv.report.html.page import write_page
        from ckptconv.report.html.verify import verification_page

        write_page(html, verification_page(result))
    _print(result, uploaded, as_json, quiet, stdout_taken)
    if not result.matches:
        sys.exit(1)


def _begin(source: Path, target: Path | None, runs: bool, save_trace: Path | None) -> None:
    """Let frameworks be imported, and HDF5's process begin, beside the imports here.

    Args: runs: models are run, and both sides are checkpoints.
    """
    if runs:
        from ckptconv.run.early import early_children, sides

        early = early_children(*sides(source, target, save_trace))
        click.get_current_context().with_resource(early)
    from ckptconv.stores.layouts.huggingface import read_ahead

    read_ahead(source, target)
    import_module("ckptconv.report.verify")


def _print(
    result: Verification, uploaded: Push | None, as_json: bool, quiet: bool, stdout_taken: bool
) -> None:
    """Print the notices, the result, and where it was uploaded to."""
    from ckptconv.report import verify as render

    def document() -> dict[str, Json]:
        return render.verification_json(result) | _pushed_json(uploaded)

    say(quiet, _telling(result, tuple(render.notices(result))))
    show(
        as_json,
        document,
        lambda screen: render.verification_text(result, screen),
        quiet=quiet,
        stdout_taken=stdout_taken,
    )
    if uploaded and not quiet:
        from ckptconv.report.push import pushed

        to_stderr(pushed(uploaded))


def _telling(result: Verification, notices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notices without those that almost every run of the models has."""
    if result.outputs is None or verbose():
        return notices
    from ckptconv.run.forward import is_routine

    return tuple(notice for notice in notices if not is_routine(notice))


def _pushed_json(uploaded: Push | None) -> dict[str, Json]:
    """Return what --json says beside the verification, where something was to be uploaded."""
    if uploaded is None:
        return {}
    from ckptconv.report.push import pushed_json

    return {"push": pushed_json(uploaded)}


def _ci_reports(result: Verification) -> CIReports:
    """Return a verification in the forms that a CI reads."""

    def junit(seconds: float) -> str:
        from ckptconv.report.junit import verification_junit

        return verification_junit(result, seconds)

    def annotations() -> Iterator[str]:
        from ckptconv.report.github import annotated

        return annotated(result)

    def summary() -> str:
        from ckptconv.report import github

        return github.summary(result)

    return CIReports(junit, annotations, summary)


def _require_push(push: str | None, target: Path | None, create_pr: bool) -> None:
    """Refuse a push of nothing, as wrong usage."""
    if push and target is None:
        raise click.UsageError(
            "--push uploads TARGET: give SOURCE (or a trace as SOURCE) and TARGET."
        )
    if create_pr and not push:
        raise click.UsageError("--create-pr says how --push uploads: give --push ORG/NAME.")


def _require_sense(
    target: Path | None,
    level: str,
    report: Path | None,
    trace: Path | None,
    options: dict[str, Any],
) -> None:
    """Refuse options that contradict each other, as wrong usage."""
    recorded = [name for name in ("texts", "inputs", "seed", "save_trace") if options[name]]
    if trace and (target or recorded):
        raise click.UsageError(
            "--trace replaces SOURCE and contains its own inputs: give TARGET alone, without inputs."
        )
    if not trace and not target and not options["save_trace"]:
        raise click.UsageError("Missing argument 'TARGET'.")
    if level == "weights" and (options["save_trace"] or options["min_coverage"] is not None):
        raise click.UsageError(
            "--level weights runs no model: it cannot measure coverage or record a trace."
        )
    if (
        not target
        and not trace
        and (report or options["tolerance"] or options["min_coverage"] is not None)
    ):
        raise click.UsageError("without TARGET nothing is compared: only --save-trace is possible.")


def _record(
    source: Path, as_json: bool, quiet: bool, stdout_taken: bool, options: dict[str, Any]
) -> None:
    """Record the outputs of a source, and print where."""
    from ckptconv.report import record as render
    from ckptconv.verbs.record import record

    chosen = {name: options[name] for name in ("seed", "texts", "inputs", "timeout")}
    with progress("reading weights", "running the model", quiet=quiet, models=True) as advance:
        result = record(source, options["save_trace"], progress=advance, **chosen)
    show(
        as_json,
        lambda: render.recording_json(result),
        lambda screen: render.recording_text(result, screen),
        quiet=quiet,
        stdout_taken=stdout_taken,
    )
