"""What `verify` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptconv.render._text import MAX_PROBLEMS, printable, problems_json, size, table

if TYPE_CHECKING:
    from ckptconv.config import Json
    from ckptconv.evidence.yardstick import ForwardReport, Quantity
    from ckptconv.operations.verify import Verification, WeightsReport


def verification_text(result: Verification) -> str:
    """Return the evidence and, on the last line, the verdict."""
    blocks = [_weights_text(result.weights)]
    if result.outputs:
        blocks += list(_outputs_text(result.outputs))
    verdict = "MATCH" if result.matches else "MISMATCH"
    how = "weights and outputs" if result.outputs else "weights"
    blocks.append(f"{verdict}: {result.pair}, {result.dialect} {result.format} against PyTorch, {how}")
    return printable("\n\n".join(blocks))


def notices(result: Verification) -> Iterator[str]:
    """Return what the user should know beside the verdict."""
    yield from result.weights.notices
    if result.outputs:
        yield from result.outputs.notices


def _weights_text(report: WeightsReport) -> str:
    if report.matches:
        return f"weights  {report.tensors} tensors, {size(report.nbytes)}: every bit is the source's"
    lines = [f"weights  {len(report.differences)} of {report.tensors} tensors differ"]
    lines += [f"  differs     {one.name}: {one}" for one in report.differences[:MAX_PROBLEMS]]
    lines += [f"  {problem}" for problem in report.problems[:MAX_PROBLEMS]]
    more = len(report.differences) + len(report.problems) - len(lines) + 1
    return "\n".join([*lines, *([f"  ... and {more} more (--json lists them all)"] if more > 0 else [])])


def _outputs_text(report: ForwardReport) -> Iterator[str]:
    rows = []
    for kind in dict.fromkeys(_kind(one) for one in report.quantities):
        members = [one for one in report.quantities if _kind(one) == kind]
        worst = max(members, key=lambda one: max(one.ratios))
        rms, most = (max(one.ratios[n] for one in members) for n in (0, 1))
        within = sum(one.matches for one in members)
        rows.append((kind, f"{within} of {len(members)}", f"{rms:.2f}", f"{most:.2f}", f"{worst.probe} {worst.name}"))
    headers = ("outputs", "within", "rms ratio", "max ratio", "the farthest")
    yield table(rows, headers, ("left", "right", "right", "right", "left"))
    bad = [one for one in report.quantities if not one.matches]
    if bad:
        rms, most = bad[0].ratios
        reason = bad[0].problem or f"error is {rms:.3g} times the source's own (max {most:.3g})"
        yield f"first outside, in the order of the data flow: {bad[0].probe} {bad[0].name}: {reason}"
    if report.loading:
        yield "\n".join(["the class that loaded the target complained:", *(f"  {one}" for one in report.loading)])
    if report.tokens:
        yield _tokens_text(report)
    if report.texts:
        yield table(report.texts, ("text", "source", "target"))


def _kind(quantity: Quantity) -> str:
    """Return the group of a quantity: encoder, decoder, logits."""
    return quantity.name.partition(".")[0]


def _tokens_text(report: ForwardReport) -> str:
    tokens = report.tokens
    assert tokens is not None
    if tokens.mismatch is None:
        return f"tokens   {tokens.compared} generated greedily in {tokens.rows} rows: the same, one by one"
    row, step, one, other = tokens.mismatch
    return f"tokens   differ in row {row} at step {step}: source {one}, target {other}"


def verification_json(result: Verification) -> dict[str, Json]:
    """Return a verification for --json."""
    weights = result.weights
    return {
        "verdict": "match" if result.matches else "mismatch",
        "source": str(result.source),
        "target": str(result.target),
        "pair": result.pair,
        "dialect": result.dialect,
        "format": result.format,
        "weights": {
            "match": weights.matches,
            "tensors": weights.tensors,
            "bytes": weights.nbytes,
            "differences": [
                {"name": one.name, "differing": one.differing, "elements": one.numel, "worst": _number(one.worst)}
                for one in weights.differences
            ],
            "problems": problems_json(weights.problems),
        },
        "outputs": _outputs_json(result.outputs) if result.outputs else None,
        "notices": list(notices(result)),
    }


def _outputs_json(report: ForwardReport) -> dict[str, Json]:
    tokens = report.tokens
    return {
        "match": report.matches,
        "quantities": [_quantity_json(one) for one in report.quantities],
        "tokens": None if tokens is None else {
            "match": tokens.mismatch is None,
            "rows": tokens.rows,
            "compared": tokens.compared,
            "mismatch": list(tokens.mismatch) if tokens.mismatch else None,
        },
        "texts": [list(one) for one in report.texts],
        "loading": list(report.loading),
        "versions": {**report.source.versions, **report.target.versions},
        "settings": {report.source.framework: dict(report.source.settings),
                     report.target.framework: dict(report.target.settings)},
        "seconds": {report.source.framework: report.source.seconds, report.target.framework: report.target.seconds},
    }  # fmt: skip


def _quantity_json(one: Quantity) -> dict[str, Json]:
    rms, most = one.ratios
    return {
        "probe": one.probe,
        "name": one.name,
        "match": one.matches,
        "rms_ratio": _number(rms),
        "max_ratio": _number(most),
        "source_rms": _number(one.source.rms) if one.source else None,
        "target_rms": _number(one.target.rms) if one.target else None,
        "problem": one.problem,
    }


def _number(value: float) -> Json:
    """Return a number, or None for what JSON has no number for."""
    return value if value == value and abs(value) != float("inf") else None
