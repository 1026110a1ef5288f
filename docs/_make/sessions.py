"""The terminal sessions of the documents: run for real, and compared with what the page shows.

    python docs/_make/sessions.py [--write] [PAGE ...]     all pages, unless some are named

A page shows a session in a fence of the language `console`: lines that begin with `$ ` are commands of a shell, the
lines after one are what it printed. All sessions of a page run in one new directory, in order, with the `fixtures` of
this repository in it, and `dates`, the model that `ckptconv demo dates` writes. Where a page tells its reader to write
files (fences with a title), they run in a copy of the repository that has these files, and use the ckptconv in it. A
page whose commands start a framework, or take long, names the mark of its test between two lines `---` at its top:
`mark: frameworks`. Its figures may vary, for last digits differ from one machine to the next.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
FENCE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
MARK = re.compile(r"---\nmark: (\w+)\n---\n")
COPIED = ("ckptconv", "fixtures", "tests", "docs", "pyproject.toml", "README.md", "hatch_build.py")
SECONDS = 300
HOME = "/home/you"
"""What stands for the directory in which the sessions run."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a session and what it printed, both streams."""

    command: str
    output: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.output}"


def pages() -> dict[str, Path]:
    """Return name -> file of every page with a session."""
    found = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
    return {name: path for name, path in found.items() if FENCE.search(path.read_text())}


def mark(text: str) -> str:
    """Return the mark of the tests in which a page's commands run; none for what is quick and always the same."""
    return (MARK.match(text) or ["", ""])[1]


def steps(session: str) -> list[Step]:
    """Cut the text of a session into commands and their output."""
    return [
        Step(*one.partition("\n")[::2])
        for one in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    ]


def files(text: str) -> dict[str, str]:
    """Return path -> content of the files that a page tells its reader to write: fences with a title."""
    return dict(FILE.findall(text))


def same(first: str, second: str, *, figures: bool) -> bool:
    """Tell whether two outputs agree but for times; with `figures`, but for numbers and the widths of columns too."""
    return _steady(first, figures) == _steady(second, figures)


def _steady(text: str, figures: bool) -> str:
    text = re.sub(r"\b\d+\.\d+ ?s\b", "N s", text)
    if figures:
        text = re.sub(r"\d[\d.,]*(e-?\d+)?(\+\w+)?", "N", text)
        text = re.sub(r"-{2,}", "--", re.sub(r" {2,}", "  ", text))
    return text


def run(text: str, folder: Path) -> Iterator[list[Step]]:
    """Run the sessions of a page in an empty folder, and give what they print today."""
    work = folder / "work"
    root = _furnish(work, files(text))
    (folder / "bin").mkdir()
    for name, module in (("ckptconv", "-m ckptconv"), ("python", "")):
        shim = folder / "bin" / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        shim.chmod(0o755)
    told = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{root}",
        "PYTHONUNBUFFERED": "1",
    }
    environment = {
        **os.environ,
        **told,
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    for session in FENCE.findall(text):
        yield [
            Step(one.command, _printed(one.command, work, environment)) for one in steps(session)
        ]


def _furnish(work: Path, written: dict[str, str]) -> Path:
    """Make the directory in which a page's commands run; return the repository that they use."""
    work.mkdir()
    if not written:
        (work / "fixtures").symlink_to(ROOT / "fixtures")
        shutil.copytree(
            ROOT / "fixtures" / "dates", work / "dates"
        )  # as `ckptconv demo dates` does
        return ROOT
    for name in COPIED:
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, work / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, work / name)
    for name, content in written.items():
        (work / name).write_text(content)
    return work


def _printed(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if "Traceback (most recent call last)" in done.stdout:
        raise click.ClickException(f"{command}\n{done.stdout}")
    return re.sub(r"(?<=[^\n])\Z", "\n", done.stdout.replace(str(folder), HOME))


def today(text: str) -> str:
    """Return a page with what its commands print today; what only differs in times stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        printed = iter(list(run(text, Path(folder))))
    figures = bool(mark(text))

    def renewed(match: re.Match[str]) -> str:
        pairs = zip(steps(match[1]), next(printed), strict=True)
        kept = [old if same(old.output, new.output, figures=figures) else new for old, new in pairs]
        return "```console\n" + "".join(map(str, kept)) + "```"

    return FENCE.sub(renewed, text)


@click.command()
@click.option("--write", is_flag=True, help="Write what the commands print today into the pages.")
@click.argument("names", nargs=-1, metavar="[PAGE]...")
def main(write: bool, names: tuple[str, ...]) -> None:
    """Run the sessions of the documents; exit 1 where a page shows something else than they print."""
    stale = []
    for name in names or pages():
        path = DOCS / name
        text = path.read_text()
        if (now := today(text)) != text:
            stale.append(name)
            if write:
                path.write_text(now)
    click.echo(
        "\n".join(f"{'written' if write else 'stale'}: {name}" for name in stale)
        or "all as printed"
    )
    sys.exit(bool(stale) and not write)


if __name__ == "__main__":
    main()
