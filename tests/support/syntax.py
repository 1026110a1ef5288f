"""What the tests of the source ask of it: each file is parsed once a process, and its tree is not retained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a file of Python binds, imports and defines."""

    names: tuple[str, ...]
    """Of every variable and every argument, as often as it is bound."""
    imports: tuple[Import, ...]
    """At any depth."""
    functions: tuple[tuple[str, int], ...]
    """Name, and the lines from the statement after the docstring on."""
    classes: tuple[str, ...]
    """Names of the classes and of the type aliases of the module."""
    top_level: frozenset[str]
    """What can be imported: names that are defined, imported or used outside of functions and classes."""


@cache
def syntax(path: Path) -> Syntax:
    """Parse a file."""
    tree = ast.parse(path.read_text())
    names: list[str] = []
    imports: list[Import] = []
    functions: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, Import):
            imports.append(node)
        elif isinstance(node, ast.FunctionDef):
            functions.append((node.name, _lines_below_docstring(node)))
    return Syntax(
        tuple(names),
        tuple(imports),
        tuple(functions),
        tuple(_class_names(tree)),
        frozenset(_top_level(tree)),
    )


def _lines_below_docstring(function: ast.FunctionDef) -> int:
    has_docstring = ast.get_docstring(function) is not None and len(function.body) > 1
    assert function.end_lineno
    return function.end_lineno - function.body[has_docstring].lineno + 1


def _class_names(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node.target)


def _top_level(module: ast.Module) -> Iterator[str]:
    for node in _outside(module.body):
        if isinstance(node, Import):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        else:
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _outside(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, and those within `if`, `try` and `with`."""
    for node in body:
        nested = [
            statement for statement in ast.iter_child_nodes(node) if isinstance(statement, ast.stmt)
        ]
        if nested and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from _outside(nested)
        else:
            yield node
