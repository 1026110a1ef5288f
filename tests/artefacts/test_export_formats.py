"""`export` writes every format, through the command's own child: whole artefacts, the same bytes each time."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.verbs.export import ExportOptions, export
from tiny import plain, random_pair

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a pair whose search has beams."""
    folder = tmp_path_factory.mktemp("export") / "source"
    random_pair(plain("bert"), plain("bert"), folder)
    _set(folder, num_beams=2, max_length=9)
    return folder


def _set(folder: Path, **values: Any) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def digests(folder: Path) -> dict[str, str]:
    """Return file -> sha256 of everything."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.soak
def test_int8_says_what_it_costs(source: Path, tmp_path: Path) -> None:
    """A smaller file, its loss in the record and in a notice; beams are rows of the file."""
    options = ExportOptions(settings={"int8": True, "batch": 2, "length": 16})
    result = export(source, tmp_path / "out", "litert", options)
    loss: Any = result.record["int8"]
    assert 0 < loss["relative_error"] < 1
    assert 0 <= loss["same_best_token"] <= 1
    assert any(notice.startswith("int8: the logits are off by") for notice in result.notices)
    assert set(result.files) >= {"model.tflite", "driver.py", "artefact.json", "run.py"}
    assert "model.safetensors" not in result.files


@pytest.mark.soak
def test_what_the_driver_lacks_is_refused_by_name(tmp_path: Path) -> None:
    """All at once, before anything is written."""
    source = random_pair(plain("bert"), plain("bert"), tmp_path / "source")
    _set(source, num_beams=4, max_length=9, renormalize_logits=True)
    with pytest.raises(SourceError) as refusal:
        export(source, tmp_path / "out", "litert", ExportOptions(settings={"length": 4000}))
    for words in ("renormalize_logits = True", "num_beams = 4", "--batch 4", "--length 4000"):
        assert words in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
@pytest.mark.thorough
@pytest.mark.parametrize("form", ["savedmodel", "jax", "litert"])
def test_the_same_checkpoint_gives_the_same_bytes(
    form: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Program, weights and record; in processes of their own, whose garbage is collected at other moments."""
    options = ExportOptions(settings={"batch": 2, "length": 16} if form == "litert" else {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    contents = []
    for seed, collects in (("1", "disable()"), ("2", "set_threshold(300, 5, 5)")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)  # the child is another process
        (tmp_path / "sitecustomize.py").write_text(f"import gc\ngc.{collects}\n")
        contents.append(digests(export(source, tmp_path / seed, form, options).target))
    assert contents[0] == contents[1]


@pytest.mark.soak
def test_orbax_holds_the_weights_once_more(source: Path, tmp_path: Path) -> None:
    """What `--orbax` adds is restored by Orbax's own reader: tensor name -> array."""
    import numpy as np
    from orbax.checkpoint import StandardCheckpointer
    from safetensors.numpy import load_file

    from ckptconv.artefacts.lowering.jax_export import write_orbax

    folder = Path(copytree(source, tmp_path / "copy"))
    write_orbax(folder)
    with StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore((folder / "orbax").absolute())
    tensors = load_file(source / "model.safetensors")
    assert set(restored) == set(tensors)
    assert all(np.array_equal(restored[name], tensors[name]) for name in tensors)
