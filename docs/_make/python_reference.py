"""The reference of the public names in Python, from their signatures and docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import ckptconv

Kind = Callable[[Any], bool]


def _is_error(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseException)


def _is_options(found: Any) -> bool:
    """Tell what one makes to pass it on: a function takes it, or every field has a default."""
    if not isinstance(found, type) or not dataclasses.is_dataclass(found) or _is_error(found):
        return False
    functions = [
        one
        for one in (getattr(ckptconv, name) for name in ckptconv.__all__)
        if inspect.isfunction(one)
    ]
    taken = " ".join(
        str(one.annotation)
        for each in functions
        for one in inspect.signature(each).parameters.values()
    )
    return found.__name__ in taken or all(
        one.default is not dataclasses.MISSING for one in dataclasses.fields(found)
    )


def _is_result(found: Any) -> bool:
    return isinstance(found, type) and not _is_error(found) and not _is_options(found)


SECTIONS: dict[str, Kind] = {
    "Functions": inspect.isfunction,
    "Options": _is_options,
    "Results": _is_result,
    "Errors": _is_error,
}
"""Heading -> which of the public names stand below it; each stands below one."""


def reference() -> str:
    """Return the public names as Markdown, in sections."""
    return "\n".join(line for heading, kind in SECTIONS.items() for line in _section(heading, kind))


def _section(heading: str, kind: Kind) -> Iterator[str]:
    yield from (f"## {heading}", "")
    for name in ckptconv.__all__:
        found = getattr(ckptconv, name)
        if kind(found):
            yield from (f"### `{name}`", "", *_body(name, found))


def _body(name: str, found: Any) -> Iterator[str]:
    """Return signature, docstring and fields of one name."""
    if inspect.isfunction(found):
        yield from ("```python", signature(name, found), "```", "")
    yield from _document(found)
    if _is_error(found):
        parent = found.__bases__[0].__name__
        yield from (
            f"Exit code {found.exit_code}. A kind of `{parent}`." if parent != "Exception" else "",
            "",
        )
    if dataclasses.is_dataclass(found):
        yield from _fields(found)


def signature(name: str, found: Callable[..., Any]) -> str:
    """Return a function's signature, one parameter a line where there are several."""
    described = inspect.signature(found)
    shown, keyword_only = [], False
    for one in described.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        shown.append(_parameter(one))
    result = described.return_annotation
    if len(shown) < 3:
        return f"{name}({', '.join(shown)}) -> {result}"
    return "\n".join((f"{name}(", *(f"    {one}," for one in shown), f") -> {result}"))


def _parameter(one: inspect.Parameter) -> str:
    star = "**" if one.kind is one.VAR_KEYWORD else ""
    text = f"{star}{one.name}: {one.annotation}"
    return text if one.default is one.empty else f"{text} = {_default(one.default)}"


def _default(value: Any) -> str:
    """Return a default as one would write it; a function that does nothing is shown as `...`."""
    return "..." if callable(value) else repr(value)


def _document(found: Any) -> Iterator[str]:
    """Return a docstring; what is said of arguments and errors begins a line of its own."""
    for line in (inspect.getdoc(found) or "").splitlines():
        said = re.match(r"(Args|Raises): ", line)
        yield from ("", f"**{said[1]}** {line[said.end() :]}") if said else (line,)
    yield ""


def _fields(found: Any) -> Iterator[str]:
    """Return the fields and properties of a dataclass, with what its source says of each."""
    said = _said(found)
    yield from ("| field | type | |", "|---|---|---|")
    for field in dataclasses.fields(found):
        kind = str(field.type).replace("|", "\\|")
        yield f"| `{field.name}` | `{kind}` | {said.get(field.name, '')} |"
    for name, member in vars(found).items():
        if isinstance(member, property) and not name.startswith("_"):
            returned = str(inspect.signature(member.fget).return_annotation).replace("|", "\\|")  # type: ignore[arg-type]
            told = " ".join((inspect.getdoc(member) or "").split()).replace("|", "\\|")
            yield f"| `{name}` | `{returned}` | {told} |"
    yield ""


def _said(found: Any) -> dict[str, str]:
    """Return field -> the text below it, of a class and of those it is made from."""
    told: dict[str, str] = {}
    for one in reversed(found.__mro__[:-1]):
        body = ast.parse(inspect.getsource(one)).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                told[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")  # type: ignore[union-attr]
    return told
