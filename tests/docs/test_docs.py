"""What the documents say is what the program does."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click

import ckptconv
from ckptconv.cli.main import cli
from ckptconv.report.families import families_markdown
from ckptconv.verbs.families import families
from covering import over
from test_layers import FOLDERS

COMMANDS = {
    name: cli.get_command(click.Context(cli), name)
    for name in cli.list_commands(click.Context(cli))
}
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SHOWN_ONLY = {
    "as_json",
    "quiet",
    "verbose",
    "markdown",
    "tensors",
    "form",
    "html",
    "junit",
    "page",
    "trace",
    "push",
    "create_pr",
}
"""Parameters of commands that say how a result is shown, or that the function takes under its own name."""
FORMAT_SETTINGS = {"batch", "length", "int8", "orbax"}
"""Options of one artefact format: keys of `ExportOptions.settings`."""
RENAMED = {"max_shard_size": "max_shard_bytes"}
PATHS = {"source", "target", "encoder", "decoder", "path", "options"}
"""Parameters of functions that explain themselves."""


def function(name: str) -> Callable[..., Any]:
    """Return the public function of a command's name."""
    public: Callable[..., Any] = getattr(ckptconv, name)
    return public


def accepted(name: str) -> set[str]:
    """Return what the function of a command takes, by itself and in its options."""
    names = set(inspect.signature(function(name)).parameters)
    hint = (
        str(inspect.signature(function(name)).parameters["options"].annotation)
        if "options" in names
        else ""
    )
    options = [item for item in ("WriteOptions", "JoinOptions", "ExportOptions") if item in hint]
    if "ExportOptions" in options:
        names |= FORMAT_SETTINGS
    return names.union(
        *(
            {field.name for field in dataclasses.fields(getattr(ckptconv, option))}
            for option in options
        )
    )


@over("name", sorted(COMMANDS))
def test_every_option_says_what_it_does(name: str) -> None:
    """Each option has a help text that begins like a sentence and ends with a full stop."""
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    assert [
        option.name for option in options if not re.fullmatch(r"(?s)\S.*\.", option.help or "")
    ] == []


@over("name", sorted(COMMANDS))
def test_every_command_is_one_documented_function(name: str) -> None:
    """A function of the command's name returns a typed, frozen result, says what it takes and what it raises."""
    assert name in ckptconv.__all__
    public = function(name)
    document, parameters = inspect.getdoc(public) or "", set(inspect.signature(public).parameters)
    assert document.partition("\n")[0].endswith((".", ",", "and"))
    assert ("Raises:" in document) is bool(parameters)
    assert "Args:" in document or parameters <= PATHS
    result = get_type_hints(public)["return"]
    kinds = [item for item in (get_args(result) or (result,)) if item is not Ellipsis]
    assert [
        dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen for kind in kinds
    ] == [True] * len(kinds)


@over("name", sorted(COMMANDS))
def test_the_function_takes_what_the_command_takes(name: str) -> None:
    """Whatever can be asked for at a prompt can be asked for in Python: nothing is the command line's alone."""
    asked = {
        RENAMED.get(param.name, param.name)
        for param in COMMANDS[name].params
        if param.name and param.expose_value
    }
    positional = {
        param.name for param in COMMANDS[name].params if isinstance(param, click.Argument)
    }
    assert asked - positional - SHOWN_ONLY - accepted(name) == set()
    required = [
        parameter
        for parameter in inspect.signature(function(name)).parameters.values()
        if parameter.default is parameter.empty
    ]
    assert len(required) == len(positional)


def test_public_names_are_there_and_documented() -> None:
    """`__all__` names what can be imported, each with a docstring; the package is marked as typed."""
    named = [item for item in ckptconv.__all__ if item != "__version__"]
    assert [item for item in named if not inspect.getdoc(getattr(ckptconv, item))] == []
    assert sorted(named) == sorted(set(named))
    assert (ROOT / "ckptconv" / "py.typed").is_file()


@over("name", sorted(COMMANDS))
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
    for page in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
    ):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_contributing_lists_the_folders() -> None:
    """The map of the folders is that of the layer test, from the top down."""
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The folders")[2]
    shown = re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)
    assert shown == [name for name in reversed(FOLDERS) if (ROOT / "ckptconv" / name).is_dir()]


def test_the_readme_shows_what_the_tested_page_shows() -> None:
    """The README's sample of `verify` stands in its page, whose commands a test runs."""
    sample = README.partition("after each conversion was verified:\n\n")[2].partition(
        "\nand `make test`"
    )[0]
    lines = [line.removeprefix("    ") for line in sample.splitlines() if line]
    shown = (ROOT / "docs" / "commands" / "verify.md").read_text().splitlines()
    assert len(lines) > 10
    assert [line for line in lines if line not in shown] == []
