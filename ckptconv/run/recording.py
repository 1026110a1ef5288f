"""A source by itself, recorded; and later a target by itself, held against the recording.

Some runners take fewer inputs than others (`InputSupport`), and whom a trace is for is not known when it is made. So
the source answers all its probes, and those that are made otherwise for another runner besides; a target gets its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.compare.configs import generation_file
from ckptconv.run.children import Answer, Job, run_children
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.forward import (
    REFERENCE,
    Comparison,
    ForwardReport,
    Options,
    Runnable,
    class_faults,
    generation_faults,
    make_jobs,
    model_class,
    stand_in_notices,
)
from ckptconv.run.inputs import encoded_probes, require_usable
from ckptconv.run.modalities import Probes, modality_of
from ckptconv.run.runners import RUNNERS, Batch, InputSupport
from ckptconv.run.token_ids import special_tokens
from ckptconv.run.trace import Question, RecordedArrays, Trace
from ckptconv.run.yardstick import Places, batch_of
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model, without_fixes
from ckptconv.schema.tensors import NAMING_NAMES

DECODER_INPUTS = ("decoder_input_ids", "decoder_attention_mask")
"""What every probe must have, beside the encoder's main input."""


def record_answers(
    model: Model,
    source: Runnable,
    config: Config,
    weights: Mapping[str, Fingerprint],
    *,
    reference: Path | None,
    options: Options,
) -> Trace:
    """Run the source, and PyTorch's reference where it is another, on every probe.

    Raises: FrameworkError: a framework is missing, or a child failed.
    """
    probes, suited = probes_for_all(model, options.seed, source.support)
    probes |= options.inputs.probes
    suited = {name: (*names, *_names(options.inputs.probes)) for name, names in suited.items()}
    sides = [source]
    if reference:
        sides.append(Runnable(REFERENCE, reference))
    own = generation_file(source.path)
    faults = generation_faults(model, source.runner, config)
    options = replace(options, texts=()) if faults else options
    jobs = make_jobs(model, sides, probes, own or {}, options)
    if faults:
        jobs = tuple(replace(job, generate={}) for job in jobs)
    answers = [
        replace(answer, seconds=0.0, loaded=()) for answer in run_children(jobs, options.timeout)
    ]
    return Trace(
        next(naming for naming in NAMING_NAMES if naming == source.runner),
        config.values,
        own,
        _question(jobs[0]),
        probes,
        suited,
        answers[0],
        answers[-1],
        weights,
    )


def _question(job: Job) -> Question:
    """Return what a job asks, without whom."""
    return Question(
        job.generate,
        job.generate_from,
        tuple(job.texts),
        tuple(job.examples),
        job.facts,
        job.modality,
    )


def probes_for_all(
    model: Model, seed: int, source: InputSupport
) -> tuple[Probes, dict[str, tuple[str, ...]]]:
    """Return probes for targets of every runner, and for each runner the names of those that it can answer."""
    modality = modality_of(model)
    probes = modality.make_probes(model, seed, [source])
    usual, suited = _names(probes), {}
    for runner_name in dict.fromkeys((*NAMING_NAMES, *RUNNERS)):
        supports = [source, RUNNERS[runner_name].support(None)]
        own = modality.make_probes(model, seed, supports)
        names = []
        for name in _names(own):
            batch = batch_of(own, name)
            recorded = [name, *(more for more in _names(probes) if more not in usual)]
            answers = [
                probe
                for probe in recorded
                if probe.partition("-")[0] == name
                and _asks_the_same(batch_of(probes, probe), batch)
            ]
            if not answers:  # made otherwise for this runner
                answers = [f"{name}-{runner_name}"]
                probes |= {f"{answers[0]}.{key}": array for key, array in batch.items()}
            names.append(answers[0])
        suited[runner_name] = tuple(names)
    return probes, suited


def _asks_the_same(recorded: Batch, own: Batch) -> bool:
    """Tell whether a recorded probe has the masks of the one that a runner would get, and will do for it."""
    return recorded.keys() == own.keys() and all(
        np.array_equal(recorded[key], own[key]) for key in own if key.endswith("mask")
    )


def _names(probes: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.partition(".")[0] for key in probes))


def recorded_model(trace: Trace, where: str) -> Model:
    """Return what the recorded config describes. Raises SourceError: it is malformed, or the probes do not fit it."""
    model = read_model(without_fixes(Config(trace.config, f"{where}: config")))
    modality = modality_of(model)
    if trace.question.modality != modality.name:
        raise SourceError(
            f"{where}: probes of {ascii(trace.question.modality)[:40]}, but the model's encoder reads {modality.name}"
        )
    if (trace.question.examples or trace.question.texts) and modality.reads != "tokens":
        raise SourceError(f"{where}: names files of the recording machine; record arrays instead")
    names = _names(trace.probes)
    if not set(names) >= {name for suited in trace.suited.values() for name in suited}:
        raise SourceError(f"{where}: refers to probes that are missing from the trace")
    if trace.question.generate and trace.question.generate_from not in names:
        raise SourceError(f"{where}: generates from a probe that is missing from the trace")
    required = {*modality.required(model), *DECODER_INPUTS}
    for name in names:
        batch, place = batch_of(trace.probes, name), f"{where}: probe {ascii(name)[1:-1]}"
        if not set(batch) >= required:
            raise SourceError(f"{place}: lacks one of {', '.join(sorted(required))}")
        require_usable(place, batch, model)
    return model


def compare_recorded(
    trace: Trace,
    where: Path,
    model: Model,
    target: Runnable,
    options: Options,
) -> ForwardReport:
    """Run a target on the recorded probes, and judge its answers by the recorded ones.

    Raises: FrameworkError: the target's framework is missing, or the child failed. SourceError: the trace has
    no probes for this target, or its answers do not fit together.
    """
    suited = frozenset(_suited(trace, model, target, where))
    probes = {key: array for key, array in trace.probes.items() if key.partition(".")[0] in suited}
    source = _source_job(trace, where, model, target, probes)
    jobs = [source, replace(source, runner=target.runner, checkpoint=target.path)]
    names = suited | set(_names(encoded_probes(trace.source))) | trace.question.generate.keys()
    answers = [restricted(answer, frozenset(names)) for answer in trace.sides.values()]
    if len(answers) == 1:
        jobs[0] = replace(source, precisions=("float32", "float64"))
    else:
        jobs.append(replace(source, runner=REFERENCE, precisions=("float32", "float64")))
    faults = generation_faults(model, trace.naming, Config(trace.config, str(where)))
    broken = class_faults(model, target.runner)
    supports = [RUNNERS[trace.naming].support(None), target.support]
    comparison = Comparison(
        model,
        probes,
        special_tokens(model, trace.generation or {}),
        (
            *modality_of(model).left_out(model, supports),
            *stand_in_notices(model, [target]),
            *(faults or broken),
        ),
        tuple(jobs),
        options.tolerance,
    )
    asked = replace(jobs[1], generate={}, texts=()) if broken else jobs[1]
    (answer,) = run_children([asked], options.timeout)
    try:
        return comparison.judge(answers[0], answer, *answers[1:])
    except (
        LookupError,
        ValueError,
    ) as error:  # what was recorded does not fit, or is not all there
        raise SourceError(
            f"{where}: the recorded answers cannot be used ({type(error).__name__}: {error})"
        ) from None


def _source_job(trace: Trace, where: Path, model: Model, target: Runnable, probes: Probes) -> Job:
    """Return what the source was asked, as far as this target can be asked it."""
    question = trace.question
    return Job(
        trace.naming,
        where,
        probes,
        ("float32",),
        question.generate,
        question.generate_from,
        question.examples,
        _facts(trace, model),
        question.texts,
        modality=question.modality,
        model_class=model_class(model, target.runner),
    )


def _facts(trace: Trace, model: Model) -> dict[str, Json]:
    """Return what the recorded configs say of inputs and places; what else the file says of them is not read."""
    own: dict[str, Json] = modality_of(model).facts(
        model, special_tokens(model, trace.generation or {})
    )
    return own


def _suited(trace: Trace, model: Model, target: Runnable, where: Path) -> list[str]:
    """Return the recorded probes that a target can answer, where its shapes are fixed the short ones."""
    support = target.support
    places = Places(modality_of(model), _facts(trace, model))

    def fits(probe: str) -> bool:
        batch = batch_of(trace.probes, probe)
        encoder = int(places.modality.encoder_mask(batch, places.facts).shape[1])
        decoder = int(batch["decoder_input_ids"].shape[1])
        return encoder <= (support.encoder_places or encoder) and decoder <= (
            support.decoder_places or decoder
        )

    # a class of another family may number positions as Flax's do
    runner = "flax" if support.counted_positions else target.runner
    names = [name for name in trace.suited.get(runner, ()) if fits(name)]
    if not names:
        raise SourceError(
            f"{where}: the trace has no probes that {support.who} can answer; record it again with this version."
        )
    return names


def restricted(answer: Answer, probes: frozenset[str]) -> Answer:
    """Return a recorded answer without what it says of other probes."""
    arrays = answer.arrays
    return (
        replace(answer, arrays=arrays.of(probes)) if isinstance(arrays, RecordedArrays) else answer
    )
