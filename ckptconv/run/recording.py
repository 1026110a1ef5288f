"""A source by itself, recorded; and later a target by itself, held against the recording.

Flax's composite class takes fewer inputs than the others (`probes.py`), and whom a trace is for is not known when it
is made. So the source answers all probes, and those that are made otherwise for Flax besides; a target gets its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.run.answers import Job
from ckptconv.run.children import run_children
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.forward import Comparison, Options, Sides, make_jobs
from ckptconv.run.inputs import require_usable
from ckptconv.run.probes import Array, Probes, left_out, make_probes
from ckptconv.run.report import ForwardReport
from ckptconv.run.settings import generation_file
from ckptconv.run.special_tokens import special_tokens
from ckptconv.run.trace import Asked, Trace, restricted
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, without_fixes
from ckptconv.schema.models import read_model
from ckptconv.schema.vocabulary import NAMINGS, NamingName

REQUIRED = {"input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"}
FOR_FLAX = "-flax"
"""How the name of a probe ends that takes the place of another for Flax."""


def record_answers(
    model: Model,
    source: Path,
    naming: NamingName,
    config: Config,
    weights: Mapping[str, Fingerprint],
    *,
    reference: Path | None,
    options: Options,
) -> Trace:
    """Run the source, and PyTorch's reference where it is another, on every probe.

    Raises: FrameworkError: a framework is missing, or a child failed.
    """
    probes, suited = probes_for_all(model, options.seed, naming)
    probes |= options.inputs.probes
    suited = {name: (*chosen, *_names(options.inputs.probes)) for name, chosen in suited.items()}
    sides: Sides = [(naming, source)]
    if reference:
        sides.append(("pytorch", reference))
    own = generation_file(source)
    jobs = make_jobs(model, sides, probes, own or {}, options)
    answers = [replace(one, seconds=0.0, loaded=()) for one in run_children(jobs, options.timeout)]
    asked = jobs[0]
    return Trace(
        naming,
        config.values,
        own,
        Asked(
            asked.generate,
            asked.generate_from,
            tuple(asked.texts),
            tuple(asked.sentences),
            asked.feeding,
        ),
        probes,
        suited,
        answers[0],
        answers[-1],
        weights,
    )


def probes_for_all(
    model: Model, seed: int, source: NamingName
) -> tuple[Probes, dict[str, tuple[str, ...]]]:
    """Return probes for targets of every naming, and for each naming the names of those that it can answer."""
    usual = make_probes(model, seed, {source})
    other = make_probes(model, seed, {source, "flax"})
    names = _names(usual)
    more: Probes = {}
    chosen = []
    for name in _names(other):
        if _masks_equal(usual, other, name):
            chosen.append(name)
        else:
            chosen.append(name + FOR_FLAX)
            more |= {
                f"{name}{FOR_FLAX}.{key.partition('.')[2]}": one
                for key, one in other.items()
                if key.partition(".")[0] == name
            }
    return usual | more, {
        naming: tuple(chosen) if naming == "flax" else names for naming in NAMINGS
    }


def _names(probes: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.partition(".")[0] for key in probes))


def _masks_equal(usual: Mapping[str, Array], other: Mapping[str, Array], name: str) -> bool:
    """Tell whether Flax's probe asks the same kind of thing as the usual one, which will do then."""
    keys = (f"{name}.attention_mask", f"{name}.decoder_attention_mask")
    return all(np.array_equal(usual[key], other[key]) for key in keys)


def recorded_model(trace: Trace, where: str) -> Model:
    """Return what the recorded config describes. Raises SourceError: it is malformed, or the probes do not fit it."""
    model = read_model(without_fixes(Config(trace.config, f"{where}: config")))
    names = _names(trace.probes)
    if not set(names) >= {one for chosen in trace.suited.values() for one in chosen}:
        raise SourceError(f"{where}: names probes that it does not hold")
    if trace.asked.generate and trace.asked.generate_from not in names:
        raise SourceError(f"{where}: generates from a probe that it does not hold")
    for name in names:
        own = {
            key.partition(".")[2]: one
            for key, one in trace.probes.items()
            if key.partition(".")[0] == name
        }
        if not set(own) >= REQUIRED:
            raise SourceError(
                f"{where}: probe {ascii(name)[1:-1]}: lacks one of {', '.join(sorted(REQUIRED))}"
            )
        require_usable(f"{where}: probe {ascii(name)[1:-1]}", own, model)
    return model


def compare_recorded(
    trace: Trace,
    where: Path,
    model: Model,
    target: Path,
    naming: NamingName,
    options: Options,
) -> ForwardReport:
    """Run a target on the recorded probes, and judge its answers by the recorded ones.

    Raises: FrameworkError: the target's framework is missing, or the child failed.
    """
    suited = frozenset(trace.suited[naming])
    probes = {key: one for key, one in trace.probes.items() if key.partition(".")[0] in suited}
    asked = trace.asked
    source = Job(
        trace.naming,
        where,
        probes,
        ("float32",),
        asked.generate,
        asked.generate_from,
        asked.sentences,
        asked.feeding,
        asked.texts,
    )
    jobs = [source, replace(source, framework=naming, checkpoint=target)]
    answers = [
        restricted(one, suited | _made(trace) | asked.generate.keys())
        for one in trace.sides.values()
    ]
    if len(answers) == 1:
        jobs[0] = replace(source, precisions=("float32", "float64"))
    else:
        jobs.append(replace(source, framework="pytorch", precisions=("float32", "float64")))
    comparison = Comparison(
        model,
        probes,
        special_tokens(model, trace.generation or {}),
        tuple(left_out(model, {trace.naming, naming})),
        tuple(jobs),
        options.tolerance,
    )
    (answer,) = run_children([jobs[1]], options.timeout)
    try:
        return comparison.judge(answers[0], answer, *answers[1:])
    except (
        LookupError,
        ValueError,
    ) as error:  # what was recorded does not fit together, or not all of it is there
        raise SourceError(
            f"{where}: the recorded answers cannot be used ({type(error).__name__}: {error})"
        ) from None


def _made(trace: Trace) -> frozenset[str]:
    """Return the names of the probes that the source made of sentences."""
    keys = (key.partition("/")[2] for key in trace.source.arrays if key.startswith("inputs/"))
    return frozenset(_names(list(keys)))
