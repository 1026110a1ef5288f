"""`families`: which model types are supported."""

from __future__ import annotations

import click

from ckptconv.cli.shell import as_json, show


@click.command()
@click.option("--markdown", is_flag=True, help="Print docs/support.md.")
@as_json
def families(markdown: bool, as_json: bool) -> None:
    """Show which model types are supported.

    As encoder and as decoder, in which framework, and why not.

    \b
    Example: ckptconv families
    """
    from ckptconv.report import families as render
    from ckptconv.verbs import families as verb

    found = verb.families()
    text = render.families_markdown if markdown else render.families_text
    show(as_json, lambda: render.families_json(found), lambda: text(found))
