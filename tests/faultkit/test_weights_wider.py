"""Faults planted into good conversions of models of one piece, of images and of sound: each one is found and named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import ckptconv
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import NamingName
from ckptconv.verbs.verify import compare_weights
from faultkit.faults import faults, planted
from faultkit.models import Conversion, converted
from faultkit.settings import config_faults, misconfigured
from wholes import KINDS, families, names

SAMPLE = {("seq2seq", "t5"), ("seq2seq", "marian"), ("vision", "beit"), ("speech", "wav2vec2")}
"""Models that together have what the others have: a shared table, sines, tables of distances, weight norms."""
STAND_INS = ("m2m_100", "plbart", "mvp")
amount = pytest.mark.parametrize(
    "sample",
    [
        pytest.param(True, marks=pytest.mark.thorough, id="a sample"),
        pytest.param(False, marks=pytest.mark.soak, id="all"),
    ],
)


def random_whole(kind: str, family: str, variant: str, folder: Path) -> Path:
    """Write a checkpoint of PyTorch's with random weights, by the tables: each shared tensor once."""
    config = dict(names(kind, family)["variants"][variant]["config"])
    model, random = read_model(Config(config)), np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for tensor in model.tensors:
        shared = tensor.tied_to and tensor.module.tied
        if not tensor.is_written_in("pytorch") or shared:
            continue
        shape, formula = tensor.shape("pytorch"), tensor.module.formula
        values = random.standard_normal(shape).astype(np.float32)
        zeros = tensor.module.presence == "zeros" or formula is not None
        arrays[tensor.names_in("pytorch")[0]] = (
            values if not zeros or formula is None else formula.values(shape)
        )
    folder.mkdir()
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def conversions(naming: NamingName, root: Path, *, sample: bool) -> Iterator[Conversion]:
    """Convert every model that a framework's class can hold, in its plain form."""
    for kind in KINDS:
        held = [*families(kind, naming), *(STAND_INS if kind == "seq2seq" else ())]
        for family in held:
            if sample and (kind, family) not in SAMPLE:
                continue
            source = random_whole(kind, family, "plain", root / f"{kind}-{family}")
            yield converted(source, naming, root / f"{kind}-{family}-converted", family)


@amount
@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_every_fault_in_a_tensor_is_found_and_named(
    naming: NamingName, sample: bool, tmp_path: Path
) -> None:
    """A fault of each kind in each model: the report names the tensors that were changed, and no others."""
    wrong, count = [], 0
    for model in conversions(naming, tmp_path, sample=sample):
        assert compare_weights(model.source, model.composition, model.target).matches, model.title
        kinds = {fault.kind: fault for fault in faults(model.tensors)}
        for fault in kinds.values():
            count += 1
            with planted(fault, model.by_name):
                report = compare_weights(model.source, model.composition, model.target)
            told = {difference.name for difference in report.differences}
            if report.matches or told != fault.values.keys():
                wrong.append(f"{model.title}: {fault}: {told}")
    assert count >= 20
    assert wrong == []


@amount
@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_every_fault_in_a_config_is_found_and_named(
    naming: NamingName, sample: bool, tmp_path: Path
) -> None:
    """With equal weights the key is told."""
    wrong, count = [], 0
    for model in conversions(naming, tmp_path, sample=sample):
        source, target = model.source.path, model.target.path
        for fault in config_faults(model.composition, target):
            count += 1
            with misconfigured(fault, target):
                verification = ckptconv.verify(source, target, "weights")
            keys = [each.key for each in verification.where.config] if verification.where else []
            if verification.matches or keys != [fault.named]:
                wrong.append(f"{model.title}: {fault}: {keys}")
    assert count >= 5
    assert wrong == []
