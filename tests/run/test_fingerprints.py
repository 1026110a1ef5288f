"""`fingerprints`: what holds the same model has the same digests, in whatever framework and format."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptconv
from ckptconv.run.fingerprints import STORED, Fingerprint, fingerprints
from ckptconv.schema.model import read_model, without_fixes
from ckptconv.stores.checkpoint import open_checkpoint
from covering import covering

if TYPE_CHECKING:
    from conftest import MakePair, Pair


def of(path: Path, casts: tuple[str, ...] = ()) -> dict[str, Fingerprint]:
    """Return the digests of a directory."""
    checkpoint = open_checkpoint(path)
    return fingerprints(checkpoint, read_model(without_fixes(checkpoint.config)), casts)


def test_digests_are_of_the_bytes(pair: Pair, tmp_path: Path) -> None:
    """Of a PyTorch checkpoint they are those of its own data, and of numpy's cast."""
    result = of(pair.write(tmp_path / "source"), STORED)
    assert result.keys() == pair.arrays.keys()
    for name, array in pair.arrays.items():
        one = result[name]
        assert (one.dtype, one.shape, one.origin) == ("float32", array.shape, name)
        assert one.sha256.keys() == set(STORED)
        assert one.sha256["float32"] == sha256(array.tobytes()).hexdigest()
        assert one.sha256["float16"] == sha256(array.astype(np.float16).tobytes()).hexdigest()


FAMILIES = [("bert", "bert"), ("roberta", "gpt2"), ("gpt2", "roberta")]
WAYS = [("pt2tf", "hdf5"), ("pt2tf", "safetensors"), ("pt2flax", "msgpack")]


@pytest.mark.parametrize(
    ("families", "way", "dtype"), covering(FAMILIES, WAYS, ["float32", "float16", "bfloat16"])
)
def test_a_conversion_has_its_sources_digests(
    make_pair: MakePair, tmp_path: Path, families: tuple[str, str], way: tuple[str, str], dtype: Any
) -> None:
    """Transposed, renamed, healed, cast and with a bridge: put back, every tensor has a digest that was recorded."""
    dec = {"n_embd": 5} if families[1] == "gpt2" else {"hidden_size": 5}
    source = make_pair(*families, dec=dec).write(tmp_path / "source")
    verb, form = way
    getattr(ckptconv, verb)(source, tmp_path / "out", form, ckptconv.WriteOptions(dtype=dtype))
    recorded, result = of(source, STORED), of(tmp_path / "out")
    stored = "float32" if (form, dtype) == ("hdf5", "bfloat16") else dtype
    assert {item.dtype for item in result.values()} == {stored}
    assert {name: one.sha256[stored] for name, one in result.items()} == {
        name: one.sha256[stored] for name, one in recorded.items()
    }
