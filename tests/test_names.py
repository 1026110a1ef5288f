"""Names are nouns of the field, a class name has one meaning, and functions are short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syntax import syntax

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
        yield from ((path.name, name) for name in syntax(path).names)


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
        for name in syntax(path).classes
        if not name.startswith("_")
    )
    assert {name for name, count in definitions.items() if count > 1} == SHARED_CLASS_NAMES


def test_functions_are_short() -> None:
    """No function has more than 50 lines below its signature and its docstring."""
    lengths = [
        (f"{path.relative_to(PACKAGE)}:{name}", lines)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, lines in syntax(path).functions
    ]
    assert lengths
    assert [(name, lines) for name, lines in lengths if lines > MAX_LINES] == []


def test_the_formatter_formats() -> None:
    """No line is kept from the formatter."""
    tagged = [
        path.name
        for root in (PACKAGE, TESTS)
        for path in root.rglob("*.py")
        if f"# {'fmt'}:" in path.read_text()
    ]
    assert tagged == []
