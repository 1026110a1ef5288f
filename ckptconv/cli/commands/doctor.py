"""`doctor`: what works here?"""

from __future__ import annotations

import sys

import click

from ckptconv.base.errors import FrameworkError
from ckptconv.cli.main import SECONDS, as_json, show, traceable


@click.command()
@click.option(
    "--timeout",
    type=SECONDS,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for importing one framework.",
)
@as_json
@traceable
def doctor(timeout: float, as_json: bool) -> None:
    """Check which frameworks work here, and what to install.

    Imports each optional dependency in a separate process. Exit code 0: the core works, 5: it does not.

    \b
    Example: ckptconv doctor
    """
    from ckptconv.report import doctor as render
    from ckptconv.verbs import doctor as verb

    diagnosis = verb.doctor(timeout=timeout)
    show(
        as_json,
        lambda: render.diagnosis_json(diagnosis),
        lambda screen: render.diagnosis_text(diagnosis, screen),
    )
    if not diagnosis.works:
        sys.exit(FrameworkError.exit_code)
