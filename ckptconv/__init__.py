"""Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    import ckptconv

    ckptconv.pt2tf("bert2bert", "bert2bert-tf")
    assert ckptconv.verify("bert2bert", "bert2bert-tf").matches

The command line is `ckptconv`; each of its verbs is one function here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ckptconv.errors import (
        CkptconvError,
        DestinationError,
        FrameworkError,
        Interrupted,
        PlanError,
        Problem,
        SourceError,
    )
    from ckptconv.operations import WriteOptions, inspect, pt2flax, pt2tf, split, verify

_HOME = {
    **dict.fromkeys(("WriteOptions", "inspect", "pt2flax", "pt2tf", "split", "verify"), "operations"),
    **dict.fromkeys(("CkptconvError", "DestinationError", "FrameworkError", "Interrupted", "PlanError", "Problem",
                     "SourceError"), "errors"),
}  # fmt: skip
"""Name -> module; imported when it is first used, so that `ckptconv --help` starts at once."""

__all__ = [
    "CkptconvError", "DestinationError", "FrameworkError", "Interrupted", "PlanError", "Problem", "SourceError",
    "WriteOptions", "__version__", "inspect", "pt2flax", "pt2tf", "split", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"ckptconv.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
