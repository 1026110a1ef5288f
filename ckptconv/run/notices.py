"""What a user should know beside the verdict: what was left out, chosen, or done otherwise than one might think."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptconv.run.measuring import Measuring
from ckptconv.run.special_tokens import NOT_SETTINGS, SpecialTokens, unnamed_tokens
from ckptconv.run.tokens import Generation
from ckptconv.run.yardstick import LOOSE, Quantity
from ckptconv.schema.model import Model

NAMED = 4
"""How many quantities a notice names; the JSON report has them all."""


def notices(
    model: Model,
    special: SpecialTokens,
    measuring: Measuring,
    quantities: Sequence[Quantity],
    generations: Sequence[Generation],
) -> Iterator[str]:
    """Return one sentence for each."""
    yield from _padding(measuring)
    for why, names in measuring.not_compared().items():
        yield f"not compared, since {why}: {_some(names)}"
    dtype = model.config.get("dtype") or model.config.get("torch_dtype")
    if dtype not in (None, "float32"):
        yield f"the weights are {dtype}; both sides computed in float32 from the same values"
    for choice in special.chosen:
        yield f"no config names it, so {choice} was used to generate"
    yield from _texts(special, measuring)
    loose = [
        f"{quantity.probe} {quantity.name}"
        for quantity in quantities
        if quantity.own and quantity.own.relative > LOOSE
    ]
    if loose:
        yield f"PyTorch's own float32 is off by more than {LOOSE:.0%}, so nothing can be judged: {_some(loose)}"
    for generation in generations:
        if generation.distinct < 2:
            yield (
                f"the source generated one and the same token throughout ({generation.name}):"
                " equal tokens say little here"
            )
        for fork in generation.ties:
            yield (
                f"{generation.name}: row {fork.row} parts at step {fork.step},"
                f" source {fork.source}, target {fork.target}: a tie, {fork.gap:.2g} apart where"
                f" rounding alone makes {fork.noise:.2g}; compared up to there"
            )
    yield from (f"loading the source: {problem}" for problem in measuring.source.problems)
    yield from _generation(measuring)


def _texts(special: SpecialTokens, measuring: Measuring) -> Iterator[str]:
    """Say which tokens the answers to texts took from elsewhere than from the generation config."""
    tokens = {
        "decoder_start_token_id": special.decoder_start,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
    }
    sides = {"source": measuring.source, "target": measuring.target}
    for key, token in tokens.items():
        lacking = [
            side
            for side, answer in sides.items()
            if answer.texts and key in unnamed_tokens(answer.generation)
        ]
        if lacking and f"{key} = {token}" not in special.chosen:
            yield (
                f"the generation config of the {' and the '.join(lacking)} does not name"
                f" {key}: {token} was used for the texts, as for the other searches"
            )


def _padding(measuring: Measuring) -> Iterator[str]:
    """Say how many positions hold padding, and which rows nothing else."""
    masks = {
        name: mask for name, mask in measuring.probes.items() if name.endswith("attention_mask")
    }
    for side in ("encoder", "decoder"):
        own = [mask for name, mask in masks.items() if ("decoder_" in name) is (side == "decoder")]
        padded, total = sum(int((mask == 0).sum()) for mask in own), sum(mask.size for mask in own)
        if padded:
            yield f"{padded} padded {side} positions of {total} are left out of the comparison"
    for name, mask in masks.items():
        empty = int((mask == 0).all(axis=1).sum())
        if empty:
            yield f"{name}: {empty} rows hold nothing but padding, and are left out of the comparison"


def _generation(measuring: Measuring) -> Iterator[str]:
    """Say which settings for generation the two checkpoints do not share."""
    first, second = measuring.source.generation, measuring.target.generation
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key) and key not in NOT_SETTINGS:
            yield f"generation config: {key} is {first.get(key)} in the source, {second.get(key)} in the target"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
