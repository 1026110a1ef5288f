"""What `demo` wrote."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, counted, one_line, printable, prose, size

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.demo import Demo

PROOFS = {
    "dates-t5": ' --text "the 3rd of March, 1998"',
    "digits": " --inputs {path}/heldout/inputs.jsonl",
}
"""Model -> how to prove a conversion of it with inputs of its own; of others the weights alone, without a framework."""


def demo_text(result: Demo, screen: Screen = PIPE) -> str:
    """Return what was written, and what to try with it."""
    from ckptconv.verbs.demo import MODELS

    path = one_line(str(result.path))
    what = f"{path}: {MODELS[result.model]}; {counted(len(result.files), 'file')}, {size(result.nbytes)}"
    source, target = quote(path), quote(f"{path}-tf")
    proof = PROOFS.get(result.model, " --level weights").format(path=source)
    commands = (  # whole, whatever their length, since they are copied
        f"  ckptconv inspect {source}",
        f"  ckptconv pt2tf {source} {target}",
        f"  ckptconv verify {source} {target}{proof}",
    )
    return printable("\n".join([prose(what, screen), "", "Try:", *commands]))


def demo_json(result: Demo) -> dict[str, Json]:
    """Return the same for --json."""
    body: dict[str, Json] = {
        "path": str(result.path),
        "model": result.model,
        "files": list(result.files),
        "bytes": result.nbytes,
    }
    return stamped("demo", body)
