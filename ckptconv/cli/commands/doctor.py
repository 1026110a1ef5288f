"""`doctor`: what works here?"""

from __future__ import annotations

import sys

import click

from ckptconv.base.errors import FrameworkError
from ckptconv.cli.shell import as_json, show


@click.command()
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds that importing one framework may take.",
)
@as_json
def doctor(timeout: float, as_json: bool) -> None:
    """Say which frameworks work here, and what to install.

    Everything optional is imported in a process of its own. Exit 0: the core works, 5: it does not.

    \b
    Example: ckptconv doctor
    """
    from ckptconv.report import doctor as render
    from ckptconv.verbs import doctor as verb

    found = verb.doctor(timeout=timeout)
    show(as_json, lambda: render.diagnosis_json(found), lambda: render.diagnosis_text(found))
    if not found.works:
        sys.exit(FrameworkError.exit_code)
