"""What `export` prints of an artefact's size."""

from __future__ import annotations

from pathlib import Path

from ckptconv.report.export import export_text
from ckptconv.verbs.export import Export


def test_the_ratio_is_of_all_files() -> None:
    """Every file of the artefact counts, the manifest too, over the files of the checkpoint's weights."""
    result = Export(
        source=Path("dates"),
        target=Path("out"),
        pair="bert -> bert",
        format="onnx",
        record={},
        files={"model.safetensors": 1_000_000, "step.onnx": 50_000, "ckptconv.json": 30_000},
        source_bytes=1_000_000,
        notices=(),
    )
    assert export_text(result).splitlines() == [
        "bert -> bert -> out: onnx, 1.1 MB in all, 1.08 times the checkpoint's weights",
        "Prove it: ckptconv verify dates out",
    ]
