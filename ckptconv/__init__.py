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
    from ckptconv.operations.convert import flax2pt, normalize, pt2flax, pt2tf, tf2pt
    from ckptconv.operations.families import families
    from ckptconv.operations.inspect import Inspection, inspect
    from ckptconv.operations.join import JoinOptions, join
    from ckptconv.operations.split import Split, split
    from ckptconv.operations.verify import Verification, verify
    from ckptconv.operations.writing import Conversion, WriteOptions

__all__ = [
    "CkptconvError",
    "Conversion",
    "DestinationError",
    "FrameworkError",
    "Inspection",
    "Interrupted",
    "JoinOptions",
    "PlanError",
    "Problem",
    "SourceError",
    "Split",
    "Verification",
    "WriteOptions",
    "__version__",
    "families",
    "flax2pt",
    "inspect",
    "join",
    "normalize",
    "pt2flax",
    "pt2tf",
    "split",
    "tf2pt",
    "verify",
]  # fmt: skip

_MODULES = (
    "errors",
    "operations.writing",
    "operations.inspect",
    "operations.families",
    "operations.split",
    "operations.convert",
    "operations.join",
    "operations.verify",
)
"""Where the public names live; imported when one is first used, so that `ckptconv --help` starts at once."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _MODULES:
            module = import_module(f"ckptconv.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
