"""Do two models compute the same? Both run on the same probes, each in a process of its own.

How an error is judged is `yardstick.py`'s. Beside the verdict stand notices, and how much of the model the outputs
looked at: for each tensor, which of its elements reached what was compared, measured by gradients in PyTorch
(`runners/_reach.py`). What no probe reaches, such as a pooler or the rows of tokens that no probe holds, could be
anything without an output telling; there the weights' bits are the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.base.errors import FrameworkError
from ckptconv.base.strict_json import Json, in_words
from ckptconv.compare.configs import METADATA, generation_file
from ckptconv.run.children import Answer, Job, run_children
from ckptconv.run.inputs import Inputs, encoded_differently, encoded_probes
from ckptconv.run.modalities import modality_of
from ckptconv.run.runners import RUNNERS, Array, InputSupport
from ckptconv.run.texts import judge_texts
from ckptconv.run.token_ids import (
    SpecialTokens,
    new_tokens,
    special_tokens,
    unnamed_tokens,
)
from ckptconv.run.tolerance import Tolerance
from ckptconv.run.yardstick import (
    LOOSE,
    Generation,
    Measuring,
    Places,
    Quantity,
    judge_tokens,
)
from ckptconv.schema.config import Config
from ckptconv.schema.model import MODELS, Model, never_healed
from ckptconv.schema.tensors import NAMING_NAMES, SchemaTensor

Evidence: TypeAlias = Literal["weights and outputs", "weights and outputs in part", "weights"]


@dataclass(frozen=True, slots=True)
class TensorCoverage:
    """One tensor of the source."""

    name: str
    """As PyTorch spells it; of tied tensors the first."""
    numel: int
    reached: int
    """Elements that had an influence on what was compared, in some probe."""
    rows: int
    """Length of the first axis in PyTorch; 1 for a scalar."""
    rows_reached: int
    """Rows with at least one such element."""

    @property
    def evidence(self) -> Evidence:
        """What shows that this tensor is right. The weights are compared bit for bit in any case."""
        if self.reached == 0:
            return "weights"
        return (
            "weights and outputs" if self.reached == self.numel else "weights and outputs in part"
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """All tensors of a model, each tied one once."""

    tensors: tuple[TensorCoverage, ...]

    @property
    def numel(self) -> int:
        """Elements of the model."""
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def reached(self) -> int:
        """Elements that had an influence."""
        return sum(tensor.reached for tensor in self.tensors)

    @property
    def percent(self) -> float:
        """Share of the elements that had an influence [percent]; 0 where there are none."""
        return 100 * self.reached / self.numel if self.numel else 0.0

    @property
    def unreached(self) -> tuple[TensorCoverage, ...]:
        """The tensors that were not reached in full, those that leave most elements first."""
        return tuple(
            sorted(
                (tensor for tensor in self.tensors if tensor.reached < tensor.numel),
                key=lambda tensor: (tensor.reached - tensor.numel, tensor.name),
            )
        )


def coverage(rows: Sequence[SchemaTensor], reached: Mapping[str, Sequence[int]]) -> Coverage | None:
    """Return what the probes reached; None where that was not measured.

    Args: rows: of the model. reached: parameter, as PyTorch's class names it -> elements and rows reached.
    """
    return Coverage(tuple(_tensors(rows, reached))) if reached else None


def _tensors(
    rows: Sequence[SchemaTensor], reached: Mapping[str, Sequence[int]]
) -> Iterator[TensorCoverage]:
    names: dict[str, list[str]] = {}
    for row in rows:
        weight = row.module.presence != "dropped" and not row.integers("pytorch")
        if "pytorch" in row.spellings and weight:
            first = row.tied_to if row.tied_to and row.shares else row.key
            names.setdefault(first, []).extend(row.spellings["pytorch"].names)
    for row in rows:
        if row.key in names and "pytorch" in row.spellings:
            elements, lines = next(
                (reached[name] for name in names[row.key] if name in reached), (0, 0)
            )
            shape = row.shape("pytorch")
            yield TensorCoverage(row.key, prod(shape), elements, shape[0] if shape else 1, lines)


def class_faults(model: Model, runner: str) -> tuple[str, ...]:
    """Return why a target's class cannot generate, whatever its weights, in sentences; () where it can."""
    fault = model.generation_fault("flax") if runner == "flax" else ""
    return (f"generation is not compared: {fault}",) if fault else ()


def generation_faults(model: Model, naming: str, config: Config) -> tuple[str, ...]:
    """Return why a source's class cannot generate with its weights, in sentences; () where it can.

    Args: model: as it was before any fix. config: with the record of the fixes that it got.
    """
    if naming != "flax":
        return ()
    if model.generation_fault("flax"):
        return class_faults(model, naming)
    return tuple(f"generation is not compared: {why}" for why in never_healed(model, config))


OWN_STEPS = "/own_steps"
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
    yield from _unable(measuring)
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


def _unable(measuring: Measuring) -> Iterator[str]:
    """Say where a class that gives the answers to compare with fails, or disagrees with itself."""
    sides = {"the source's": measuring.source, "PyTorch's": measuring.reference}
    for whose, answer in sides.items():
        for name, error in answer.unable.items():
            if whose == "the source's" or name not in measuring.source.unable:
                yield f"not compared, since {whose} own class fails there: the search {name} ({error})"
    steps = [
        name.removesuffix(OWN_STEPS)
        for name in measuring.reference.arrays
        if name.endswith(OWN_STEPS)
    ]
    if steps:
        yield (
            "PyTorch's cached steps compute something else than its own full pass, so they were held against cached"
            f" steps in float64: {_some(steps)}"
        )


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


PADDED = re.compile(r"\d+ padded \w+ positions of \d+ are left out of the comparison")


def is_routine(notice: str) -> bool:
    """Tell whether a notice says what almost every run says, and what calls for nothing."""
    return PADDED.fullmatch(notice) is not None


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
        if first.get(key) != second.get(key) and key not in METADATA:
            values = _setting(first.get(key)), _setting(second.get(key))
            yield "generation config: {} is {} in the source, {} in the target".format(key, *values)


def _setting(value: Json) -> str:
    return "not set" if value is None else in_words(value)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """Every quantity and every generated token, judged; and what each side answered."""

    quantities: tuple[Quantity, ...]
    """In the order of the data flow, probe by probe."""
    generations: tuple[Generation, ...]
    texts: tuple[tuple[str, str, str], ...]
    """Text, the source's answer, the target's answer."""
    loading: tuple[str, ...]
    """Tensors that the target's class missed, did not expect, or found in another shape."""
    notices: tuple[str, ...]
    """What was left out, chosen, or done otherwise than a user might think: one sentence each."""
    source: Answer
    target: Answer
    reference: Answer
    """PyTorch's: the source's or the target's own, or that of a temporary conversion of the source."""
    probes: Mapping[str, Array]
    """As `Modality.make_probes` returns them."""
    coverage: Coverage | None = None
    """Which elements of the weights had an influence on all this; None where it was not measured."""
    undecided_texts: tuple[int, ...] = ()
    """The texts, as they are counted, whose answers differ in what a notice explains, and may differ."""

    @property
    def matches(self) -> bool:
        """True where something was compared, and everything that was matches."""
        return (
            bool(self.quantities)
            and all(quantity.matches for quantity in self.quantities)
            and all(generation.matches for generation in self.generations)
            and not self.differing_texts
            and not self.loading
        )

    @property
    def differing_texts(self) -> tuple[str, ...]:
        """The texts whose answers differ, by more than the limits of two classes."""
        return tuple(
            text
            for number, (text, source, target) in enumerate(self.texts)
            if source != target and number not in self.undecided_texts
        )

    @property
    def outside(self) -> tuple[Quantity, ...]:
        """The quantities that do not match; the first is where the data flow leaves the yardstick."""
        return tuple(quantity for quantity in self.quantities if not quantity.matches)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Each side's answer, and PyTorch's where it is a third one."""
        sides = (self.source, self.target)
        return sides if any(side is self.reference for side in sides) else (*sides, self.reference)


REFERENCE = "pytorch"
"""The runner that gives the reference: it alone computes in float64."""
BEAMS = (2, 4)
"""How many beams at least and at most; between them the checkpoint's own number."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A model that can be run: a checkpoint by its class, or an artefact by its runtime."""

    runner: str
    """Name of one of `RUNNERS`."""
    path: Path

    @property
    def support(self) -> InputSupport:
        """What it can be fed with."""
        return RUNNERS[self.runner].support(self.path)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a comparison."""

    seed: int = 0
    """Of the random probes."""
    texts: Sequence[str] = ()
    """Sentences to answer on both sides, with the checkpoint's own tokenizer and generation config."""
    inputs: Inputs = field(default_factory=Inputs)
    """The user's own."""
    tolerance: Tolerance | None = None
    timeout: float | None = None
    """Seconds that the frameworks may take; None waits."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models, the jobs for their runners, and what is needed to judge the answers."""

    model: Model
    probes: Mapping[str, Array]
    special: SpecialTokens
    left_out: tuple[str, ...]
    jobs: tuple[Job, ...]
    """The source's, the target's, and PyTorch's where it is neither of them."""
    tolerance: Tolerance | None = None
    timeout: float | None = None

    def run(self) -> ForwardReport:
        """Run all sides on the probes, and judge what they answer.

        Images and sounds are processed first, by each side, and the source's arrays are fed to all: Whisper's
        processor computes with PyTorch where that is installed, so that the last bits differ from process to process.

        Raises: FrameworkError: a framework is missing, a child failed, or there was nothing to compare. SourceError:
        an example that cannot be read.
        """
        if not self.jobs[0].examples or modality_of(self.model).reads == "tokens":
            return self.judge(*run_children(self.jobs, self.timeout))
        alone = [replace(job, probes={}, precisions=(), generate={}, texts=()) for job in self.jobs]
        encodings = run_children(alone, self.timeout)
        probes = {**self.jobs[0].probes, **encoded_probes(encodings[0])}
        jobs = tuple(replace(job, probes=probes, examples=()) for job in self.jobs)
        answers = run_children(jobs, self.timeout)
        fed = replace(self, probes=probes, jobs=jobs)
        return fed.judge(*answers, apart=encoded_differently(encodings))

    def judge(self, *answers: Answer, apart: Sequence[str] = ()) -> ForwardReport:
        """Compare the answers, in the order of the jobs.

        Args: apart: inputs in which the sides' processors do not agree.

        Raises: FrameworkError: there was nothing to compare, or the target cannot generate where the source can.
        """
        source, target = answers[:2]
        for name, error in target.unable.items():
            if name not in source.unable:
                raise FrameworkError(
                    f"{target.runner}: the search {name} fails, and the source's does not: {error}"
                )
        reference = next(
            answer for answer, job in zip(answers, self.jobs, strict=True) if job.is_reference
        )
        probes = {**self.probes, **encoded_probes(source)}
        places = Places(modality_of(self.model), self.jobs[0].facts)
        measuring = Measuring(probes, places, source, target, reference, self.tolerance)
        quantities = tuple(measuring.quantities())
        if not quantities:
            raise FrameworkError("nothing was compared: the models have no output in common.")
        generations = tuple(self._generations(source, target, reference))
        texts = judge_texts(source, target)
        return ForwardReport(
            quantities=quantities,
            generations=generations,
            texts=tuple(zip(self.jobs[0].texts, source.texts, target.texts, strict=True)),
            loading=(
                *self._complaints(target),
                *(
                    f"{name}: its tokenizer or processor makes other arrays of the examples than the source's"
                    for name in (*apart, *encoded_differently(answers))
                ),
            ),
            notices=(
                *self.left_out,
                *(
                    f"not compared, since it is beyond one of the sides: the search {name}"
                    for name in self.jobs[0].generate
                    if name not in [generation.name for generation in generations]
                    and name not in {**source.unable, **reference.unable}
                ),
                *notices(self.model, self.special, measuring, quantities, generations),
                *texts.notices,
            ),
            source=source,
            target=target,
            reference=reference,
            probes=probes,
            coverage=coverage(self.model.tensors, reference.reached),
            undecided_texts=texts.undecided,
        )

    def _complaints(self, target: Answer) -> Iterator[str]:
        """Yield what the target's class says of its loading.

        But for other names of a tensor that it has found: LongT5's recovers them, and says first that they are missing.
        """
        aliases = {
            f"missing {name}"
            for tensor in self.model.tensors
            if tensor.module.tied and not tensor.module.drawn_by
            for name in tensor.names_in("pytorch")
        }
        yield from (problem for problem in target.problems if problem not in aliases)

    def _generations(self, source: Answer, target: Answer, reference: Answer) -> list[Generation]:
        """Judge every search that all sides could make.

        Without the reference's greedy search nobody knows how far a logit may be off, so no fork can be judged.
        """
        if "greedy/tokens" not in reference.arrays:
            return []
        return [
            judge_tokens(name, settings, source, target, reference)
            for name, settings in self.jobs[0].generate.items()
            if all(f"{name}/tokens" in answer.arrays for answer in (source, target, reference))
        ]


def prepare(
    model: Model,
    source: Runnable,
    target: Runnable,
    *,
    reference: Path | None = None,
    options: Options | None = None,
    own_generation: bool = False,
    own_beams: int = 0,
    faults: Sequence[str] = (),
) -> Comparison:
    """Make probes from `model`, the source's, and jobs for both models.

    Args: reference: the source as PyTorch's, where neither side is. own_generation: also generate by the source's
    own settings, for a target that has them built in. own_beams: and so with so many beams.
    faults: why the source's class cannot generate, as
    `generation_faults` returns them: then nothing is generated, and they are said.
    Raises: FrameworkError: PyTorch runs nowhere.
    """
    options = options or Options()
    options = replace(options, texts=()) if faults else options
    sides = [source, target]
    if REFERENCE not in (source.runner, target.runner):
        if reference is None:
            raise FrameworkError(
                f"{source.runner} against {target.runner}: neither is PyTorch, which computes the reference."
            )
        sides.append(Runnable(REFERENCE, reference))
    supports = [side.support for side in sides]
    modality = modality_of(model)
    probes = modality.make_probes(model, options.seed, supports)
    own = generation_file(source.path) or {}
    special = special_tokens(model, own)
    jobs = make_jobs(
        model,
        sides,
        probes | dict(options.inputs.probes),
        own,
        options,
        own_generation,
        own_beams,
    )
    if faults:
        jobs = tuple(replace(job, generate={}) for job in jobs)
    return Comparison(
        model,
        jobs[0].probes,
        special,
        (*modality.left_out(model, supports), *stand_in_notices(model, sides), *faults),
        jobs,
        options.tolerance,
        options.timeout,
    )


def stand_in_notices(model: Model, sides: Sequence[Runnable]) -> Iterator[str]:
    """Say which sides are of the class of another family."""
    for side in sides:
        for naming in NAMING_NAMES:
            if naming == side.runner:
                names = {each.stand_in(naming) for each in model.parts.values()} - {None}
                yield from (
                    f"{naming}: {model.label} is held by the class of {stand_in.name}"
                    for stand_in in names
                    if stand_in
                )


def make_jobs(
    model: Model,
    sides: Sequence[Runnable],
    probes: Mapping[str, Array],
    own: Mapping[str, Json],
    options: Options,
    own_generation: bool = False,
    own_beams: int = 0,
) -> tuple[Job, ...]:
    """Return the job of each side; the first of PyTorch's gives the reference.

    Args: own: the source's generation config.
    """
    special, modality = special_tokens(model, own), modality_of(model)
    exact = next(number for number, side in enumerate(sides) if side.runner == REFERENCE)
    generate = searches(special, new_tokens(model, [side.support for side in sides]), own)
    ends: dict[str, Json] = {"eos_token_id": special.eos, "pad_token_id": special.pad}
    if own_generation and not own.get("do_sample"):
        generate["own"] = {"own": True, **ends}
    if own_beams:
        generate["own beams"] = {"own": True, "beams": own_beams, **ends}
    return tuple(
        Job(
            side.runner,
            side.path,
            probes,
            ("float32", "float64") if number == exact else ("float32",),
            generate=generate,
            generate_from=modality.generation_probe,
            texts=tuple(options.texts),
            examples=options.inputs.examples,
            facts=modality.facts(model, special),
            modality=modality.name,
            model_class=model_class(model, side.runner),
        )
        for number, side in enumerate(sides)
    )


def model_class(model: Model, runner: str) -> str:
    """Return the class in transformers that a runner loads a whole model with; empty for runners that use none."""
    return MODELS[model.config.text("model_type")].classes.get(runner, "")


def searches(
    special: SpecialTokens, length: int, own: Mapping[str, Json]
) -> dict[str, dict[str, Json]]:
    """Return a plain greedy search, and a search with the checkpoint's number of beams, the same for all sides.

    Not its other settings: Flax ignores some of them (repetition_penalty), and a min_length beyond
    the few tokens that are generated here is refused. Beams do not end: of a search that reaches its last step,
    PyTorch also takes answers that have not ended, TF and Flax only those that have, where there are some.
    """
    common: dict[str, Json] = {
        "decoder_start_token_id": special.decoder_start,
        "bos_token_id": special.decoder_start,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        "do_sample": False,
        "max_new_tokens": length,
    }
    beams = own.get("num_beams")
    number = min(max(beams if isinstance(beams, int) else BEAMS[0], BEAMS[0]), BEAMS[1])
    ends: list[Json] = [*sorted({special.eos, special.pad})]
    beam: dict[str, Json] = {**common, "num_beams": number, "suppress_tokens": ends}
    return {"greedy": {**common, "num_beams": 1}, "beam": beam}
