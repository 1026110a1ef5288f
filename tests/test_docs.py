"""What the documents say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from ckptconv.cli import cli
from ckptconv.operations.families import families
from ckptconv.render.families import families_markdown

COMMANDS = {name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_has_help_an_example_and_a_paragraph_in_the_readme(name: str) -> None:
    """Every command says what it does, shows an example, and stands in the README with one."""
    help_text = COMMANDS[name].help or ""
    assert f"Example: ckptconv {name}" in help_text
    assert f"**`{name}" in README
    assert re.search(rf"^    ckptconv {name}\b", README, re.MULTILINE)


def test_readme_names_no_command_that_does_not_exist() -> None:
    """Every `ckptconv VERB` of the README is a command."""
    assert set(re.findall(r"^    ckptconv (\w+)", README, re.MULTILINE)) <= set(COMMANDS)


def test_support_table_is_what_the_tables_say() -> None:
    """docs/support.md is what `ckptconv families --markdown` prints today."""
    assert (ROOT / "docs" / "support.md").read_text() == families_markdown(families()) + "\n"


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and the documents leads to a file."""
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
