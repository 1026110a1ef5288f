"""`answers`: a child's arrays stay in its file, and the file goes with the last that reads from it."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from ckptconv.run.children import Scratch, StoredArrays


def test_arrays_are_read_one_by_one_and_the_folder_goes_with_them() -> None:
    """Each access reads; the directory is there as long as the arrays are, and no longer."""
    scratch = Scratch()
    folder = scratch.path
    np.savez(
        folder / "answers.npz",
        allow_pickle=False,
        **{"float32/full/logits": np.ones(3), "tokens": np.arange(2)},
        columns=np.arange(6.0).reshape(2, 3).T,
        number=np.float32(0.5),
        nothing=np.zeros((2, 0)),
    )
    arrays = StoredArrays(folder / "answers.npz", scratch)
    del scratch
    gc.collect()
    with np.load(folder / "answers.npz", allow_pickle=False) as expected:
        assert (list(arrays), len(arrays)) == (expected.files, 5)
        for name, array in arrays.items():
            assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
            assert np.array_equal(array, expected[name])
    assert arrays["tokens"] is not arrays["tokens"]
    with pytest.raises(KeyError):
        arrays["absent"]
    del array, arrays
    gc.collect()
    assert not folder.exists()


def test_a_file_that_is_cut_short_is_an_error_at_once(tmp_path: Path) -> None:
    """A child that died while it wrote has given no answer."""
    path = tmp_path / "answers.npz"
    np.savez(path, allow_pickle=False, tokens=np.arange(1000))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="zip"):
        StoredArrays(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        StoredArrays(path)
