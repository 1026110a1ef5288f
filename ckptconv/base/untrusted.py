"""Text from strangers (tensor names, config strings, paths), made safe for where it is shown.

A name may hold what a terminal takes for a command, what turns the reading direction round, what nobody
sees, a line break that forges a line of ours, or the end of a tag. A log has readers as well: GitHub's runner takes
a line that begins with `::` for a command, and `##[...]` anywhere in a line; Azure's takes `##vso[...]`.
JSON needs none of this but the last: it is written in ASCII, in one string a line.
"""

from __future__ import annotations

import re

UNSEEN = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
"""Letters and marks that take no room, though `str.isprintable` calls them printable.

Source: DerivedCoreProperties.txt of Unicode 15, Default_Ignorable_Code_Point, less the categories Cf and Cn.
"""
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~#&"})


LINE_COMMAND = re.compile(r"^( *):(?=:)", re.MULTILINE)
"""The beginning of a line that GitHub's runner takes for a command; it takes off spaces before."""
LOG_COMMAND = re.compile(r"#(?=#[A-Za-z]*\[)")
"""What begins a command anywhere in a line, in GitHub's older form and in Azure's."""


def printable(text: str) -> str:
    """Return text with everything escaped that a terminal or a log could take for a command; lines stay lines."""
    shown = "".join(c if c == "\n" or _harmless(c) else ascii(c)[1:-1] for c in text)
    return LINE_COMMAND.sub(r"\1\\x3a", LOG_COMMAND.sub(r"\\x23", shown))


def one_line(text: str) -> str:
    """Return a name, or another text of one line, so that it cannot begin a line of its own."""
    return printable(text.replace("\n", "\\n"))


def markdown(text: str) -> str:
    """Return a name for a cell of a Markdown table: no tag, no link, no end of the cell."""
    return one_line(text).translate(MARKDOWN)


def _harmless(character: str) -> bool:
    return character.isprintable() and character not in UNSEEN
