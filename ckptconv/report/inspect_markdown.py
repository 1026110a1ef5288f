"""What `inspect` found, as Markdown: for an issue, a model card or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from ckptconv.base.untrusted import markdown
from ckptconv.report.inspect import (
    PART_HEADERS,
    answer,
    facts,
    matching,
    notes,
    part_rows,
    state,
    tensor_rows,
)
from ckptconv.report.text import printable
from ckptconv.verbs.inspection import Inspection


def inspection_markdown(result: Inspection, *, tensors: str = "") -> str:
    """Return headings, tables and lists; see `inspection_text` for `tensors`."""
    glob = tensors or ("*" if result.measured else "")
    blocks = [
        f"## {_cell(result.path.name or str(result.path))}",
        _table(("", ""), list(facts(result))),
    ]
    if result.parts:
        blocks.append(_table(PART_HEADERS, part_rows(result), right=4))
    if sentences := [f"- {_cell(note)}" for note in notes(result)]:
        blocks.append("\n".join(sentences))
    if result.targets:
        blocks.append(
            _table(
                ("would convert", ""), [(target.verb, answer(target)) for target in result.targets]
            )
        )
    if glob:
        headers, rows = tensor_rows(matching(result, glob))
        blocks.append(_table(headers, rows))
    verdict, *problems = state(result).splitlines()
    blocks.append(_cell(verdict))
    if problems:
        blocks.append("\n".join(f"- {_cell(problem.strip())}" for problem in problems))
    return printable("\n\n".join(blocks))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """Return a table whose last `right` columns are aligned to the right."""
    lines = [headers, ["---"] * (len(headers) - right) + ["--:"] * right, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return text in which a name from a checkpoint cannot end a cell, or begin a link or a tag."""
    return markdown(text.replace("\n", " "))
