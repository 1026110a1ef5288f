"""The command line. Its commands are the files in `commands/`; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import NoReturn

import click

from ckptconv import __version__, commands
from ckptconv.shell import run


class Commands(click.Group):
    """A group whose commands are the modules of `ckptconv.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted(found.name for found in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, if there is one of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"ckptconv.commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that are spelt nearly so: Click knows only commands that are imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="ckptconv %(version)s")
def cli() -> None:
    """Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    Exit codes: 0 done, 1 verify found a difference, 2 wrong usage, 3 the source is refused,
    4 the destination failed, 5 a framework is missing or died. Nothing is ever half written.
    """


def main() -> NoReturn:
    """Run the command line."""
    run(cli)
