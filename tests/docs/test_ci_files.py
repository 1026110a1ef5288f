"""The action, the GitLab template, the pre-commit hooks and the Dockerfile: their steps run here as far as they can."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import click
import pytest

from ckptconv.cli.main import cli

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
JOBS = yaml.safe_load((ROOT / "ci" / "gitlab.yml").read_text())
GITLAB, GITLAB_BATCH = JOBS[".ckptconv"], JOBS[".ckptconv-batch"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
FLAX = {"COMMAND": "pt2flax", "TARGET": "model-flax", "LEVEL": "weights"}


@pytest.fixture
def shell(tmp_path: Path, dates: Path) -> dict[str, str]:
    """Return an environment with `ckptconv` on the path, and a model to convert."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ckptconv"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptconv "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SOURCE": str(dates)}


def bash(
    script: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a script as a runner does."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def run_action(folder: Path, shell: dict[str, str], **inputs: str) -> Any:
    """Run the action's second step with its defaults and some inputs."""
    values = {
        name.upper(): str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()
    }
    environment = {**values, **shell, "REPORTS": str(folder / "reports"), **inputs}
    environment["GITHUB_ACTIONS"] = "true"
    environment["GITHUB_STEP_SUMMARY"] = str(folder / "summary.md")
    return bash(STEPS["Convert and verify"]["run"], folder, environment)


def test_inputs_reach_scripts_by_the_environment_alone() -> None:
    """No expression stands in a script, where an input could end a command and begin another."""
    text = (ROOT / "action.yml").read_text()
    used = set(re.findall(r"\$\{\{[^}]*inputs\.(\w+)", text))
    assert used == ACTION["inputs"].keys()
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []


@pytest.mark.thorough
def test_the_action_converts_and_verifies(tmp_path: Path, shell: dict[str, str]) -> None:
    """The target is there, the reports too, and the summary of the job says match."""
    run = run_action(tmp_path, shell, **FLAX, ARGUMENTS="--max-shard-size 500KB")
    assert (run.returncode, run.stdout.splitlines()[-1].split(":")[0]) == (0, "MATCH")
    assert len(list((tmp_path / "model-flax").glob("flax_model-*"))) == 4
    assert Xml.parse(tmp_path / "reports" / "verify.xml").getroot().get("failures") == "0"
    assert (tmp_path / "reports" / "verify.html").exists()
    assert "verify: match" in (tmp_path / "summary.md").read_text()


@pytest.mark.thorough
def test_the_action_fails_with_the_cause(
    tmp_path: Path, shell: dict[str, str], dates: Path
) -> None:
    """A mismatch fails the step with exit code 1, an annotation that names the cause, and the reports."""
    assert run_action(tmp_path, shell, **FLAX, VERIFY="false", EXTRAS="").returncode == 0
    config = json.loads((tmp_path / "model-flax" / "config.json").read_text())
    config["encoder"]["hidden_act"] = "relu"
    (tmp_path / "model-flax" / "config.json").write_text(json.dumps(config))
    run = run_action(tmp_path, shell, **{**FLAX, "COMMAND": "verify"}, EXTRAS="pytorch")
    assert run.returncode == 1
    assert "::error title=verify%3A mismatch::cause: 1 config key differs" in run.stderr
    assert not (tmp_path / "reports" / "verify.html").exists()


@pytest.mark.thorough
def test_the_action_runs_a_batch(tmp_path: Path, shell: dict[str, str], dates: Path) -> None:
    """Of a pattern with a target, and of a plan without one; no other command is run without a target."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").symlink_to(dates)
    batch = {"COMMAND": "batch", "LEVEL": "weights"}
    run = run_action(tmp_path, shell, **batch, SOURCE="models/*", TARGET="out/{name}")
    assert (run.returncode, run.stdout.splitlines()[-1][:21]) == (0, "MATCH: 1 conversion, ")
    assert Xml.parse(tmp_path / "reports" / "batch.xml").getroot().get("tests") == "1"
    assert (tmp_path / "reports" / "batch.html").exists()
    assert "ckptconv batch: MATCH" in (tmp_path / "summary.md").read_text()
    (tmp_path / "plan.toml").write_text('[[conversion]]\ncommand = "none"\n')
    refused = run_action(tmp_path, shell, **batch, SOURCE="plan.toml")
    assert refused.returncode == 2
    assert "::error title=batch%3A UsageError::plan.toml" in refused.stderr
    without = run_action(tmp_path, shell, COMMAND="pt2tf")
    assert (without.returncode, "pt2tf needs the input target" in without.stdout) == (2, True)


@pytest.mark.thorough
def test_the_gitlab_template(tmp_path: Path, shell: dict[str, str]) -> None:
    """Its script converts, verifies, and leaves what GitLab reads."""
    environment = {**GITLAB["variables"], **shell, **FLAX}
    run = bash("\n".join(GITLAB["script"]), tmp_path, environment)
    assert (run.returncode, run.stdout.splitlines()[-1].split(":")[0]) == (0, "MATCH")
    report = GITLAB["artifacts"]["reports"]["junit"]
    assert Xml.parse(tmp_path / report).getroot().get("failures") == "0"


@pytest.mark.thorough
def test_the_gitlab_template_runs_a_batch(
    tmp_path: Path, shell: dict[str, str], dates: Path
) -> None:
    """Of a pattern with a target, by the command that the job names, and of a plan without one."""
    assert GITLAB_BATCH["extends"] == ".ckptconv"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").symlink_to(dates)
    script, report = (
        "\n".join(GITLAB_BATCH["script"]),
        GITLAB_BATCH["artifacts"]["reports"]["junit"],
    )
    environment = {
        **GITLAB["variables"],
        **shell,
        **FLAX,
        "SOURCE": "models/*",
        "TARGET": "out/{name}",
    }
    run = bash(script, tmp_path, environment)
    assert (run.returncode, run.stdout.splitlines()[-1][:21]) == (0, "MATCH: 1 conversion, ")
    assert (tmp_path / "out" / "a" / "flax_model.msgpack").exists()
    assert Xml.parse(tmp_path / report).getroot().get("tests") == "1"
    (tmp_path / "plan.toml").write_text('[[conversion]]\ncommand = "none"\n')
    refused = bash(script, tmp_path, {**environment, "SOURCE": "plan.toml", "TARGET": ""})
    assert (refused.returncode, "plan.toml" in refused.stderr) == (2, True)


@pytest.mark.thorough
def test_the_hooks(tmp_path: Path, shell: dict[str, str], dates: Path, converted_tf: Path) -> None:
    """Each passes for what is right, says nothing, and fails for what is not."""
    arguments = {
        "ckptconv-check": ([converted_tf], [dates]),
        "ckptconv-verify-weights": ([dates, converted_tf], [dates, tmp_path]),
    }
    assert arguments.keys() == {hook["id"] for hook in HOOKS}
    for hook in HOOKS:
        right, wrong = (shlex.join(map(str, words)) for words in arguments[hook["id"]])
        run = bash(f"{hook['entry']} {right}", tmp_path, shell)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert bash(f"{hook['entry']} {wrong}", tmp_path, shell).returncode != 0


def test_what_is_installed_exists() -> None:
    """Every extra that a CI file installs is one of pyproject.toml's, and every command one of ours."""
    text = f"{DOCKERFILE}{ACTION['inputs']['extras']['default']}"
    extras = set(re.findall(r"'(?:\.|/src)\[([\w,]+)\]'", DOCKERFILE))
    named = {extra for group in extras for extra in group.split(",")}
    named |= set(ACTION["inputs"]["extras"]["default"].split(","))
    named |= set(GITLAB["variables"]["EXTRAS"].split(","))
    assert named <= EXTRAS.keys(), text
    commands = re.split(r", | or ", ACTION["inputs"]["command"]["description"])
    assert set(commands) <= set(cli.list_commands(click.Context(cli)))


def test_the_dockerfile() -> None:
    """It has the four targets, copies what exists, and never runs as root in the end."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [stage.split()[2] for stage in stages] == ["core", "tf", "flax", "export"]
    for stage in stages:
        assert re.findall(r"^USER (\w+)$", stage, re.MULTILINE)[-1] == "1000"
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed
