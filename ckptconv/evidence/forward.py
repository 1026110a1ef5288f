"""Do two checkpoints compute the same? Both run on the same probes, each in a process of its own.

How an error is judged is `yardstick.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ckptconv.compare import Array, difference
from ckptconv.composition import Composition
from ckptconv.config import Json, read_json
from ckptconv.errors import FrameworkError
from ckptconv.evidence.children import Answer, Job, run_children
from ckptconv.evidence.probes import PADDED, SpecialTokens, make_probes, new_tokens, special_tokens
from ckptconv.evidence.yardstick import RESULTS, ForwardReport, Quantity, Side, TokenReport
from ckptconv.table import DialectName


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
    comparison = prepare(
        composition, source, target, target_dialect, source_dialect=source_dialect, seed=seed, texts=texts
    )
    return comparison.judge(*run_children(comparison.jobs, timeout))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints, the jobs for their frameworks, and what is needed to judge the answers."""

    composition: Composition
    probes: Mapping[str, Array]
    special: SpecialTokens
    ruler: Side
    jobs: tuple[Job, Job]
    """The source's and the target's."""

    def judge(self, one: Answer, other: Answer) -> ForwardReport:
        """Compare the source's answer with the target's."""
        tokens = _tokens(one.arrays["tokens"], other.arrays["tokens"])
        return ForwardReport(
            quantities=tuple(_quantities(self.probes, one, other, self.ruler)),
            tokens=tokens,
            texts=tuple(zip(self.jobs[0].texts, one.texts, other.texts, strict=True)),
            loading=other.problems,
            notices=tuple(_notices(self.composition, self.probes, self.special, tokens, one, other)),
            source=one,
            target=other,
        )


def prepare(
    composition: Composition,
    source: Path,
    target: Path,
    target_dialect: DialectName,
    *,
    source_dialect: DialectName = "pytorch",
    seed: int = 0,
    texts: Sequence[str] = (),
) -> Comparison:
    """Make probes and jobs for two checkpoints.

    Raises: FrameworkError: neither side is PyTorch's.
    """
    if "pytorch" not in (source_dialect, target_dialect):
        raise FrameworkError(
            f"{source_dialect} against {target_dialect}: one side must be PyTorch's, to give the reference."
        )
    probes = make_probes(composition, seed)
    special = special_tokens(composition, _own_generation(source))
    settings = _greedy(special, new_tokens(composition))
    ruler: Side = "source" if source_dialect == "pytorch" else "target"
    one, other = (
        Job(dialect, path, probes, _precisions(side == ruler), settings, tuple(texts))
        for side, dialect, path in (("source", source_dialect, source), ("target", target_dialect, target))
    )
    return Comparison(composition, probes, special, ruler, (one, other))


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
        valid = _valid(probes, probe, name, exact)
        pair = source.arrays.get(f"float32/{rest}"), target.arrays.get(f"float32/{rest}")
        if pair[0] is None or pair[1] is None:
            if name in RESULTS:
                yield Quantity(probe, name, None, None, ruler, "reported by one side only")
            continue  # and said in a notice
        if valid is None:
            if name in RESULTS:
                yield Quantity(probe, name, None, None, ruler, "fewer states than tokens, some of them padding")
            continue  # and said in a notice
        if pair[0].shape != exact.shape or pair[1].shape != exact.shape:
            shapes = f"source {list(pair[0].shape)}, target {list(pair[1].shape)}"
            yield Quantity(probe, name, None, None, ruler, f"the shapes differ: {shapes}")
            continue
        found = [difference(array[valid], exact[valid]) for array in (pair[0], pair[1])]
        yield Quantity(probe, name, found[0], found[1], ruler)


def _valid(probes: Mapping[str, Array], probe: str, name: str, states: Array) -> Array | None:
    """Return which positions of some states count: those of tokens that are not padding.

    None: there are fewer states than tokens (Funnel's blocks pool them), so that some are of both.
    """
    prefix = "" if name.startswith("encoder.") else "decoder_"
    mask = probes[f"{probe}.{prefix}attention_mask"]
    valid: Array = mask == 1
    if states.shape[:2] == mask.shape:
        return valid
    return np.ones(states.shape[:2], bool) if valid.all() else None


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
    states = {key.rpartition("/")[2]: array for key, array in source.arrays.items() if f"float32/{PADDED}/" in key}
    pooled = [name for name, array in states.items() if _valid(probes, PADDED, name, array) is None]
    if pooled:
        yield f"fewer states than tokens, so not compared where tokens are padding: {', '.join(pooled)}"
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
