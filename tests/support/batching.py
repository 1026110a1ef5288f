"""Several commands in one process, for what takes longest to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SCRIPT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from ckptconv.cli.main import main
answers = []
for args in json.load(sys.stdin):
    out, err, code, sys.argv = io.StringIO(), io.StringIO(), 0, ["ckptconv", *args]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    answers.append((code, out.getvalue(), err.getvalue()))
json.dump(answers, sys.stdout)
"""


def run_all(
    commands: Iterable[Iterable[object]], env: dict[str, str]
) -> list[tuple[int, str, str]]:
    """Return exit code, stdout and stderr of each command line; `env` is added to the environment."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **env}
    asked = json.dumps([[str(arg) for arg in args] for args in commands])
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=asked,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [(code, out, err) for code, out, err in json.loads(process.stdout)]
