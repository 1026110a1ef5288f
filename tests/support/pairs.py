"""Random pairs, converted and run by the real classes: one process for each framework answers them all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

from ckptconv.base.errors import FrameworkError
from ckptconv.run.children import Answer, run_batches
from ckptconv.run.forward import Comparison, ForwardReport, Runnable, prepare
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import read_config
from ckptconv.verbs.convert import WriteOptions, pt2flax, pt2tf
from tiny import CONFIGS, decoders, encoders, plain, random_pair

FIRST = ("bert", "roberta", "gpt2")
"""Families that are tried in every combination and every format; the others with bert and with themselves."""
FORMATS = (("bert", "bert"), ("roberta", "gpt2"))
"""Pairs that the sample has in every format; the others are each family with itself or with bert, in one."""
SHARD_BYTES = 20_000
SEEDS = int(os.environ.get("CKPTCONV_SEEDS", "1"))
"""How often the weights of each pair are drawn. Again costs little: all that is compiled has the same shapes."""
GROUP = 4
"""Seeds whose answers are held at once."""


@dataclass(frozen=True, slots=True)
class Case:
    """One pair, to one framework, in one format."""

    encoder: str
    decoder: str
    naming: NamingName
    form: str
    shards: bool = False
    seed: int = 0

    @property
    def runs(self) -> bool:
        """True where the model runs; the other formats of a pair hold the same tensors, and are only loaded."""
        return self.form in ("hdf5", "msgpack") and not self.shards

    def __str__(self) -> str:
        return f"{self.encoder}-{self.decoder}-{self.naming}-{self.form}{'-shards' if self.shards else ''}-{self.seed}"


class Ratios(NamedTuple):
    """How far one honest quantity is from float64, in parts of PyTorch's own error."""

    kind: str
    rms: float
    worst: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case."""

    wrong: tuple[str, ...]
    """What should not be: a tensor that was not loaded, a quantity off the yardstick, another token, an error."""
    ratios: tuple[Ratios, ...] = ()
    """Of each quantity."""
    ties: int = 0
    """Rows that parted where rounding alone decides."""


def cases() -> list[Case]:
    """Return every case, from the data in fixtures/."""
    result = []
    namings: tuple[tuple[NamingName, str], ...] = (("tf", "hdf5"), ("flax", "msgpack"))
    for naming, form in namings:
        pairs = {(encoder, "bert") for encoder in encoders(naming)} | {
            ("bert", decoder) for decoder in decoders(naming)
        }
        pairs |= {(encoder, encoder) for encoder in set(encoders(naming)) & set(decoders(naming))}
        pairs |= {(encoder, decoder) for encoder in FIRST for decoder in FIRST}
        for encoder, decoder in sorted(pairs):
            result.append(Case(encoder, decoder, naming, form))
            if encoder in FIRST and decoder in FIRST:
                result.append(Case(encoder, decoder, naming, form, shards=True))
                result.append(Case(encoder, decoder, naming, "safetensors"))
                result += (
                    [Case(encoder, decoder, naming, "safetensors", shards=True)]
                    if naming == "tf"
                    else []
                )
    return [
        replace(case, seed=seed)
        for case in result
        for seed in (range(SEEDS) if case.runs else (0,))
    ]


def is_sampled(case: Case) -> bool:
    """Tell whether `make test` tries a case: every family once, on each side that it can be on, in TF or in Flax.

    A family that both can hold is tried in one of them, by turns.
    """
    encoder, decoder = case.encoder, case.decoder
    if (encoder, decoder) in FORMATS:
        return True
    family = encoder if decoder == "bert" else decoder
    is_both = family in encoders(case.naming) and family in decoders(case.naming)
    partner = family if is_both else "bert"
    in_turn = {encoder, decoder} == {family, partner} and _naming_of(family) == case.naming
    return case.runs and in_turn


def searched(case: Case, searches: Mapping[str, Any]) -> dict[str, Any]:
    """Return which searches a case runs: all of them among many seeds and outside the sample.

    A search runs the decoder, over states that are compared anyway: the sample searches with each decoder of each
    framework once, with its first encoder there; with beams too where the decoder is one of FIRST.
    """
    if SEEDS > 1 or not is_sampled(case):
        return dict(searches)
    if _probed(case) not in _searched():
        return {}
    return {
        name: how for name, how in searches.items() if case.decoder in FIRST or name == "greedy"
    }


@cache
def _searched() -> set[tuple[object, ...]]:
    """Return the sources of the sample that generate."""
    sample = [case for case in cases() if case.runs and is_sampled(case)]
    return set({(case.naming, case.decoder): _probed(case) for case in reversed(sample)}.values())


def _naming_of(family: str) -> NamingName:
    """Return the framework in which the sample tries a family."""
    namings: list[NamingName] = [
        naming for naming in ("tf", "flax") if family in (*encoders(naming), *decoders(naming))
    ]
    return namings[sorted(CONFIGS).index(family) % len(namings)]


def outcomes(root: Path, chosen: Sequence[Case]) -> dict[Case, Outcome]:
    """Make, convert, run and judge cases, some seeds at a time."""
    judged: dict[Case, Outcome] = {}
    for first in range(0, SEEDS, GROUP):
        group = [case for case in chosen if first <= case.seed < first + GROUP]
        answers = reports(root / str(first), group)
        judged |= {case: _outcome(report) for case, report in answers.items()}
        rmtree(root / str(first))
    return judged


def _outcome(report: ForwardReport | Answer | FrameworkError) -> Outcome:
    """Keep of a report what a test asks for, so that its arrays can go."""
    if isinstance(report, FrameworkError):
        return Outcome((str(report),))
    if isinstance(report, Answer):
        return Outcome(report.problems)
    outside = [
        f"{item.probe} {item.name}: {item.problem or item.ratios}" for item in report.outside
    ]
    forks = [
        f"{generation.name}: {fork}"
        for generation in report.generations
        for fork in generation.mismatches
    ]
    wrong = (*report.loading, *outside, *forks)
    ratios = tuple(Ratios(quantity.kind, *quantity.ratios) for quantity in report.quantities)
    ties = sum(len(generation.ties) for generation in report.generations)
    return Outcome(wrong or (() if report.matches else ("no match",)), ratios, ties)


def reports(
    root: Path, chosen: Sequence[Case]
) -> dict[Case, ForwardReport | Answer | FrameworkError]:
    """Make, convert and run some cases; the answer of a case that is only loaded stands for itself."""
    made: dict[tuple[str, str, int], Path] = {}
    comparisons: dict[Case, Comparison] = {}
    for case in chosen:
        pair = (case.encoder, case.decoder, case.seed)
        if pair not in made:
            folder = root / "-".join(map(str, pair))
            made[pair] = random_pair(
                plain(case.encoder), plain(case.decoder), folder, seed=case.seed
            )
        comparison = prepare(
            read_model(read_config(made[pair])),
            Runnable("pytorch", made[pair]),
            Runnable(case.naming, _converted(case, made[pair], root)),
        )
        searches = searched(case, comparison.jobs[0].generate)
        jobs = tuple(replace(job, generate=searches) for job in comparison.jobs)
        comparisons[case] = replace(comparison, jobs=jobs)
    return _answers(comparisons)


def _converted(case: Case, source: Path, root: Path) -> Path:
    target = root / str(case)
    convert = pt2tf if case.naming == "tf" else pt2flax
    convert(
        source,
        target,
        case.form,
        WriteOptions(max_shard_bytes=SHARD_BYTES if case.shards else None),
    )
    return target


def _answers(
    comparisons: dict[Case, Comparison],
) -> dict[Case, ForwardReport | Answer | FrameworkError]:
    """Run three processes, one a framework, and judge what they answer; a source once for each target's probes."""
    sources = {_probed(case): one.jobs[0] for case, one in comparisons.items()}
    targets = {
        case: one.jobs[1] if case.runs else replace(one.jobs[1], probes={}, generate={})
        for case, one in comparisons.items()
    }
    by_naming = {name: [case for case in targets if case.naming == name] for name in ("tf", "flax")}
    batches = [
        list(sources.values()),
        *([targets[case] for case in some] for some in by_naming.values()),
    ]
    answers = run_batches(batches)
    source_of = dict(zip(sources, answers[0], strict=True))
    result: dict[Case, ForwardReport | Answer | FrameworkError] = {}
    for some, batch in zip(by_naming.values(), answers[1:], strict=True):
        for case, answer in zip(some, batch, strict=True):
            source = source_of[_probed(case)]
            if case.runs and isinstance(answer, Answer) and isinstance(source, Answer):
                result[case] = comparisons[case].judge(source, answer)
            else:
                result[case] = source if isinstance(source, FrameworkError) else answer
    return result


def _probed(case: Case) -> tuple[object, ...]:
    """Return what decides a source's weights and probes."""
    return case.encoder, case.decoder, case.naming, case.seed
