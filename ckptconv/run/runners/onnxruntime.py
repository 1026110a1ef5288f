"""ONNX Runtime: artefacts that `export --format onnx` wrote, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import ProgramSession, artefact_support
from ckptconv.stores.artefact import read_artefact

ERRORS_ONLY = 3
"""Severity of messages: every input that has a default would be a warning."""


class OnnxRuntime(Runner):
    """The runtime of Microsoft, in a process that can import nothing else."""

    name = "onnxruntime"
    process = Process(
        modules=("onnxruntime",),
        extra="onnx",
        distributions=("onnxruntime", "numpy"),
        fence=("onnxruntime",),
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what an artefact takes."""
        return artefact_support("the ONNX artefact")

    def load(self, path: Path, precision: str, model_class: str) -> ProgramSession:
        """Open an artefact; a program is loaded when it is first run. `precision` is float32."""
        runtime, artefact = import_module("onnxruntime"), read_artefact(path)

        @cache
        def session(program: str) -> Any:
            options = runtime.SessionOptions()
            options.log_severity_level = ERRORS_ONLY
            return runtime.InferenceSession(
                str(artefact.file(program)), options, providers=["CPUExecutionProvider"]
            )

        def run(program: str, feed: Batch) -> Mapping[str, Array]:
            opened = session(program)
            names = [value.name for value in opened.get_outputs()]
            return dict(zip(names, opened.run(names, dict(feed)), strict=True))

        settings: dict[str, Json] = {"device": "cpu", "provider": "CPUExecutionProvider"}
        return ProgramSession(artefact, run, settings)


RUNNER = OnnxRuntime()
