"""Many conversions: each as if it were alone, resumed where they were stopped, and one true report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

import ckptconv
from batch_runs import (
    MakeModels,
    Start,
    finished,
    killed_again_and_again,
    require_whole,
)
from ckptconv.batches.batch import Batch
from ckptconv.batches.report import (
    batch_annotations,
    batch_json,
    batch_junit,
    batch_summary,
    verdict_text,
)
from ckptconv.batches.task import Outcome, Task, Verdict
from conftest import Cli, Counted

PLAN = """
[defaults]
command = "pt2tf"
level = "weights"

[[conversion]]
source = "models/*"
target = "out/{name}"
"""
VERIFIED = '[[conversion]]\ncommand = "verify"\nsource = "models/m000"\ntarget = "models/m002"\n'
COUNT = 8
"""Checkpoints of a run that is killed; on a cluster, in `make soak`, 200."""


@pytest.mark.thorough
def test_every_outcome_is_what_the_command_alone_says(
    make_models: MakeModels, monkeypatch: pytest.MonkeyPatch, run: Cli
) -> None:
    """A match, a mismatch, a refusal and a place that is taken: each is one, and none stops the others."""
    folder = make_models(4)
    monkeypatch.chdir(folder)
    (folder / "models" / "m001" / "model.safetensors").write_bytes(b"12345678")
    (folder / "out" / "m003").mkdir(parents=True)
    (folder / "out" / "m003" / "diary.txt").write_text("mine")
    (folder / "plan.toml").write_text(PLAN + VERIFIED)
    result = ckptconv.batch("plan.toml", jobs=2)
    outcomes = {outcome.task.target: outcome for outcome in result.outcomes}
    assert {target: outcome.verdict for target, outcome in outcomes.items()} == {
        "out/m000": "match",
        "out/m001": "refused",
        "out/m002": "match",
        "out/m003": "failed",
        "models/m002": "mismatch",
    }
    assert [outcome.exit_code for outcome in result.outcomes] == [0, 3, 0, 4, 1]
    assert (result.exit_code, result.matches) == (1, False)
    alone = run("verify", "--level", "weights", "models/m000", "models/m002", "--json")
    assert alone.code == 1
    assert "tensors differ" in outcomes["models/m002"].message
    assert (folder / "out" / "m003" / "diary.txt").read_text() == "mine"
    junit = Xml.fromstring(batch_junit(result))
    assert (junit.get("tests"), junit.get("failures"), junit.get("errors")) == ("5", "1", "2")
    assert sum(line.startswith("::error ") for line in batch_annotations(result)) == 3
    assert batch_summary(result).count("| match |") == 2
    assert str(result).splitlines()[-1] == (
        "MISMATCH: 5 conversions: 2 match, 1 mismatch, 1 refused, 1 failed"
    )


def test_one_word_for_all() -> None:
    """A batch is called what is worst in it, in text and JSON alike; what falls short of proof is no mismatch."""
    codes: dict[Verdict, int] = {"match": 0, "mismatch": 1, "not proven": 1, "refused": 3}
    expected = {
        ("match",): "match",
        ("match", "mismatch", "not proven", "refused"): "mismatch",
        ("match", "not proven", "refused"): "not proven",
        ("match", "refused"): "not done",
    }
    for verdicts, word in expected.items():
        outcomes = tuple(
            Outcome(Task("pt2tf", "a", name), name, codes[name], name)  # type: ignore[arg-type, index]
            for name in verdicts
        )
        result = Batch("plan.toml", Path("plan.batch"), outcomes, 1.0)
        assert batch_json(result)["verdict"] == word
        assert verdict_text(result).startswith(f"{word.upper()}: ")


@pytest.mark.thorough
def test_what_was_proven_is_proven_again_where_a_byte_changed(
    make_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record holds for the same bytes alone, of the source and of the target; without records, outputs are kept."""
    folder = make_models(3)
    monkeypatch.chdir(folder)
    (folder / "plan.toml").write_text(PLAN)
    first = ckptconv.batch("plan.toml", jobs=2)
    assert [(outcome.written, outcome.resumed) for outcome in first.outcomes] == [(True, False)] * 3
    with (folder / "out" / "m001" / "tf_model.h5").open("r+b") as file:
        file.seek(-8, 2)
        byte = file.read(1)
        file.seek(-8, 2)
        file.write(bytes([byte[0] ^ 1]))
    second = ckptconv.batch("plan.toml", jobs=2)
    assert [outcome.resumed for outcome in second.outcomes] == [True, False, True]
    assert second.outcomes[1].verdict == "failed"
    assert "already exists" in second.outcomes[1].message
    shutil.rmtree(folder / "out" / "m001")
    shutil.rmtree(folder / "plan.batch")
    third = ckptconv.batch("plan.toml", jobs=2)
    assert third.matches
    assert [outcome.written for outcome in third.outcomes] == [False, True, False]


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["pt2flax", "normalize"])
def test_every_command_knows_its_own_output(
    make_models: MakeModels, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A target that a killed run had published, and not yet verified, is verified; it is not refused as in the way."""
    folder = make_models(1)
    monkeypatch.chdir(folder)
    own = "heal = false\nforward_only = true\n" if command == "pt2flax" else ""
    options = f'dtype = "float16"\n{own}'
    (folder / "plan.toml").write_text(PLAN.replace("pt2tf", command) + options)
    assert ckptconv.batch("plan.toml", jobs=1).matches
    shutil.rmtree(folder / "plan.batch")
    again = ckptconv.batch("plan.toml", jobs=1)
    assert again.matches
    assert not again.outcomes[0].written


@pytest.mark.thorough
def test_notes_reach_every_report(
    make_models: MakeModels, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a conversion says beside its verdict: also of a target that an earlier run wrote, and of one that fails."""
    folder = make_models(2)
    monkeypatch.chdir(folder)
    (folder / "plan.toml").write_text(PLAN + 'dtype = "bfloat16"\n')
    note = "HDF5 has no bfloat16: --dtype bfloat16 writes float32, and rounds nothing to bfloat16"
    first = ckptconv.batch("plan.toml", jobs=1)
    shutil.rmtree(folder / "plan.batch")
    ended = run("batch", "plan.toml", "--jobs", 1, "--html", "page.html")
    assert ended.err.count(note) == 1
    assert note in (folder / "page.html").read_text()
    (folder / "models/m001/model.safetensors").write_bytes(b"12345678")
    again = ckptconv.batch("plan.toml", jobs=1)
    assert [note in outcome.notices for outcome in first.outcomes] == [True, True]
    assert [note in outcome.notices for outcome in again.outcomes] == [True, False]
    for text in (batch_junit(again), batch_summary(again), json.dumps(batch_json(again))):
        assert text.count(note) == 1


@pytest.mark.thorough
def test_killed_at_random_points_and_resumed(
    make_models: MakeModels, start: Start, counted: Counted
) -> None:
    """However often a run is killed, every output is whole, and the last report is true."""
    folder = make_models(COUNT)
    (folder / "plan.toml").write_text(PLAN + VERIFIED)
    arguments = ("plan.toml", "--jobs", 2, "--quiet")
    kills = killed_again_and_again(start, arguments, folder, 3.0, seed=1, most=4)
    code, report, _ = finished(start, *arguments)
    assert require_whole(folder / "out") == COUNT
    verdicts = [entry["verdict"] for entry in report["conversions"]]
    assert (code, verdicts) == (1, ["match"] * COUNT + ["mismatch"])
    for entry in report["conversions"][:COUNT:3]:
        pair = (folder / entry["source"], folder / entry["target"])
        assert ckptconv.verify(*pair, "weights").matches
    records = [json.loads(path.read_text()) for path in (folder / "plan.batch").glob("*.json")]
    assert len(records) == COUNT
    assert not list((folder / "out").glob(".ckptconv-*"))
    counted(f"batch: {kills} runs of {COUNT} checkpoints killed, resumed to the end")


@pytest.mark.thorough
def test_the_command_line(
    make_models: MakeModels, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern, its progress on stderr, its reports, and options that make no sense together."""
    folder = make_models(2)
    monkeypatch.chdir(folder)
    page, junit = folder / "page.html", folder / "junit.xml"
    args = ("batch", "models/*", "--to", "out/{name}", "--level", "weights")
    ended = run(*args, "--html", page, "--junit", junit)
    assert (ended.code, ended.out.splitlines()[-1][:21]) == (0, "MATCH: 2 conversions,")
    assert "[2/2] MATCH pt2tf models/m00" in ended.err
    assert "2 of 2" in page.read_text()
    assert page.stat().st_size < 100_000
    assert Xml.parse(junit).getroot().get("tests") == "2"
    assert "2 of them proven before" in run(*args).out
    assert run("batch", "plan.toml", "--level", "weights").code == 2
    assert run(*args, "--jobs", 2, "--dask", "tcp://127.0.0.1:1").code == 2
    assert run("batch", "nosuch.toml").code == 3
