"""Do two checkpoints compute the same? Both run on the same probes, each in a process of its own.

The yardstick is PyTorch's own rounding: its float32 answer against its float64 answer, from the same
weights. A faithful conversion is as far from float64 as PyTorch itself is, give or take the order of
its additions; a wrong one is hundreds of times further. So the rule needs no tolerance that depends
on the model: error <= FACTOR x yardstick, for the mean and for the worst element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ckptconv.compare import Array, Difference, difference
from ckptconv.composition import Composition
from ckptconv.config import Json, read_json
from ckptconv.errors import FrameworkError
from ckptconv.frameworks._children import Answer, Job, run_children
from ckptconv.probes import PADDED, SpecialTokens, make_probes, new_tokens, special_tokens
from ckptconv.table import DialectName

__all__ = [
    "MAX_FACTOR", "RMS_FACTOR", "Answer", "ForwardReport", "Job", "Quantity", "TokenReport",
    "compare_forward", "run_children",
]  # fmt: skip

Side: TypeAlias = Literal["source", "target"]

RMS_FACTOR = 8.0
"""How many times the yardstick an RMS error may be."""
MAX_FACTOR = 16.0
"""The same for the worst element, which scatters more."""

RESULTS = ("encoder.last", "logits")
"""What both sides must answer; a class may keep the states in between to itself."""

EPSILON = float(np.finfo(np.float32).eps)
"""Floor of the yardstick, relative to the RMS of the reference: some quantities (a sum of two table
rows) happen to be almost exact in PyTorch, and no other framework has to be as lucky."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one probe, on both sides, against the float64 reference."""

    probe: str
    name: str
    source: Difference | None
    """Source against reference, over valid positions; None where it cannot be compared."""
    target: Difference | None
    yardstick: Side
    """Which side's error is the yardstick: the one that PyTorch runs."""
    problem: str = ""
    """Why it cannot be compared: a shape."""

    @property
    def ratios(self) -> tuple[float, float]:
        """Error over yardstick, as RMS and at the worst element; infinite where nothing was compared."""
        if self.source is None or self.target is None:
            return float("inf"), float("inf")
        sides = (self.source, self.target)
        ruler, judged = sides if self.yardstick == "source" else sides[::-1]
        floor = max(EPSILON * ruler.reference_rms, float(np.finfo(np.float64).tiny))
        return judged.rms / max(ruler.rms, floor), judged.worst / max(ruler.worst, floor)

    @property
    def matches(self) -> bool:
        """True where both ratios are within their factors and neither side has a NaN."""
        if self.source is None or self.target is None or self.source.nans or self.target.nans:
            return False
        if not np.isfinite(self.source.worst) or not np.isfinite(self.target.worst):
            return False
        rms, worst = self.ratios
        return rms <= RMS_FACTOR and worst <= MAX_FACTOR


@dataclass(frozen=True, slots=True)
class TokenReport:
    """Greedy generation, token by token."""

    rows: int
    compared: int
    """Tokens after the start token, over all rows."""
    distinct: int
    """Different tokens that the source generated; 1 proves little."""
    mismatch: tuple[int, int, int, int] | None
    """The first: row, position after the start token, source's token, target's (-1: already ended)."""


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """What running both models showed."""

    quantities: tuple[Quantity, ...]
    """In the order of the data flow, probe by probe."""
    tokens: TokenReport | None
    texts: tuple[tuple[str, str, str], ...]
    """Text, the source's answer, the target's answer."""
    loading: tuple[str, ...]
    """Tensors that the target's class missed, did not expect, or found in another shape."""
    notices: tuple[str, ...]
    source: Answer
    target: Answer

    @property
    def matches(self) -> bool:
        """True where everything that was compared matches."""
        return (
            bool(self.quantities)
            and all(one.matches for one in self.quantities)
            and (self.tokens is None or self.tokens.mismatch is None)
            and all(source == target for _, source, target in self.texts)
            and not self.loading
        )


def compare_forward(
    composition: Composition,
    source: Path,
    target: Path,
    target_dialect: DialectName,
    *,
    source_dialect: DialectName = "pytorch",
    seed: int = 0,
    texts: Sequence[str] = (),
    timeout: float | None = None,
) -> ForwardReport:
    """Run both checkpoints on probes made from `composition`, the source's, and compare.

    Raises: FrameworkError: a framework is missing, a child failed, or neither side is PyTorch's.
    """
    if "pytorch" not in (source_dialect, target_dialect):
        raise FrameworkError(
            f"{source_dialect} against {target_dialect}: one side must be PyTorch's, to give the reference."
        )
    probes = make_probes(composition, seed)
    special = special_tokens(composition, _own_generation(source))
    settings = _greedy(special, new_tokens(composition))
    ruler: Side = "source" if source_dialect == "pytorch" else "target"
    jobs = [
        Job(dialect, path, probes, _precisions(side == ruler), settings, tuple(texts))
        for side, dialect, path in (("source", source_dialect, source), ("target", target_dialect, target))
    ]
    one, other = run_children(jobs, timeout)
    tokens = _tokens(one.arrays["tokens"], other.arrays["tokens"])
    return ForwardReport(
        quantities=tuple(_quantities(probes, one, other, ruler)),
        tokens=tokens,
        texts=tuple(zip(texts, one.texts, other.texts, strict=True)),
        loading=other.problems,
        notices=tuple(_notices(composition, probes, special, tokens, one, other)),
        source=one,
        target=other,
    )


def _precisions(reference: bool) -> tuple[str, ...]:
    return ("float32", "float64") if reference else ("float32",)


def _own_generation(checkpoint: Path) -> Mapping[str, Json]:
    path = checkpoint / "generation_config.json"
    return read_json(path) if path.is_file() else {}


def _greedy(special: SpecialTokens, length: int) -> dict[str, Json]:
    """Return plain greedy search with the checkpoint's token ids, the same for both sides.

    Not its other settings: Flax ignores some of them (repetition_penalty), and a min_length beyond
    the few tokens that are generated here is refused.
    """
    return {
        "decoder_start_token_id": special.decoder_start,
        "bos_token_id": special.decoder_start,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        "num_beams": 1,
        "do_sample": False,
        "max_new_tokens": length,
    }


def _quantities(probes: Mapping[str, Array], source: Answer, target: Answer, ruler: Side) -> Iterator[Quantity]:
    """Compare what both sides answered in float32 with the float64 of the one that PyTorch ran."""
    reference = (source if ruler == "source" else target).arrays
    for key, exact in reference.items():
        precision, _, rest = key.partition("/")
        if precision != "float64":
            continue
        probe, _, name = rest.partition("/")
        prefix = "" if name.startswith("encoder.") else "decoder_"
        valid = probes[f"{probe}.{prefix}attention_mask"] == 1
        pair = source.arrays.get(f"float32/{rest}"), target.arrays.get(f"float32/{rest}")
        if pair[0] is None or pair[1] is None:
            if name in RESULTS:
                yield Quantity(probe, name, None, None, ruler, "reported by one side only")
            continue  # and said in a notice
        if pair[0].shape != exact.shape or pair[1].shape != exact.shape:
            shapes = f"source {list(pair[0].shape)}, target {list(pair[1].shape)}"
            yield Quantity(probe, name, None, None, ruler, f"the shapes differ: {shapes}")
            continue
        found = [difference(array[valid], exact[valid]) for array in (pair[0], pair[1])]
        yield Quantity(probe, name, found[0], found[1], ruler)


def _tokens(source: Array, target: Array) -> TokenReport:
    apart = np.argwhere(source != target)
    mismatch = None
    if len(apart):
        row, step = (int(n) for n in apart[0])
        mismatch = (row, step, int(source[row, step]), int(target[row, step]))
    distinct = len(np.unique(source[source >= 0]))
    return TokenReport(len(source), int(np.count_nonzero(source >= 0)), distinct, mismatch)


def _notices(
    composition: Composition,
    probes: Mapping[str, Array],
    special: SpecialTokens,
    tokens: TokenReport,
    source: Answer,
    target: Answer,
) -> Iterator[str]:
    """Say what was left out, chosen, or done otherwise than a user might think."""
    for side in ("", "decoder_"):
        mask = probes[f"{PADDED}.{side}attention_mask"]
        what = "decoder" if side else "encoder"
        yield f"{int((mask == 0).sum())} padded {what} positions of {mask.size} are left out of the comparison"
    dtype = composition.config.get("dtype") or composition.config.get("torch_dtype")
    if dtype not in (None, "float32"):
        yield f"the weights are {dtype}; both sides computed in float32 from the same values"
    for choice in special.chosen:
        yield f"no config names it, so {choice} was used to generate"
    if tokens.distinct < 2:
        yield "the source generated one and the same token throughout: equal tokens say little here"
    yield from (f"loading the source: {problem}" for problem in source.problems)
    names = [{key for key in side.arrays if key.startswith("float32/")} for side in (source, target)]
    only = sorted(key.partition("/")[2] for key in names[0] ^ names[1])
    if only:
        yield f"reported by one side only, and not compared: {', '.join(only)}"
    for key in sorted(source.generation.keys() | target.generation.keys()):
        one, other = source.generation.get(key), target.generation.get(key)
        if one != other and key not in ("transformers_version", "_from_model_config"):
            yield f"generation config: {key} is {one} in the source, {other} in the target"
