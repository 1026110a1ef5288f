"""Do two models compute the same? Both run on the same probes, each in a process of its own.

How an error is judged is `yardstick.py`'s, how tokens are is `tokens.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ckptconv.base.errors import FrameworkError
from ckptconv.base.strict_json import Json, read_json
from ckptconv.run.answers import Answer, Job
from ckptconv.run.children import run_children
from ckptconv.run.coverage import coverage
from ckptconv.run.inputs import Inputs
from ckptconv.run.measuring import Measuring
from ckptconv.run.modalities import Probes, modality_of
from ckptconv.run.notices import notices
from ckptconv.run.places import Places
from ckptconv.run.report import ForwardReport
from ckptconv.run.runners import Array, InputSupport, runners
from ckptconv.run.special_tokens import SpecialTokens, special_tokens
from ckptconv.run.token_ids import new_tokens
from ckptconv.run.tokens import Generation, judge_tokens
from ckptconv.run.yardstick import Tolerance
from ckptconv.schema.model import Model
from ckptconv.schema.models import models

REFERENCE = "pytorch"
"""The runner that gives the reference: it alone computes in float64."""
BEAMS = (2, 4)
"""How many beams at least and at most; between them the checkpoint's own number."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A model that can be run: a checkpoint by its class, or an artefact by its runtime."""

    runner: str
    """Name of one of `runners()`."""
    path: Path

    @property
    def support(self) -> InputSupport:
        """What it can be fed with."""
        return runners()[self.runner].support(self.path)


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

        Raises: FrameworkError: a framework is missing, a child failed, or there was nothing to compare.
        """
        return self.judge(*run_children(self.jobs, self.timeout))

    def judge(self, *answers: Answer) -> ForwardReport:
        """Compare the answers, in the order of the jobs.

        Raises: FrameworkError: there was nothing to compare.
        """
        source, target = answers[:2]
        reference = next(
            answer for answer, job in zip(answers, self.jobs, strict=True) if job.is_reference
        )
        probes = {**self.probes, **encoded_probes(source)}
        places = Places(modality_of(self.model), self.jobs[0].facts)
        measuring = Measuring(probes, places, source, target, reference, self.tolerance)
        quantities = tuple(measuring.quantities())
        if not quantities:
            raise FrameworkError("nothing was compared: the models gave no quantity in common.")
        generations = tuple(self._generations(source, target, reference))
        return ForwardReport(
            quantities=quantities,
            generations=generations,
            texts=tuple(zip(self.jobs[0].texts, source.texts, target.texts, strict=True)),
            loading=(
                *target.problems,
                *(f"tokens of {name}" for name in _encoded_differently(answers)),
            ),
            notices=(
                *self.left_out,
                *(
                    f"not compared, since it is beyond one of the sides: the search {name}"
                    for name in self.jobs[0].generate
                    if name not in [generation.name for generation in generations]
                ),
                *notices(self.model, self.special, measuring, quantities, generations),
            ),
            source=source,
            target=target,
            reference=reference,
            probes=probes,
            coverage=coverage(self.model.tensors, reference.reached),
        )

    def _generations(self, source: Answer, target: Answer, reference: Answer) -> list[Generation]:
        """Judge every search that all sides could make."""
        return [
            judge_tokens(name, settings, source, target, reference)
            for name, settings in self.jobs[0].generate.items()
            if all(f"{name}/tokens" in answer.arrays for answer in (source, target, reference))
        ]


def encoded_probes(answer: Answer) -> Probes:
    """Return the probes that a child made of examples."""
    keys = (key for key in answer.arrays if key.startswith("inputs/"))
    return {key.partition("/")[2]: answer.arrays[key] for key in keys}


def _encoded_differently(answers: Sequence[Answer]) -> list[str]:
    """Return the inputs in which the sides' tokenizers or processors do not agree."""
    first, *rest = (encoded_probes(answer) for answer in answers)
    return sorted(
        name
        for name in first
        if not all(name in probes and np.array_equal(first[name], probes[name]) for probes in rest)
    )


def prepare(
    model: Model,
    source: Runnable,
    target: Runnable,
    *,
    reference: Path | None = None,
    options: Options | None = None,
    own_generation: bool = False,
    faults: Sequence[str] = (),
) -> Comparison:
    """Make probes from `model`, the source's, and jobs for both models.

    Args: reference: the source as PyTorch's, where neither side is. own_generation: also generate by the source's
    own settings, for a target that has them built in. faults: why the source's class cannot generate, as
    `generation_faults` returns them: then nothing is generated, and they are said.
    Raises: FrameworkError: PyTorch runs nowhere.
    """
    options = options or Options()
    options = replace(options, texts=()) if faults else options
    sides = [source, target]
    if REFERENCE not in (source.runner, target.runner):
        if reference is None:
            raise FrameworkError(
                f"{source.runner} against {target.runner}: neither is PyTorch's, which gives the reference."
            )
        sides.append(Runnable(REFERENCE, reference))
    supports = [side.support for side in sides]
    modality = modality_of(model)
    probes = modality.make_probes(model, options.seed, supports)
    own = _own_generation(source.path)
    special = special_tokens(model, own)
    jobs = make_jobs(
        model, sides, probes | dict(options.inputs.probes), own, options, own_generation
    )
    if faults:
        jobs = tuple(replace(job, generate={}) for job in jobs)
    return Comparison(
        model,
        jobs[0].probes,
        special,
        (*modality.left_out(model, supports), *faults),
        jobs,
        options.tolerance,
        options.timeout,
    )


def make_jobs(
    model: Model,
    sides: Sequence[Runnable],
    probes: Mapping[str, Array],
    own: Mapping[str, Json],
    options: Options,
    own_generation: bool = False,
) -> tuple[Job, ...]:
    """Return the job of each side; the first of PyTorch's gives the reference.

    Args: own: the source's generation config.
    """
    special, modality = special_tokens(model, own), modality_of(model)
    exact = next(number for number, side in enumerate(sides) if side.runner == REFERENCE)
    generate = searches(special, new_tokens(model, [side.support for side in sides]), own)
    if own_generation and not own.get("do_sample"):
        generate["own"] = {
            "own": True,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
        }
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
    return models()[model.config.text("model_type")].classes.get(runner, "")


def _own_generation(checkpoint: Path) -> Mapping[str, Json]:
    path = checkpoint / "generation_config.json"
    return read_json(path) if path.is_file() else {}


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
