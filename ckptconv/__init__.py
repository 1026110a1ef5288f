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
    from ckptconv.base.errors import (
        CkptconvError,
        DestinationError,
        FrameworkError,
        Interrupted,
        PlanError,
        Problem,
        SourceError,
    )
    from ckptconv.base.limits import Limits, limited
    from ckptconv.run.yardstick import Tolerance
    from ckptconv.trials.selftest import SelfTest, selftest
    from ckptconv.verbs.check import Checked, Finding, check
    from ckptconv.verbs.convert import flax2pt, normalize, pt2flax, pt2tf, tf2pt
    from ckptconv.verbs.diff import Diff, diff
    from ckptconv.verbs.doctor import Component, Diagnosis, doctor
    from ckptconv.verbs.export import Export, ExportOptions, export
    from ckptconv.verbs.families import families
    from ckptconv.verbs.inspect import inspect
    from ckptconv.verbs.inspection import Inspection
    from ckptconv.verbs.join import JoinOptions, join
    from ckptconv.verbs.record import Recording, record
    from ckptconv.verbs.split import Split, split
    from ckptconv.verbs.verify import Verification, verify
    from ckptconv.verbs.writing import Conversion, WriteOptions

__all__ = [
    "Checked",
    "CkptconvError",
    "Component",
    "Conversion",
    "DestinationError",
    "Diagnosis",
    "Diff",
    "Export",
    "ExportOptions",
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
    "export",
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
]

_MODULES = (
    "base.errors",
    "base.limits",
    "run.yardstick",
    "verbs.writing",
    "verbs.check",
    "verbs.inspect",
    "verbs.inspection",
    "verbs.families",
    "verbs.doctor",
    "verbs.split",
    "verbs.convert",
    "verbs.join",
    "verbs.export",
    "verbs.diff",
    "verbs.record",
    "verbs.verify",
    "trials.selftest",
)
"""Where the public names live; imported when one is first used, so that `ckptconv --help` starts at once."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _MODULES:
            found = getattr(import_module(f"ckptconv.{home}"), name, None)
            if (
                getattr(found, "__module__", "").removeprefix("ckptconv.") in _MODULES
            ):  # not one that it imports
                return found
    raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
