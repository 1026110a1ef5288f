"""`inspect`: what a checkpoint is and holds, from its config and headers; with `stats`, from its values too.

The result is pure data, complete enough for every rendering: figures for each tensor, and what in them looks wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ckptconv.base.errors import PlanError, Problem, SourceError
from ckptconv.base.lazy_module import LazyModule
from ckptconv.base.presence import names_in, size_of
from ckptconv.base.results import PagedResult
from ckptconv.base.strict_json import Json, in_words
from ckptconv.binding.bind import Binding, Equality
from ckptconv.binding.identify import Identity, identify_alone, identify_part, is_one_part
from ckptconv.binding.plan import Constant
from ckptconv.compare.processors import require_processor
from ckptconv.schema.config import Config
from ckptconv.schema.model import ROLES, Model, Part
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.artefact import artefact_notices
from ckptconv.stores.checkpoint import Checkpoint, open_any
from ckptconv.stores.companions import conditions, leads
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.hub import resolve
from ckptconv.stores.tensor import Stored, TensorSpec, require_checksums
from ckptconv.verbs.planning import (
    Planned,
    Way,
    is_ambiguous,
    is_written_as_pytorch,
    never_healed_notices,
    plan_bound,
    question,
)
from ckptconv.verbs.sides import side_notices, side_plans

if TYPE_CHECKING:
    from ckptconv.compare import initialisation
    from ckptconv.compare import statistics as value_statistics
else:  # they import numpy, which headers do not need: at the latest for who asks for type hints
    initialisation = LazyModule("ckptconv.compare.initialisation")
    value_statistics = LazyModule("ckptconv.compare.statistics")

Condition: TypeAlias = Equality | Constant
"""What a verb compares before it writes: two tensors that must be one, or one that a class computes."""
Sign: TypeAlias = Literal["not finite", "new", "duplicated", "constant"]


@dataclass(frozen=True, slots=True)
class SideSummary:
    """One model of a pair, or the one that there is: what its config says. None: it does not say."""

    role: str
    """`encoder`, `decoder`, or `model` where no table knows it."""
    model_type: str
    layers: int | None
    hidden: int | None
    """Width of the layers."""
    heads: int | None
    vocabulary: int | None
    reads: str | None = None
    """What an encoder reads that is no text, such as `images of 3 x 224 x 224`; None for text, and of a decoder."""


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One part of the model: encoder, cross-attention, decoder, head, bridge."""

    name: str
    tensors: int
    parameters: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class TensorLine:
    """One stored tensor."""

    spec: TensorSpec
    part: str
    """Empty where no table knows the tensor."""
    layer: int | None
    """Number of its layer; None for what belongs to no layer."""
    file: str
    """Name of the file that holds it."""
    statistics: value_statistics.Statistics | None = None
    signs: tuple[Sign, ...] = ()
    """What `--stats` found suspicious about it."""


@dataclass(frozen=True, slots=True)
class Tie:
    """Two names of one tensor, as the config says."""

    name: str
    repeats: str
    stored: bool
    """True where the file holds it under both names."""
    difference: str | None = None
    """Stored twice and compared: empty where equal, else how far apart. None: not compared."""

    @property
    def broken(self) -> bool:
        """True where the two that must be one are known to differ."""
        return bool(self.difference)


@dataclass(frozen=True, slots=True)
class Target:
    """Whether a verb would take this checkpoint."""

    verb: str
    """As typed: `pt2tf`; or `join (as encoder)`."""
    refusal: str = ""
    """Why not; empty where it would."""
    conditions: tuple[str, ...] = ()
    """What the verb will compare before it writes, where nobody has yet: one sentence each."""
    notices: tuple[str, ...] = ()
    """What the verb would say: one sentence each."""

    @property
    def converts(self) -> bool:
        """True where the verb would write."""
        return not self.refusal


@dataclass(frozen=True, slots=True)
class ValueFinding:
    """Something about the values that a user should know."""

    sign: Sign
    tensors: tuple[str, ...]
    text: str
    """One sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(PagedResult):
    """What `inspect` found."""

    path: Path
    kind: str
    """`pair`, or another kind of model; `encoder` or `decoder` alone; `bridge`; `other`."""
    pair: str
    """The two model types; empty for what is no encoder-decoder."""
    model_type: str
    saved_by: str
    """Version of transformers that wrote the config; empty where it does not say."""
    naming: NamingName
    format: str
    files: tuple[str, ...]
    file_bytes: int
    """Size of these files, headers included."""
    dtypes: tuple[str, ...]
    parameters: int
    nbytes: int
    """Size of the tensors' data."""
    sides: tuple[SideSummary, ...]
    parts: tuple[PartSummary, ...]
    tensors: tuple[TensorLine, ...]
    """Sorted by name."""
    ties: tuple[Tie, ...]
    problems: tuple[Problem, ...]
    """What is missing or does not fit, against the tables; of a pair also what is left over."""
    unused: tuple[str, ...]
    """Of one model alone: tensors that no encoder or decoder has, such as other heads."""
    refusal: str
    """Why no table can say anything; empty where they can."""
    code_hooks: tuple[str, ...]
    """Keys of the config and files beside it that would make transformers run code."""
    targets: tuple[Target, ...]
    reading: tuple[str, ...] = ()
    """What a user should know of how the weights were read."""
    measured: bool = False
    """True where the values were read, so that `findings` and `statistics` say something."""
    findings: tuple[ValueFinding, ...] = ()
    open_role: bool = False
    """True for one model that is shown as a decoder because of its head, and could be an encoder as well."""


def with_values(
    result: Inspection,
    checkpoint: Checkpoint,
    identity: Identity,
    compared: Mapping[str, tuple[Condition, ...]],
    progress: Callable[[int, int], None],
) -> Inspection:
    """Return an inspection with figures, findings, and the ties and conditions compared.

    Args: compared: what each verb compares before it writes.
    Raises: SourceError: a file cannot be read, or is not what its own checksums say.
    """
    from ckptconv.compare.duplicates import duplicates
    from ckptconv.compare.statistics import measure

    stored = [checkpoint.weights.tensors[line.spec.name] for line in result.tensors]
    require_checksums(stored)
    measured = measure(stored, progress)
    figures = {
        tensor.spec.name: statistics for tensor, statistics in zip(stored, measured, strict=True)
    }
    groups = [tuple(tensor.spec.name for tensor in group) for group in duplicates(stored, measured)]
    differences = _compared(
        (
            *(condition for each in compared.values() for condition in each),
            *_stored_twice(result, checkpoint),
        )
    )
    checkpoint.require_unchanged()
    ties = tuple(_tie(tie, differences) for tie in result.ties)
    findings = tuple(_findings(identity, figures, groups, ties))
    signs = _signs(findings)
    lines = (
        replace(line, statistics=figures[line.spec.name], signs=signs.get(line.spec.name, ()))
        for line in result.tensors
    )
    return replace(
        result,
        tensors=tuple(lines),
        ties=ties,
        targets=tuple(
            _decided(target, compared.get(target.verb, ()), differences)
            for target in result.targets
        ),
        findings=findings,
        measured=True,
    )


def _signs(findings: Iterable[ValueFinding]) -> dict[str, tuple[Sign, ...]]:
    """Return tensor -> the signs of its findings, each once."""
    signs: dict[str, dict[Sign, None]] = {}
    for finding in findings:
        for name in finding.tensors:
            signs.setdefault(name, {})[finding.sign] = None
    return {name: tuple(own) for name, own in signs.items()}


def _stored_twice(result: Inspection, checkpoint: Checkpoint) -> Iterator[Equality]:
    """Return the ties of a PyTorch checkpoint that no plan compares, since something else stops the verbs."""
    tensors = checkpoint.weights.tensors
    for tie in result.ties:
        if tie.stored and checkpoint.weights.naming == "pytorch":
            pair = tensors[tie.repeats], tensors[tie.name]
            if pair[0].spec.shape == pair[1].spec.shape:
                yield Equality(*pair, "not equal", "the config ties them")


def _key(condition: Condition) -> tuple[str, str]:
    """Return which tensor is held against which; against none where a formula gives its values."""
    if isinstance(condition, Constant):
        return condition.stored.spec.name, ""
    return condition.second.spec.name, condition.first.spec.name


def _compared(conditions: Iterable[Condition]) -> dict[tuple[str, str], str]:
    """Compare tensors with what they must be; empty where they are, else what is wrong."""
    from ckptconv.compare.comparison import check_constants, check_equal

    differences: dict[tuple[str, str], str] = {}
    for condition in conditions:
        if _key(condition) not in differences:
            try:
                if isinstance(condition, Constant):
                    check_constants([condition])
                else:
                    check_equal([condition])
                differences[_key(condition)] = ""
            except PlanError as error:
                differences[_key(condition)] = error.problems[0].detail
    return differences


def _decided(
    target: Target, conditions: Iterable[Condition], differences: Mapping[tuple[str, str], str]
) -> Target:
    """Turn what a verb would compare into its answer."""
    wrong = [
        f"{'cannot hold' if isinstance(condition, Constant) else condition.kind}:"
        f" {_key(condition)[0]}: {differences[_key(condition)]}"
        for condition in conditions
        if differences[_key(condition)]
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
    figures: Mapping[str, value_statistics.Statistics],
    groups: list[tuple[str, ...]],
    ties: tuple[Tie, ...],
) -> Iterator[ValueFinding]:
    """Return what looks wrong, the gravest first."""
    for name, tensor in figures.items():
        if not tensor.finite:
            yield ValueFinding(
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
            yield ValueFinding(
                "duplicated", group, f"{group[0]} and {group[1]}{more} hold the same bytes"
            )
    new_names = {name for finding in new for name in finding.tensors}
    for name, tensor in figures.items():
        if tensor.constant and tensor.numel > 1 and name not in new_names:
            yield ValueFinding("constant", (name,), f"{name}: every element is {tensor.minimum:g}")


def _new(
    identity: Identity, figures: Mapping[str, value_statistics.Statistics]
) -> Iterator[ValueFinding]:
    """Return one finding for each part that has new weights."""
    from ckptconv.compare.initialisation import new_modules

    names_by_key = {key: stored.spec.name for key, stored in identity.binding.stored.items()}
    by_key = {key: figures[name] for key, name in names_by_key.items()}
    sides = {name: part.config for name, part in identity.parts.items()}
    if not sides:
        return
    modules: dict[str, list[initialisation.NewModule]] = {}
    for module in new_modules(identity.binding.tensors.values(), by_key, sides):
        modules.setdefault(module.part, []).append(module)
    for part, new in modules.items():
        if layers := [candidate for candidate in new if candidate.decides]:
            names = tuple(names_by_key[row.key] for module in new for row in module.rows)
            yield ValueFinding("new", names, _sentence(part, layers, identity))


def _sentence(part: str, layers: list[initialisation.NewModule], identity: Identity) -> str:
    """Say how much of a part looks new, and why."""
    from ckptconv.compare.initialisation import is_decisive

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


PARTS = ("encoder", "bridge", "decoder", "cross-attention", "head", "")
"""In the order of the data flow; what no table knows comes last."""
LEVELS = re.compile(r"_\._|[./]")
"""What stands between the levels of a name, in every naming."""


def inspect(
    path: Path | str,
    *,
    stats: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inspection:
    """Read config and headers and hold them against the tables.

    Args: stats: read every value too. progress: called with bytes done and bytes to do.
    Raises: SourceError: no checkpoint, or unreadable. What the tables object to is part of the result.
    """
    checkpoint = open_any(resolve(path))
    identity = identify_alone(checkpoint)
    targets, compared = _targets(checkpoint, identity)
    result = _summary(checkpoint, identity, targets)
    if not stats:
        return result
    return with_values(result, checkpoint, identity, compared, progress)


def _summary(checkpoint: Checkpoint, identity: Identity, targets: tuple[Target, ...]) -> Inspection:
    config, weights = checkpoint.config, checkpoint.weights
    stored, binding = weights.tensors, identity.binding
    part_of = {
        tensor.spec.name: binding.tensors[key].module.part for key, tensor in binding.stored.items()
    }
    return Inspection(
        path=checkpoint.path,
        kind=identity.kind,
        pair=identity.label,
        model_type=config.stated("model_type"),
        saved_by=config.stated("transformers_version"),
        naming=weights.naming,
        format=weights.format.name,
        reading=(
            *weights.notices,
            *checkpoint.config_notices,
            *never_healed_notices(identity.model, checkpoint),
            *artefact_notices([checkpoint.path]),
        ),
        files=tuple(file.name for file in weights.files),
        file_bytes=sum(map(size_of, weights.files)),
        dtypes=tuple(sorted({tensor.spec.dtype for tensor in stored.values()})),
        parameters=sum(tensor.spec.numel for tensor in stored.values()),
        nbytes=sum(tensor.spec.nbytes for tensor in stored.values()),
        sides=tuple(_sides(config, identity)),
        parts=tuple(_parts(stored, part_of)),
        tensors=tuple(
            TensorLine(tensor.spec, part_of.get(name, ""), _layer(name), tensor.path.name)
            for name, tensor in sorted(stored.items())
        ),
        ties=tuple(_ties(binding)),
        problems=identity.problems,
        unused=identity.unused,
        refusal=identity.refusal,
        code_hooks=tuple(_code_hooks(checkpoint)),
        targets=targets,
        open_role=identity.has_open_role,
    )


def _sides(config: Config, identity: Identity) -> Iterator[SideSummary]:
    """Return what the configs say of each part, read with the family's names and defaults where it has a table."""
    configs = {name: part.config for name, part in identity.parts.items()}
    if not configs:
        nested = {
            str(role): config.part(role) for role in ROLES if isinstance(config.get(role), dict)
        }
        configs = nested or {"model": config}
    for role, section in configs.items():
        layers, hidden, heads, words = (
            _whole(section.get(key))
            for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
        )
        part = identity.parts.get(role)
        yield SideSummary(
            role or "model",
            section.stated("model_type") or "unknown",
            layers,
            hidden,
            heads,
            words,
            reads=None if part is None else _reading(part),
        )


def _reading(part: Part) -> str | None:
    """Return what a part reads, in words; None for text."""
    if part.name == "decoder":
        return None
    reads, config = getattr(part.tables, "reads", "tokens"), part.config
    if reads == "pixels":
        try:
            sizes = (config.size("num_channels"), *config.extent("image_size"))
        except SourceError:  # and the plan says which key
            return "images"
        return "images of {} x {} x {}".format(*sizes)
    if reads == "features":
        bins = config.get("num_mel_bins") or config.get("input_feat_per_channel")
        return "sound as spectrograms" + ("" if bins is None else f" of {in_words(bins)} bins")
    return "sound as samples" if reads == "samples" else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parts(stored: Mapping[str, Stored], part_of: Mapping[str, str]) -> Iterator[PartSummary]:
    """Add up each part."""
    for part in PARTS:
        specs = [tensor.spec for name, tensor in stored.items() if part_of.get(name, "") == part]
        if specs:
            parameters, nbytes = (
                sum(spec.numel for spec in specs),
                sum(spec.nbytes for spec in specs),
            )
            yield PartSummary(part or "unknown", len(specs), parameters, nbytes)


def _layer(name: str) -> int | None:
    """Return the first number among a name's levels."""
    return next(
        (int(level) for level in LEVELS.split(name) if level.isdecimal() and len(level) < 6), None
    )


def _ties(binding: Binding) -> Iterator[Tie]:
    """Return the pairs that the config makes one tensor, under the names that the file uses, or would use."""
    names = {key: possible[0] for key, possible in binding.names.items() if possible}
    names |= {key: stored.spec.name for key, stored in binding.stored.items()}
    for key, tensor in binding.tensors.items():
        if tensor.shares and tensor.tied_to in names and key in names:
            twice = key in binding.stored and tensor.tied_to in binding.stored
            yield Tie(names[key], names[tensor.tied_to], twice)


def _code_hooks(checkpoint: Checkpoint) -> Iterator[str]:
    """Name what would make transformers fetch or run code, or read another file; ckptconv acts on none of it."""
    config = dict(checkpoint.config.values)
    yield from sorted(f"config.json: {lead.place}" for lead in leads("config.json", config))
    yield from (name for name in names_in(checkpoint.path) if name.endswith(".py"))


def _ways(source: NamingName) -> list[tuple[Way, tuple[str, ...]]]:
    """Return how a whole pair of a naming is converted, in the default formats, and the verbs that do it so."""
    to_pytorch = Way(source, "pytorch", FORMATS["safetensors"])
    if source != "pytorch":
        return [(to_pytorch, (f"{source}2pt",))]
    return [
        (to_pytorch, ("split", "normalize")),
        (Way("pytorch", "tf", FORMATS["hdf5"]), ("pt2tf",)),
        (Way("pytorch", "flax", FORMATS["msgpack"], heal=True), ("pt2flax",)),
    ]


def _targets(
    checkpoint: Checkpoint, identity: Identity
) -> tuple[tuple[Target, ...], dict[str, tuple[Condition, ...]]]:
    """Ask each verb for its plan. Returns also what each must compare before it writes, by verb."""
    if is_one_part(checkpoint):
        roles = ((role, identify_part(checkpoint, role)) for role in ROLES)
        return tuple(_as_part(checkpoint, part, role) for role, part in roles), {}
    targets: list[Target] = []
    by_verb: dict[str, tuple[Condition, ...]] = {}
    if identity.model is None:
        return (), {}
    refusal = next(conditions(checkpoint.config, checkpoint.weights.tensors), "")
    for way, verbs in _ways(checkpoint.weights.naming):
        planning = refusal or _planned(checkpoint, identity.model, identity.binding, way)
        for verb in verbs:
            target, compared = _target(planning, verb)
            targets.append(target)
            if target.converts:
                by_verb[verb] = compared
    return tuple(targets), by_verb


def _planned(checkpoint: Checkpoint, model: Model, binding: Binding, way: Way) -> Planned | str:
    """Return what a conversion would do, or why it is refused."""
    if (
        way.source == "flax"
        and is_ambiguous(model, checkpoint)
        and not is_written_as_pytorch(checkpoint)
    ):
        return question(model, checkpoint.path)
    try:
        require_processor(model, checkpoint.path)
        return plan_bound(checkpoint, model, binding, way)
    except SourceError as error:
        return _refusal(error)


def _refusal(error: SourceError) -> str:
    if not isinstance(error, PlanError):
        return str(error)
    count = len(error.problems)
    return f"{count} problem{'s' if count != 1 else ''} with its tensors"


def _target(planning: Planned | str, verb: str) -> tuple[Target, tuple[Condition, ...]]:
    """Return the answer of one verb, and what it must compare before it writes."""
    if isinstance(planning, str):
        return Target(verb, planning), ()
    try:
        sides = side_plans(planning) if verb == "split" else ()
    except SourceError as error:
        return Target(verb, _refusal(error)), ()
    plan = planning.plan
    constants = (constant for side in sides for constant in side.plan.constants)
    compared: tuple[Condition, ...] = (*plan.equalities, *plan.constants, *constants)
    notices = tuple(side_notices(planning.model, sides)) if sides else plan.notices
    return Target(verb, "", tuple(map(_words, compared)), notices), compared


ANEW_OR = {
    "cross-attention": ", or copied from the self-attention (--cross-attention self)",
}
"""What `join` can do in place of drawing a section."""


def _as_part(checkpoint: Checkpoint, identity: Identity, role: str) -> Target:
    """Say whether `join` would take one model in a role."""
    verb = f"join (as {role})"
    if identity.refusal:
        return Target(verb, identity.refusal)
    problems = identity.problems
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return Target(verb, f"{problems[0].kind} {problems[0].name}{more}")
    new = (
        f"{section}: {count} tensors would be drawn anew{ANEW_OR.get(section, '')}"
        for section, count in identity.new_tensors().items()
    )
    return Target(verb, notices=tuple(new))


def _words(condition: Condition) -> str:
    name, master = _key(condition)
    if isinstance(condition, Constant):
        return f"{name} must hold what the class computes without it: {condition.why}"
    return f"{name} must equal {master}: {condition.why}"
