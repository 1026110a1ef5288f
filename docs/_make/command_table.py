"""The table of commands, from their own help."""

from __future__ import annotations

import click

from ckptconv.cli.main import cli


def table() -> str:
    """Return a Markdown table: each command, with a link to its page, and what it does."""
    context = click.Context(cli)
    rows = ((name, cli.get_command(context, name)) for name in cli.list_commands(context))
    lines = [f"| [`{name}`]({name}.md) | {_first_sentence(command)} |" for name, command in rows]
    return "\n".join(("| command | |", "|---|---|", *lines))


def _first_sentence(command: click.Command | None) -> str:
    assert command is not None
    return (command.help or "").partition("\n\n")[0].replace("\n", " ").strip()
