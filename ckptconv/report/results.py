"""How each kind of result is shown: the one table of it, for the command line, for Python and for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ckptconv.report.text import PIPE, Screen, printable


class Rendering(NamedTuple):
    """The functions that show one kind of result, as `module:name`; each is imported when it is first asked for.

    A module is one of this folder, unless it is named in full.
    """

    text: str
    document: str
    page: str = ""


RENDERINGS = {
    "Batch": Rendering(
        "ckptconv.batches.report:batch_text",
        "ckptconv.batches.report:batch_json",
        "ckptconv.batches.page:batch_page",
    ),
    "Checked": Rendering("check:check_text", "check:check_json"),
    "Conversion": Rendering("conversions:conversion_text", "conversions:conversion_json"),
    "Demo": Rendering("demo:demo_text", "demo:demo_json"),
    "Diagnosis": Rendering("doctor:diagnosis_text", "doctor:diagnosis_json"),
    "Diff": Rendering("diff:diff_text", "diff:diff_json", "html.diff:diff_page"),
    "Export": Rendering("export:export_text", "export:export_json"),
    "Inspection": Rendering(
        "inspect:inspection_text", "inspect:inspection_json", "html.inspect:inspection_page"
    ),
    "Push": Rendering("push:push_text", "push:push_json"),
    "Recording": Rendering("record:recording_text", "record:recording_json"),
    "SelfTest": Rendering(
        "ckptconv.trials.report:selftest_text", "ckptconv.trials.report:selftest_json"
    ),
    "Split": Rendering("conversions:split_text", "conversions:split_json"),
    "Verification": Rendering(
        "verify:verification_text", "verify:verification_json", "html.verify:verification_page"
    ),
}
"""Class of a result -> how it is shown."""


@cache
def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    module = module if module.startswith("ckptconv.") else f"ckptconv.report.{module}"
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def text(result: object, screen: Screen = PIPE) -> str:
    """Return the text that the command line prints."""
    rendering = RENDERINGS[type(result).__name__]
    return printable(_function(rendering.text)(result, screen=screen))


def document(result: object) -> dict[str, Any]:
    """Return the document that `--json` prints."""
    rendering = RENDERINGS[type(result).__name__]
    return dict(_function(rendering.document)(result))


def summary(result: object) -> str:
    """Return the last line of the text: the verdict, or what was written."""
    name = type(result).__name__
    lines = text(result).rstrip().splitlines()
    return lines[0] if name in ("Demo", "Diagnosis", "Export", "Recording") else lines[-1]


def notebook(result: object) -> str:
    """Return what a notebook shows."""
    html: str = _function("notebook:notebook_html")(summary(result), text(result))
    return html


def save_page(result: object, path: Path) -> None:
    """Write the page that `--html` writes. Raises FrameworkError, DestinationError."""
    page = _function(RENDERINGS[type(result).__name__].page)(result)
    _function("html.page:write_page")(path, page)
