"""Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    import ckptconv

    ckptconv.pt2tf("bert2bert", "bert2bert-tf")
    assert ckptconv.verify("bert2bert", "bert2bert-tf").matches

The command line is `ckptconv`; each of its verbs is one function here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckptconv.version import __version__

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
    from ckptconv.evidence.yardstick import Tolerance
    from ckptconv.guards.limits import Limits, limited
    from ckptconv.operations.check import Checked, Finding, check
    from ckptconv.operations.convert import flax2pt, normalize, pt2flax, pt2tf, tf2pt
    from ckptconv.operations.diff import Diff, diff
    from ckptconv.operations.doctor import Component, Diagnosis, doctor
    from ckptconv.operations.families import families
    from ckptconv.operations.inspect import inspect
    from ckptconv.operations.inspection import Inspection
    from ckptconv.operations.join import JoinOptions, join
    from ckptconv.operations.record import Recording, record
    from ckptconv.operations.split import Split, split
    from ckptconv.operations.verify import Verification, verify
    from ckptconv.operations.writing import Conversion, WriteOptions
    from ckptconv.trials.selftest import SelfTest, selftest

__all__ = [
    "Checked",
    "CkptconvError",
    "Component",
    "Conversion",
    "DestinationError",
    "Diagnosis",
    "Diff",
    "Finding",
    "FrameworkError",
    "Inspection",
    "Interrupted",
    "JoinOptions",
    "Limits",
    "PlanError",
    "Problem",
    "Recording",
    "SelfTest",
    "SourceError",
    "Split",
    "Tolerance",
    "Verification",
    "WriteOptions",
    "__version__",
    "check",
    "diff",
    "doctor",
    "families",
    "flax2pt",
    "inspect",
    "join",
    "limited",
    "normalize",
    "pt2flax",
    "pt2tf",
    "record",
    "selftest",
    "split",
    "tf2pt",
    "verify",
]  # fmt: skip

_MODULES = (
    "errors",
    "guards.limits",
    "evidence.yardstick",
    "operations.writing",
    "operations.check",
    "operations.inspect",
    "operations.inspection",
    "operations.families",
    "operations.doctor",
    "operations.split",
    "operations.convert",
    "operations.join",
    "operations.diff",
    "operations.record",
    "operations.verify",
    "trials.selftest",
)
"""Where the public names live; imported when one is first used, so that `ckptconv --help` starts at once."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _MODULES:
            found = getattr(import_module(f"ckptconv.{home}"), name, None)
            if getattr(found, "__module__", "").removeprefix("ckptconv.") in _MODULES:  # not one that it imports
                return found
    raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
