"""JUnit's XML, as Jenkins and GitLab read it: one suite for each part, one case for each quantity.

There is no standard but the common ground of what reads it: testsuites > testsuite > testcase > failure | error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

from ckptconv.report.cases import JUnitCase, cases
from ckptconv.report.text import one_line, printable

if TYPE_CHECKING:
    from ckptconv.base.errors import CkptconvError
    from ckptconv.verbs.verify import Verification


def verification_junit(result: Verification, seconds: float = 0.0) -> str:
    """Return a verification as a document. Names from a checkpoint are escaped: no tag, no character XML forbids.

    Args:
        result: the verification.
        seconds: how long all of it took.
    """
    root = Xml.Element("testsuites", name="ckptconv verify")
    parts: dict[str, list[JUnitCase]] = {}
    for case in cases(result):
        parts.setdefault(case.part, []).append(case)
    for part, members in parts.items():
        _suite(root, part, members)
    counts(root, root.findall("testsuite/testcase"), seconds)
    return document(root)


def error_junit(command: str, error: CkptconvError, tame: Callable[[str], str] = str) -> str:
    """Return a document that says why a command came to no result.

    Args:
        command: its name.
        error: what happened.
        tame: what else is done to its text, before it is made printable.
    """
    root = Xml.Element("testsuites", name=f"ckptconv {command}")
    suite = Xml.SubElement(root, "testsuite", name=command)
    case = Xml.SubElement(suite, "testcase", name=command, classname=f"ckptconv.{command}")
    text = printable(tame(str(error)))
    Xml.SubElement(
        case, "error", message=text.partition("\n")[0], type=type(error).__name__
    ).text = text
    for element in (suite, root):
        counts(element, [case])
    return document(root)


def _suite(root: Xml.Element, part: str, members: list[JUnitCase]) -> None:
    suite = Xml.SubElement(root, "testsuite", name=part)
    for member in members:
        case = Xml.SubElement(
            suite, "testcase", name=one_line(member.name), classname=f"ckptconv.verify.{part}"
        )
        if member.seconds:
            case.set("time", f"{member.seconds:.3f}")
        if member.failure:
            text = printable(member.failure)
            Xml.SubElement(
                case, "failure", message=text.partition("\n")[0], type="mismatch"
            ).text = text
        elif member.figures:
            Xml.SubElement(case, "system-out").text = printable(member.figures)
    counts(suite, suite.findall("testcase"), sum(member.seconds for member in members))


def counts(element: Xml.Element, members: list[Xml.Element], seconds: float = 0.0) -> None:
    """Write how many cases an element has, how many of them failed, and how long they took [seconds]."""
    element.set("tests", str(len(members)))
    for kind in ("failure", "error"):
        element.set(f"{kind}s", str(sum(member.find(kind) is not None for member in members)))
    element.set("skipped", "0")
    element.set("time", f"{seconds:.3f}")


def document(root: Xml.Element) -> str:
    """Return the text of a document."""
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'
