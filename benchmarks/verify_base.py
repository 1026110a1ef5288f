"""Verify a random bert-base pair (0.99 GB), outputs too, against TF and Flax: both have to match.

    python benchmarks/verify_base.py [FOLDER]     needs 3 GB of disk; `make soak` runs it

The largest ratio of an error to PyTorch's own is printed, and the time: it goes into docs/verify.md.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from make_pair import make_pair

import ckptconv


def main(folder: Path) -> int:
    """Convert, verify, tell; return 1 if one of the two is called a mismatch."""
    make_pair(folder / "pt")
    ckptconv.pt2tf(folder / "pt", folder / "tf")
    ckptconv.pt2flax(folder / "pt", folder / "flax")
    matches = []
    for target in ("tf", "flax"):
        begun = time.monotonic()
        result = ckptconv.verify(folder / "pt", folder / target)
        assert result.outputs
        rms, most = (max(one.ratios[n] for one in result.outputs.quantities) for n in (0, 1))
        matches.append(result.matches)
        said = "match" if result.matches else "MISMATCH"
        print(f"bert-base pair, {target}: {said}, {len(result.outputs.quantities)} quantities, largest ratio {rms:.2f}"
              f" (RMS), {most:.2f} (max), {time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
    shutil.rmtree(folder)
    return 0 if all(matches) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/work/verify-base")))
