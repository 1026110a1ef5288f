"""JUnit's XML: one case a check, counts that agree, and no name that breaks out of it."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from ckptconv.base.errors import PlanError, Problem
from ckptconv.report.junit import error_junit, verification_junit
from verified import HOSTILE, matching, mismatching

ATTRIBUTES = {"name", "tests", "failures", "errors", "skipped", "time"}
ESCAPED = "a<b>&\"']]>\\x00\\x1b[2J\\ud800\\ufffe::error::x,%0A\\n::stop-commands::y|`z`\\u202e"


def check(text: str) -> Xml.Element:
    """Return the parsed document, once it has the form that Jenkins and GitLab read."""
    root = Xml.fromstring(text.encode())
    assert (root.tag, root.attrib.keys()) == ("testsuites", ATTRIBUTES)
    for suite in root:
        assert (suite.tag, suite.attrib.keys()) == ("testsuite", ATTRIBUTES)
        for case in suite:
            assert case.tag == "testcase"
            assert case.attrib.keys() - {"time"} == {"name", "classname"}
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["system-out"])
            assert all(
                child.attrib.keys() == {"message", "type"}
                for child in case
                if child.tag != "system-out"
            )
    for one in (root, *root):
        cases = list(one.iter("testcase"))
        counts = {
            kind: sum(case.find(kind) is not None for case in cases)
            for kind in ("failure", "error")
        }
        result = (one.get("tests"), one.get("failures"), one.get("errors"), one.get("skipped"))
        assert result == (str(len(cases)), str(counts["failure"]), str(counts["error"]), "0")
    return root


def test_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every quantity of every probe is a case of its part, with its figures."""
    result = matching(monkeypatch)
    root = check(verification_junit(result))
    assert result.outputs is not None
    assert [(suite.get("name"), len(suite)) for suite in root] == [
        ("weights", 1),
        ("config", 1),
        ("encoder", sum(quantity.part == "encoder" for quantity in result.outputs.quantities)),
        ("decoder", sum(quantity.part == "decoder" for quantity in result.outputs.quantities)),
        ("tokens", 2),
        ("texts", 1),
        ("frameworks", 2),
    ]
    assert root.get("failures") == "0"
    names = [case.get("name") for case in root.iter("testcase")]
    assert names[0] == "all 3 tensors"
    assert "full encoder.0" in names
    first = root.find("testsuite/testcase[@name='full logits']/system-out")
    assert first is not None
    assert (first.text or "").startswith("error / PyTorch's own: RMS ")


def test_a_mismatch_with_hostile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is a case; what XML forbids is escaped, and what it takes for markup is text."""
    root = check(verification_junit(mismatching(monkeypatch)))
    failed = {
        (suite.get("name"), case.get("name")): (case.find("failure").text or "")  # type: ignore[union-attr]
        for suite in root
        for case in suite
        if case.find("failure") is not None
    }
    assert failed.keys() == {
        ("weights", ESCAPED),
        ("config", "encoder.hidden_act"),
        ("decoder", "full logits"),
        ("tokens", "greedy"),
        ("texts", "one"),
        ("loading", f"missing {ESCAPED}"),
        ("coverage", "at least 50 %"),
    }
    assert failed["weights", ESCAPED] == "unexpected: float32 [2]"
    assert failed["coverage", "at least 50 %"] == "coverage was not measured"
    assert "stop-commands" in failed["texts", "one"]


def test_an_error_is_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing could be verified the document says why, so that no CI takes it for a pass."""
    error = PlanError("model", [Problem("missing", HOSTILE, "expected [2]")])
    root = check(error_junit("verify", error))
    (result,) = root.iter("error")
    assert (result.get("type"), result.get("message")) == ("PlanError", "model: 1 problem")
    assert (root.get("tests"), root.get("errors")) == ("1", "1")
    assert ESCAPED.replace("\\n", "\\n") in (result.text or "")
