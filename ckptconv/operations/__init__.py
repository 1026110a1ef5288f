"""One file = one verb; each is a function that the command line calls once and that callers may call."""

from ckptconv.operations._common import WriteOptions
from ckptconv.operations.convert import Conversion, pt2flax, pt2tf
from ckptconv.operations.inspect import Inspection, inspect
from ckptconv.operations.split import Split, split
from ckptconv.operations.verify import Verification, verify

__all__ = [
    "Conversion", "Inspection", "Split", "Verification", "WriteOptions", "inspect", "pt2flax", "pt2tf", "split",
    "verify",
]  # fmt: skip
