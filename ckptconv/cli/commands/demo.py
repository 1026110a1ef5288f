"""`demo`: the model of the examples."""

from __future__ import annotations

from pathlib import Path

import click

from ckptconv.cli.main import as_json, show, target


@click.command()
@target
@as_json
def demo(target: Path, as_json: bool) -> None:
    """Write the small trained model that the examples use.

    A bert-to-bert pair in PyTorch that rewrites dates: "the 3rd of March, 1998" becomes 1998-03-03. 1.7 MB.

    \b
    Example: ckptconv demo dates
    """
    from ckptconv.report import demo as render
    from ckptconv.verbs import demo as verb

    result = verb.demo(target)
    show(as_json, lambda: render.demo_json(result), lambda screen: render.demo_text(result, screen))
