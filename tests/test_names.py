"""Names are nouns of the field, a class name has one meaning, and functions are short."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ckptconv"
MAX_PERCENT = 0.6
"""The highest share among eleven codebases of this field; the lowest is 0."""
MAX_PERCENT_IN_TESTS = 2.5
"""It is 2.2 % today; a test is a sentence of its own, in which such a name reaches a few lines."""
MAX_LINES = 50
SHARED_CLASS_NAMES = frozenset(
    # parallel backends, runners and their drivers, which have a class each of the same kind
    {"Model", "ProgramWeights", "Size", "Tensor", "TensorFlow"}
    # documents of --json, named as what they show
    | {"StoredTensor", "ValueFinding"}
    # far apart, and each the word of its field: a function of a pickle and of a graph, a batch of inputs and of tasks
    | {"Batch", "Call", "Function", "Part", "Refusals", "Step", "Tree"}
)
NO_NOUNS = frozenset(
    {"one", "ones", "other", "others", "another", "this", "that", "these", "those", "it", "its"}
    | {"them", "they", "something", "anything", "found", "made", "held", "kept", "told", "said"}
    | {"given", "known", "wanted", "seen", "taken", "done"}
)


def bindings(folder: Path) -> Iterator[tuple[str, str]]:
    """Return file and name of every variable and every argument below a folder."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield path.name, node.id
            elif isinstance(node, ast.arg):
                yield path.name, node.arg


@pytest.mark.parametrize(
    ("folder", "limit"),
    [(PACKAGE, MAX_PERCENT), (TESTS, MAX_PERCENT_IN_TESTS)],
    ids=["product", "tests"],
)
def test_names_are_nouns(
    folder: Path, limit: float, record_property: Callable[[str, object], None]
) -> None:
    """Of all names that are bound, fewer than 0.6 % are pronouns or participles; in the tests 2.5 %."""
    names = list(bindings(folder))
    vague = Counter((file, name) for file, name in names if name.strip("_").lower() in NO_NOUNS)
    percent = 100 * vague.total() / len(names)
    record_property("vague names", f"{percent:.2f} % of {len(names)}, limit {limit} %")
    assert percent < limit, vague.most_common(20)


def test_a_class_name_has_one_meaning() -> None:
    """No two modules have a public class or alias of the same name, but for those that are listed."""
    definitions = Counter(
        name
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in class_names(ast.parse(path.read_text()))
        if not name.startswith("_")
    )
    assert {name for name, count in definitions.items() if count > 1} == SHARED_CLASS_NAMES


def class_names(module: ast.Module) -> Iterator[str]:
    """Return the names of the classes and of the type aliases of a module."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node.target)


def test_functions_are_short() -> None:
    """No function has more than 50 lines below its signature and its docstring."""
    lengths = {
        f"{path.relative_to(PACKAGE)}:{node.name}": lines_below_docstring(node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def lines_below_docstring(function: ast.FunctionDef) -> int:
    """Return the lines of a function from the statement after its docstring on."""
    has_docstring = ast.get_docstring(function) is not None and len(function.body) > 1
    assert function.end_lineno
    return function.end_lineno - function.body[has_docstring].lineno + 1


def test_the_formatter_formats() -> None:
    """No line is kept from the formatter."""
    tagged = [
        path.name
        for root in (PACKAGE, TESTS)
        for path in root.rglob("*.py")
        if f"# {'fmt'}:" in path.read_text()
    ]
    assert tagged == []
