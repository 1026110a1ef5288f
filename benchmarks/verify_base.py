"""Verify a random bert-base pair (0.99 GB), outputs too, against TF and Flax: both have to match.

    python benchmarks/verify_base.py [FOLDER]     needs 3 GB of disk; `make soak` runs it

The largest ratio of an error to PyTorch's own is printed, the coverage, the time, and the memory of the largest process
and of all at once: large models run in turn, so these differ by a framework that is imported and waits. It goes into
docs/verify.md.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bench import CKPTCONV
from make_pair import make_pair
from verify import family_peak

import ckptconv


def main(folder: Path) -> int:
    """Convert, verify, tell; return 1 if one of the two is called a mismatch."""
    make_pair(folder / "pt")
    ckptconv.pt2tf(folder / "pt", folder / "tf")
    ckptconv.pt2flax(folder / "pt", folder / "flax")
    matches = [verified(folder, target) for target in ("tf", "flax")]
    shutil.rmtree(folder)
    return 0 if all(matches) else 1


def verified(folder: Path, target: str) -> bool:
    """Run one comparison, print what was measured, and tell whether it matched."""
    said = folder / f"{target}.json"
    command = (*CKPTCONV, "verify", "--quiet", "--json", folder / "pt", folder / target)
    family = family_peak(command, {}, said, codes=(0, 1))
    report = json.loads(said.read_text())
    outputs = report["outputs"]
    rms, most = (
        max(one[name] for one in outputs["quantities"]) for name in ("rms_ratio", "max_ratio")
    )
    print(
        f"bert-base pair, {target}: {report['verdict']}, {len(outputs['quantities'])} quantities,"
        f" largest ratio {rms:.2f} (RMS), {most:.2f} (max), coverage {outputs['coverage']['percent']:.1f} %,"
        f" {family.seconds:.0f} s ({family.processor:.0f} s of processor), largest process {family.largest:.0f} MB,"
        f" all at once {family.at_once:.0f} MB",
        flush=True,
    )
    matches: bool = report["verdict"] == "match"
    return matches


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/work/verify-base")))
