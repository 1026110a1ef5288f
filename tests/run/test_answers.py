"""`answers`: a child's arrays stay in its file, and the file goes with the last that reads from it."""

from __future__ import annotations

import gc

import numpy as np

from ckptconv.run.children import Scratch, StoredArrays


def test_arrays_are_read_one_by_one_and_the_folder_goes_with_them() -> None:
    """Each access reads; the directory is there as long as the arrays are, and no longer."""
    scratch = Scratch()
    folder = scratch.path
    np.savez(
        folder / "answers.npz",
        allow_pickle=False,
        **{"float32/full/logits": np.ones(3), "tokens": np.arange(2)},
    )
    arrays = StoredArrays(folder / "answers.npz", scratch)
    del scratch
    gc.collect()
    assert (list(arrays), len(arrays)) == (["float32/full/logits", "tokens"], 2)
    assert arrays["tokens"].tolist() == [0, 1]
    assert arrays["tokens"] is not arrays["tokens"]
    del arrays
    gc.collect()
    assert not folder.exists()
