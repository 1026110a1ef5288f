"""What `inspect` found, as JSON: everything, with NaN and infinities as null."""

from __future__ import annotations

from math import isfinite

from ckptconv.base.strict_json import Json
from ckptconv.report.inspect import matching
from ckptconv.report.text import problems_json
from ckptconv.verbs.inspection import Inspection, TensorLine


def inspection_json(result: Inspection, *, tensors: str = "") -> dict[str, Json]:
    """Return an inspection for --json; `tensors` is a glob that leaves the other tensors away."""
    found: dict[str, Json] = {
        "path": str(result.path),
        "kind": result.kind,
        "pair": result.pair,
        "model_type": result.model_type,
        "saved_by": result.saved_by,
        "dialect": result.naming,
        "format": result.format,
        "files": list(result.files),
        "file_bytes": result.file_bytes,
        "dtypes": list(result.dtypes),
        "parameters": result.parameters,
        "bytes": result.nbytes,
        "refusal": result.refusal,
        "problems": problems_json(result.problems),
        "unused": list(result.unused),
        "code_hooks": list(result.code_hooks),
    }
    found["sides"] = [
        {
            "role": one.role,
            "model_type": one.model_type,
            "layers": one.layers,
            "hidden": one.hidden,
            "heads": one.heads,
            "vocabulary": one.vocabulary,
        }
        for one in result.sides
    ]
    found["parts"] = [
        {
            "name": one.name,
            "tensors": one.tensors,
            "parameters": one.parameters,
            "bytes": one.nbytes,
        }
        for one in result.parts
    ]
    found["ties"] = [
        {
            "tensor": one.name,
            "repeats": one.repeats,
            "stored": one.stored,
            "difference": one.difference,
        }
        for one in result.ties
    ]
    found["targets"] = [
        {
            "verb": one.verb,
            "converts": one.converts,
            "refusal": one.refusal,
            "conditions": list(one.conditions),
            "notices": list(one.notices),
        }
        for one in result.targets
    ]
    found["findings"] = (
        [
            {"sign": one.sign, "text": one.text, "tensors": list(one.tensors)}
            for one in result.findings
        ]
        if result.measured
        else None
    )
    found["tensors"] = [_tensor(line) for line in matching(result, tensors or "*")]
    return found


def _tensor(line: TensorLine) -> dict[str, Json]:
    found: dict[str, Json] = {
        "name": line.spec.name,
        "part": line.part,
        "layer": line.layer,
        "dtype": line.spec.dtype,
        "shape": list(line.spec.shape),
        "bytes": line.spec.nbytes,
        "file": line.file,
    }
    if line.statistics:
        one = line.statistics
        found["statistics"] = {
            "min": _number(one.minimum),
            "max": _number(one.maximum),
            "mean": _number(one.mean),
            "std": _number(one.std),
            "kurtosis": _number(one.kurtosis),
            "nan": one.nans,
            "inf": one.infinities,
            "zeros": one.zeros,
            "sampled": one.sampled,
            "histogram": list(one.histogram),
        }
        found["signs"] = list(line.signs)
    return found


def _number(value: float) -> float | None:
    """Return a number as JSON has it."""
    return value if isfinite(value) else None
