"""What `inspect` found, as JSON: everything, with NaN and infinities as null."""

from __future__ import annotations

from math import isfinite

from ckptconv.base.strict_json import Json
from ckptconv.report.documents import stamped
from ckptconv.report.inspect import matching
from ckptconv.report.text import problems_json
from ckptconv.verbs.inspection import Inspection, TensorLine


def inspection_json(result: Inspection, *, tensors: str = "") -> dict[str, Json]:
    """Return an inspection for --json; `tensors` is a glob that leaves the other tensors away."""
    document: dict[str, Json] = {
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
        "reading": list(result.reading),
        "code_hooks": list(result.code_hooks),
    }
    document["sides"] = [
        {
            "role": side.role,
            "model_type": side.model_type,
            "layers": side.layers,
            "hidden": side.hidden,
            "heads": side.heads,
            "vocabulary": side.vocabulary,
        }
        for side in result.sides
    ]
    document["parts"] = [
        {
            "name": part.name,
            "tensors": part.tensors,
            "parameters": part.parameters,
            "bytes": part.nbytes,
        }
        for part in result.parts
    ]
    document["ties"] = [
        {
            "tensor": tie.name,
            "repeats": tie.repeats,
            "stored": tie.stored,
            "difference": tie.difference,
        }
        for tie in result.ties
    ]
    document["targets"] = [
        {
            "verb": target.verb,
            "converts": target.converts,
            "refusal": target.refusal,
            "conditions": list(target.conditions),
            "notices": list(target.notices),
        }
        for target in result.targets
    ]
    document["findings"] = (
        [
            {"sign": finding.sign, "text": finding.text, "tensors": list(finding.tensors)}
            for finding in result.findings
        ]
        if result.measured
        else None
    )
    document["tensors"] = [_tensor(line) for line in matching(result, tensors or "*")]
    return stamped("inspection", document)


def _tensor(line: TensorLine) -> dict[str, Json]:
    document: dict[str, Json] = {
        "name": line.spec.name,
        "part": line.part,
        "layer": line.layer,
        "dtype": line.spec.dtype,
        "shape": list(line.spec.shape),
        "bytes": line.spec.nbytes,
        "file": line.file,
    }
    if line.statistics:
        statistics = line.statistics
        document["statistics"] = {
            "min": _number(statistics.minimum),
            "max": _number(statistics.maximum),
            "mean": _number(statistics.mean),
            "std": _number(statistics.std),
            "kurtosis": _number(statistics.kurtosis),
            "nan": statistics.nans,
            "inf": statistics.infinities,
            "zeros": statistics.zeros,
            "sampled": statistics.sampled,
            "histogram": list(statistics.histogram),
        }
        document["signs"] = list(line.signs)
    return document


def _number(value: float) -> float | None:
    """Return a number as JSON has it."""
    return value if isfinite(value) else None
