"""The command line. Its commands are the files in `commands/`; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from ckptconv.base.files import following_links
from ckptconv.base.limits import NAMES, limited
from ckptconv.cli import commands
from ckptconv.cli.shell import run

MAX_DIGITS = 18
"""No limit is a larger number; Python counts those of its C calls in 64 bits."""


class Commands(click.Group):
    """A group whose commands are the modules of `ckptconv.cli.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted(module.name for module in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, if there is one of this name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(
            import_module(f"ckptconv.cli.commands.{cmd_name}"), cmd_name
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that are spelt nearly so: Click knows only commands that are imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None


class Limit(click.ParamType):  # type: ignore[type-arg]  # generic only in later clicks
    """A bound on what a reader may spend, such as tensors=1000000."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return name and number; anything else is wrong usage."""
        name, _, number = str(value).partition("=")
        if name not in NAMES:
            from difflib import get_close_matches

            near = get_close_matches(name, NAMES, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(NAMES)}."
            self.fail(f"there is no limit {name!a}. {advice}", param, ctx)
        if not (
            number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS and int(number)
        ):
            self.fail(
                f"{value!a}: write an integer of at least 1, as in {name}=1000000", param, ctx
            )
        return name, int(number)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so."""
        return [CompletionItem(f"{name}=") for name in NAMES if name.startswith(incomplete)]


def _print_versions(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print what belongs into every report of a problem, and end."""
    if value and not ctx.resilient_parsing:
        from ckptconv.base.environment import versions

        click.echo("\n".join(f"{name} {version}" for name, version in versions().items()))
        ctx.exit()


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Print the versions of ckptconv and its dependencies.",
)
@click.option(
    "limit",
    "--limit",
    type=Limit(),
    multiple=True,
    metavar="NAME=NUMBER",
    help="Raise or lower a safety limit of the parsers: --limit tensors=1000000.",
)
@click.option(
    "--follow-links",
    is_flag=True,
    help="Follow links that lead out of a checkpoint; for directories that you trust.",
)
@click.pass_context
def cli(ctx: click.Context, limit: tuple[tuple[str, int], ...], follow_links: bool) -> None:
    """Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    Exit codes: 0 done, 1 verify, diff or check found a difference, 2 wrong usage, 3 source refused,
    4 destination failed, 5 framework missing or died, 70 internal error. Outputs are whole or absent.
    """
    ctx.with_resource(limited(**dict(limit)))
    ctx.with_resource(following_links(follow_links))


def main() -> NoReturn:
    """Run the command line."""
    run(cli)
