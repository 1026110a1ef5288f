"""Limits: what the documents say, how they are changed, and that every reader keeps to them."""

from __future__ import annotations

import ast
import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base import files as module
from ckptconv.base.files import NAMES, Limits, limited, limits
from ckptconv.base.workers import finish, workers

if TYPE_CHECKING:
    from conftest import Cli

DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"


def documented() -> dict[str, str]:
    """Return name -> docstring of every limit, from the source."""
    tree = ast.parse(Path(module.__file__).read_text())
    body = next(
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Limits"
    )
    return {
        one.target.id: ast.literal_eval(text.value)
        for one, text in pairwise(body)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(text, ast.Expr)
    }


def test_the_table_is_what_the_code_says() -> None:
    """docs/limits.md lists every limit with its default and meaning, in the order of the code."""
    texts = documented()
    assert tuple(texts) == NAMES
    rows = [
        f"| `{name}` | {getattr(Limits(), name):,} | {' '.join(texts[name].split())} |"
        for name in NAMES
    ]
    table, _, _ = DOCUMENT.read_text().partition("|---|---|---|\n")[2].partition("\n\n")
    assert table.splitlines() == rows


def test_limits_hold_inside_the_block_alone() -> None:
    """Blocks nest, and the old limits come back, also after an error."""
    with ckptconv.limited(tensors=5):
        with suppress(ZeroDivisionError), limited(json_depth=3):
            assert limits() == Limits(tensors=5, json_depth=3)
            raise ZeroDivisionError
        assert limits() == Limits(tensors=5)
    assert limits() == Limits()


def test_limits_hold_in_the_threads_of_a_pool() -> None:
    """Work that is given to threads reads under the limits of whoever gives it."""
    with workers() as pool, limited(tensors=5):
        assert {read.tensors for read in finish([pool.submit(limits) for _ in range(8)])} == {5}


def test_a_limit_that_does_not_exist() -> None:
    """A misspelt name is an error of the program that calls."""
    with pytest.raises(TypeError, match="tensor"), limited(tensor=5):
        pass


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("tensor=5", "there is no limit 'tensor'. Did you mean 'tensors'?"),
        ("zzz=5", f"there is no limit 'zzz'. There are {', '.join(NAMES)}."),
        ("tensors", "'tensors': write an integer of at least 1, as in tensors=1000000"),
        ("tensors=0", "'tensors=0': write an integer of at least 1, as in tensors=1000000"),
        ("tensors=-1", "'tensors=-1': write an integer of at least 1, as in tensors=1000000"),
        ("tensors=1e6", "'tensors=1e6': write an integer of at least 1, as in tensors=1000000"),
        (
            "tensors=" + "9" * 19,
            f"'tensors={'9' * 19}': write an integer of at least 1, as in tensors=1000000",
        ),
    ],
)
def test_wrong_usage(cli: Cli, dates: Path, limit: str, says: str) -> None:
    """A name or number that is none is exit code 2, with what is right."""
    outcome = cli("--limit", limit, "inspect", dates)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1] == f"Error: Invalid value for '--limit': {says}"


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (
            "tensors=100",
            "/model.safetensors: header: 101 tensors; `ckptconv --limit tensors=N` allows more",
        ),
        (
            "header_bytes=1000",
            "/model.safetensors: a header of 11784 bytes; `ckptconv --limit header_bytes=N` allows more",
        ),
        (
            "json_bytes=1000",
            "/config.json: more than 1000 bytes of JSON; `ckptconv --limit json_bytes=N` allows more",
        ),
    ],
)
def test_the_option_reaches_the_readers(cli: Cli, dates: Path, limit: str, says: str) -> None:
    """A lower limit refuses a good checkpoint, with the way out; a higher one changes nothing."""
    outcome = cli("--limit", limit, "inspect", dates)
    assert (outcome.code, outcome.out, outcome.err) == (3, "", f"Error: {dates}{says}\n")
    more = cli(
        "--limit",
        limit.replace("=", "=10000"),
        "--limit",
        "json_depth=9",
        "inspect",
        dates,
        "--json",
    )
    assert (more.code, json.loads(more.out)["pair"]) == (0, "bert -> bert")
    assert limits() == Limits()
