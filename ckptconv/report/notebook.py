"""A result in a notebook: its last line in colour, and the whole report in a box that opens."""

from __future__ import annotations

from html import escape

GOOD = ("MATCH", "WHOLE", "EQUAL", "HOLDS", "complete")
BAD = ("MISMATCH", "NOT PROVEN", "CHANGED", "DIFFERENT", "BROKEN", "not convertible")
COLOURS = {True: "#1a7f37", False: "#cf222e"}
"""Of a good and of a bad word; both can be read on white and on black."""


def notebook_html(summary: str, text: str) -> str:
    """Return HTML that needs no script, no style of the page and no network.

    Args:
        summary: the line that says how it ended.
        text: the whole report.
    """
    word, colon, rest = summary.partition(":")
    if colon and word in (*GOOD, *BAD):
        colour = COLOURS[word in GOOD]
        summary_html = (
            f'<strong style="color:{colour}">{escape(word)}</strong>: {escape(rest.strip())}'
        )
    else:
        summary_html = escape(summary)
    if "\n" not in text.strip():
        return f"<div>{summary_html}</div>"
    is_open = " open" if len(text.splitlines()) <= 40 else ""
    return (
        f"<div>{summary_html}<details{is_open}><summary>report</summary>"
        f'<pre style="white-space:pre;overflow-x:auto;line-height:1.25">{escape(text)}</pre></details></div>'
    )
