"""`report.text`: plain tables."""

from __future__ import annotations

from tabulate import tabulate

from ckptconv.report.text import table

ROWS = (
    ("encoder.layer.0", 2, "F32"),
    ("日本語の名前", 12, ""),
    ("e\u0301", "1,024", " BF16 "),
    ("", -3, "a long cell with words"),
)
HEADERS = ("tensor", "rows\nin all", "dtype")


def test_a_table_is_laid_out_as_tabulate_does_it() -> None:
    """Columns, rules, headers of two lines, either side, scripts that are written wide, and accents of their own."""
    for align in (("left", "right", "left"), ("right", "left", "right")):
        expected = tabulate(
            ROWS, HEADERS, tablefmt="simple", disable_numparse=True, colalign=align
        ).splitlines()
        assert table(ROWS, HEADERS, align).splitlines() == [line.rstrip() for line in expected]


def test_a_table_without_rows_has_its_head() -> None:
    """Headers and a rule."""
    assert table((), ("name", "no"), ("left", "right")) == "name      no\n------  ----"
