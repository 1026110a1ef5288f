"""The half of `inspect` that reads the values: figures for each tensor, and what in them looks wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from ckptconv.base.errors import PlanError
from ckptconv.binding.identify import Identity
from ckptconv.binding.moves import Equality
from ckptconv.compare.duplicates import duplicates
from ckptconv.compare.initialisation import NewModule, is_decisive, new_modules
from ckptconv.compare.statistics import Statistics, measure
from ckptconv.compare.weights import check_equal
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.parsers.checksums import require_checksums
from ckptconv.verbs.inspection import Finding, Inspection, Sign, Target, Tie


def with_values(
    result: Inspection,
    checkpoint: Checkpoint,
    identity: Identity,
    equalities: Mapping[str, tuple[Equality, ...]],
    progress: Callable[[int, int], None],
) -> Inspection:
    """Return an inspection with figures, findings, and the ties and conditions compared.

    Args: equalities: what each verb compares before it writes.
    Raises: SourceError: a file cannot be read, or is not what its own checksums say.
    """
    stored = [checkpoint.weights.tensors[line.spec.name] for line in result.tensors]
    require_checksums(stored)
    measured = measure(stored, progress)
    figures = {
        tensor.spec.name: statistics for tensor, statistics in zip(stored, measured, strict=True)
    }
    groups = [tuple(tensor.spec.name for tensor in group) for group in duplicates(stored, measured)]
    differences = _compared(
        (
            *(tensor for some in equalities.values() for tensor in some),
            *_stored_twice(result, checkpoint),
        )
    )
    checkpoint.require_unchanged()
    ties = tuple(_tie(tie, differences) for tie in result.ties)
    findings = tuple(_findings(identity, figures, groups, ties))
    signs: dict[str, list[Sign]] = {}
    for finding in findings:
        for name in finding.tensors:
            signs.setdefault(name, []).append(finding.sign)
    lines = (
        replace(
            line,
            statistics=figures[line.spec.name],
            signs=tuple(dict.fromkeys(signs.get(line.spec.name, ()))),
        )
        for line in result.tensors
    )
    return replace(
        result,
        tensors=tuple(lines),
        ties=ties,
        targets=tuple(
            _decided(target, equalities.get(target.verb, ()), differences)
            for target in result.targets
        ),
        findings=findings,
        measured=True,
    )


def _stored_twice(result: Inspection, checkpoint: Checkpoint) -> Iterator[Equality]:
    """Return the ties of a PyTorch checkpoint that no plan compares, since something else stops the verbs."""
    tensors = checkpoint.weights.tensors
    for tie in result.ties:
        if tie.stored and checkpoint.weights.naming == "pytorch":
            pair = tensors[tie.repeats], tensors[tie.name]
            if pair[0].spec.shape == pair[1].spec.shape:
                yield Equality(*pair, "not equal", "the config ties them")


def _key(pair: Equality) -> tuple[str, str]:
    return pair.second.spec.name, pair.first.spec.name


def _compared(pairs: Iterable[Equality]) -> dict[tuple[str, str], str]:
    """Compare pairs of tensors; empty where they are equal, else what is wrong."""
    differences: dict[tuple[str, str], str] = {}
    for pair in pairs:
        if _key(pair) not in differences:
            try:
                check_equal([pair])
                differences[_key(pair)] = ""
            except PlanError as error:
                differences[_key(pair)] = error.problems[0].detail
    return differences


def _decided(
    target: Target, pairs: Iterable[Equality], differences: Mapping[tuple[str, str], str]
) -> Target:
    """Turn what a verb would compare into its answer."""
    wrong = [
        f"{pair.kind}: {pair.second.spec.name}: {differences[_key(pair)]}"
        for pair in pairs
        if differences[_key(pair)]
    ]
    return replace(target, refusal="\n".join([target.refusal, *wrong]).strip(), conditions=())


def _tie(tie: Tie, differences: Mapping[tuple[str, str], str]) -> Tie:
    """Say how two names of one tensor differ; a healed table is compared in runs of its rows."""
    runs = [
        text
        for (name, twin), text in differences.items()
        if (name.partition("[")[0], twin.partition("[")[0]) == (tie.name, tie.repeats)
    ]
    return (
        replace(tie, difference="; ".join(text for text in runs if text))
        if tie.stored and runs
        else tie
    )


def _findings(
    identity: Identity,
    figures: Mapping[str, Statistics],
    groups: list[tuple[str, ...]],
    ties: tuple[Tie, ...],
) -> Iterator[Finding]:
    """Return what looks wrong, the gravest first."""
    for name, tensor in figures.items():
        if not tensor.finite:
            yield Finding(
                "not finite",
                (name,),
                f"{name}: {tensor.nans:,} NaN, {tensor.infinities:,} infinite",
            )
    new = tuple(_new(identity, figures))
    yield from new
    tied = {frozenset((tie.name, tie.repeats)) for tie in ties}
    for group in groups:
        if frozenset(group) not in tied:
            more = f" and {len(group) - 2} more" if len(group) > 2 else ""
            yield Finding(
                "duplicated", group, f"{group[0]} and {group[1]}{more} hold the same bytes"
            )
    new_names = {name for finding in new for name in finding.tensors}
    for name, tensor in figures.items():
        if tensor.constant and tensor.numel > 1 and name not in new_names:
            yield Finding("constant", (name,), f"{name}: every element is {tensor.minimum:g}")


def _new(identity: Identity, figures: Mapping[str, Statistics]) -> Iterator[Finding]:
    """Return one finding for each part that has new weights."""
    names_by_key = {key: stored.spec.name for key, stored in identity.binding.stored.items()}
    by_key = {key: figures[name] for key, name in names_by_key.items()}
    sides = {name: part.config for name, part in identity.parts.items()}
    if not sides:
        return
    modules: dict[str, list[NewModule]] = {}
    for module in new_modules(identity.binding.tensors.values(), by_key, sides):
        modules.setdefault(module.part, []).append(module)
    for part, new in modules.items():
        if layers := [candidate for candidate in new if candidate.decides]:
            names = tuple(names_by_key[row.key] for module in new for row in module.rows)
            yield Finding("new", names, _sentence(part, layers, identity))


def _sentence(part: str, layers: list[NewModule], identity: Identity) -> str:
    """Say how much of a part looks new, and why."""
    whole = {
        row.key.rpartition(".")[0]
        for row in identity.binding.tensors.values()
        if row.module.part == part and is_decisive(row)
    }
    draws = {module.draw.name: module.draw for module in layers if module.draw}
    biases = (
        "weights and biases"
        if all(draw.uniform for draw in draws.values())
        else "biases 0, weights"
    )
    why = f"{biases} as from {' and '.join(sorted(draws))}"
    if len(layers) == len(whole):
        return f"{part}: all of it looks newly initialised ({why}); train it before use"
    shown = ", ".join(module.path for module in layers[:2]) + (
        f" and {len(layers) - 2} more" if len(layers) > 2 else ""
    )
    return f"{part}: {len(layers)} of {len(whole)} layers look newly initialised ({why}): {shown}"
