"""`families`: which model types are supported."""

from __future__ import annotations

import click

from ckptconv.cli.main import as_json, show, traceable


@click.command()
@click.option(
    "--markdown", is_flag=True, help="Print the table as Markdown, as in docs/support.md."
)
@as_json
@traceable
def families(markdown: bool, as_json: bool) -> None:
    """Show which model types are supported.

    Lists for each framework whether a type can be encoder or decoder, and the reason if it cannot.

    \b
    Example: ckptconv families
    """
    from ckptconv.report import families as render
    from ckptconv.verbs import families as verb

    supports = verb.families()
    show(
        as_json,
        lambda: render.families_json(supports),
        lambda screen: (
            render.families_markdown(supports)
            if markdown
            else render.families_text(supports, screen)
        ),
    )
