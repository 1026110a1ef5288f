"""`demo`: the models of the examples."""

from __future__ import annotations

from pathlib import Path

import click

from ckptconv.cli.main import as_json, show, target


@click.command()
@target
@click.option(
    "--model",
    type=click.Choice(["dates", "dates-t5", "digits"]),
    default="dates",
    show_default=True,
    help="dates: a BERT-to-BERT pair that rewrites dates. dates-t5: a T5 that does the same. digits: a ViT with a GPT-2"
    " decoder that reads numbers in images.",
)
@as_json
def demo(target: Path, model: str, as_json: bool) -> None:
    """Write one of the small trained models that the examples use.

    By default, a BERT-to-BERT pair in PyTorch that rewrites dates: "the 3rd of March, 1998" becomes 1998-03-03. The
    models take 0.7 to 1.7 MB.

    \b
    Example: ckptconv demo dates
    """
    from ckptconv.report import demo as render
    from ckptconv.verbs import demo as verb

    result = verb.demo(target, model)
    show(as_json, lambda: render.demo_json(result), lambda screen: render.demo_text(result, screen))
