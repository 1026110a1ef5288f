"""The table of commands, and what each takes, from their own help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

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


def options(name: str) -> str:
    """Return what the help of a command says, as Markdown: what it does, its usage, and a table of its options."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    context = click.Context(command, info_name=f"ckptconv {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = [
        f"| {_names(param, context)} | {_escaped(param.help or '')}{_default(param)} |"
        for param in command.get_params(context)
        if isinstance(param, click.Option)
    ]
    table = ("| option | |", "|---|---|", *rows)
    return "\n\n".join((*_paragraphs(command), f"```text\n{usage}\n```", "\n".join(table)))


def _paragraphs(command: click.Command) -> Iterator[str]:
    """Return the sentences of a help; what stands line by line in it is an example, which the page shows run."""
    for paragraph in cleandoc(command.help or "").split("\n\n"):
        if "\b" not in paragraph:
            yield _escaped(paragraph.replace("\n", " "))


def _names(param: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    if param.is_flag:
        return names
    if isinstance(param.type, click.Choice):
        return f"{names}: {', '.join(f'`{choice}`' for choice in param.type.choices)}"
    return f"{names} `{param.metavar or param.type.name.upper().split(' ')[0]}`"


def _default(param: click.Option) -> str:
    return f" Default: `{param.default}`." if param.show_default else ""


def _escaped(text: str) -> str:
    """Return a text of which nothing is markup."""
    return re.sub(r"([\[\]<>*_|])", r"\\\1", text)
