"""The Python page names what can be imported, and its examples run."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
from functools import cache
from pathlib import Path

import pytest

import ckptconv
from covering import over
from python_reference import SECTIONS, reference, signature

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
PUBLIC = [name for name in ckptconv.__all__ if name != "__version__"]


@cache
def sections() -> dict[str, str]:
    """Return public name -> its part of the reference."""
    cut = re.split(r"^### `(\w+)`\n", reference(), flags=re.MULTILINE)[1:]
    return dict(zip(cut[::2], cut[1::2], strict=True))


def test_every_public_name_stands_there_once() -> None:
    """Functions, options, results and errors: together they are `__all__`."""
    assert sorted(re.findall(r"^### `(\w+)`$", reference(), re.MULTILINE)) == sorted(PUBLIC)
    counts = [sum(kind(getattr(ckptconv, name)) for kind in SECTIONS.values()) for name in PUBLIC]
    assert counts == [1] * len(PUBLIC)


@over("name", PUBLIC)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    """A function with its signature and every parameter, a dataclass with every field, each with its docstring."""
    result, text = getattr(ckptconv, name), sections()[name]
    assert (inspect.getdoc(result) or "").splitlines()[0] in text
    if inspect.isfunction(result):
        assert signature(name, result) in text
        shown = re.findall(r"(\w+): ", signature(name, result))
        assert [
            parameter
            for parameter in inspect.signature(result).parameters
            if parameter not in shown
        ] == []
    if dataclasses.is_dataclass(result):
        assert [
            field.name
            for field in dataclasses.fields(result)
            if f"\n| `{field.name}` | " not in text
        ] == []


def test_a_signature_is_python() -> None:
    """What is shown of a function can be read as the head of a definition."""

    def small(one: int, *, last: str = "a", **more: int) -> str:
        """Return nothing of use."""
        return f"{one}{last}{more}"

    lines = (
        "small(",
        "    one: int,",
        "    *,",
        "    last: str = 'a',",
        "    **more: int,",
        ") -> str",
    )
    assert signature("small", small) == "\n".join(lines)
    for name in PUBLIC:
        if inspect.isfunction(getattr(ckptconv, name)):
            compile(f"def {signature(name, getattr(ckptconv, name))}: ...", name, "exec")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the page, from top to bottom, prints what the page shows."""
    ckptconv.demo(tmp_path / "dates")
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/python.md", "exec"), {})
    assert re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) == [
        printed.getvalue()
    ]
