"""Do two checkpoints compute the same? Both run on the same probes, each in a process of its own.

How an error is judged is `yardstick.py`'s, how tokens are is `tokens.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ckptconv.base.errors import FrameworkError
from ckptconv.base.strict_json import Json, read_json
from ckptconv.run.answers import Answer, Job
from ckptconv.run.children import run_children
from ckptconv.run.coverage import coverage
from ckptconv.run.inputs import Inputs
from ckptconv.run.measuring import Measuring
from ckptconv.run.notices import notices
from ckptconv.run.probes import RIGHT, left_out, make_probes, new_tokens, position_limit
from ckptconv.run.report import ForwardReport
from ckptconv.run.runners import Array
from ckptconv.run.special_tokens import SpecialTokens, pad_id, special_tokens
from ckptconv.run.tokens import judge_tokens
from ckptconv.run.yardstick import Tolerance
from ckptconv.schema.model import Model
from ckptconv.schema.vocabulary import NamingName

Sides: TypeAlias = list[tuple[NamingName, Path]]
BEAMS = (2, 4)
"""How many beams at least and at most; between them the checkpoint's own number."""


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
    """Two checkpoints, the jobs for their frameworks, and what is needed to judge the answers."""

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
        probes = {**self.probes, **_made(source)}
        measuring = Measuring(probes, source, target, reference, self.tolerance)
        quantities = tuple(measuring.quantities())
        if not quantities:
            raise FrameworkError("nothing was compared: the models gave no quantity in common.")
        generations = tuple(
            judge_tokens(name, settings, source, target, reference)
            for name, settings in self.jobs[0].generate.items()
        )
        return ForwardReport(
            quantities=quantities,
            generations=generations,
            texts=tuple(zip(self.jobs[0].texts, source.texts, target.texts, strict=True)),
            loading=(
                *target.problems,
                *(f"tokens of {name}" for name in _tokenized_apart(answers)),
            ),
            notices=(
                *self.left_out,
                *notices(self.model, self.special, measuring, quantities, generations),
            ),
            source=source,
            target=target,
            reference=reference,
            probes=probes,
            coverage=coverage(self.model.tensors, reference.reached),
        )


def _made(answer: Answer) -> dict[str, Array]:
    """Return the probes that a child made of sentences."""
    own = (key for key in answer.arrays if key.startswith("inputs/"))
    return {key.partition("/")[2]: answer.arrays[key] for key in own}


def _tokenized_apart(answers: Sequence[Answer]) -> list[str]:
    """Return the inputs in which the checkpoints' tokenizers do not agree."""
    first, *others = (_made(answer) for answer in answers)
    return sorted(
        name
        for name in first
        if not all(name in one and np.array_equal(first[name], one[name]) for one in others)
    )


def prepare(
    model: Model,
    source: Path,
    target: Path,
    target_naming: NamingName,
    *,
    source_naming: NamingName = "pytorch",
    reference: Path | None = None,
    options: Options | None = None,
) -> Comparison:
    """Make probes from `model`, the source's, and jobs for both checkpoints.

    Args: reference: the source as PyTorch's, where neither side is.
    Raises: FrameworkError: PyTorch runs nowhere.
    """
    options = options or Options()
    sides: Sides = [(source_naming, source), (target_naming, target)]
    if "pytorch" not in (source_naming, target_naming):
        if reference is None:
            raise FrameworkError(
                f"{source_naming} against {target_naming}: neither is PyTorch's, which gives the reference."
            )
        sides.append(("pytorch", reference))
    namings = {naming for naming, _ in sides}
    probes = make_probes(model, options.seed, namings) | dict(options.inputs.probes)
    own = _own_generation(source)
    special = special_tokens(model, own)
    jobs = make_jobs(model, sides, probes, own, options)
    return Comparison(
        model,
        probes,
        special,
        tuple(left_out(model, namings)),
        jobs,
        options.tolerance,
        options.timeout,
    )


def make_jobs(
    model: Model,
    sides: Sides,
    probes: Mapping[str, Array],
    own: Mapping[str, Json],
    options: Options,
) -> tuple[Job, ...]:
    """Return the job of each side; the first of PyTorch's gives the reference.

    Args: own: the source's generation config.
    """
    special = special_tokens(model, own)
    exact = next(number for number, (naming, _) in enumerate(sides) if naming == "pytorch")
    return tuple(
        Job(
            naming,
            path,
            probes,
            ("float32", "float64") if number == exact else ("float32",),
            generate=searches(special, new_tokens(model), own),
            generate_from=RIGHT,
            texts=tuple(options.texts),
            sentences=tuple((one.text, one.target) for one in options.inputs.sentences),
            feeding=_feeding(model, special),
        )
        for number, (naming, path) in enumerate(sides)
    )


def _own_generation(checkpoint: Path) -> Mapping[str, Json]:
    path = checkpoint / "generation_config.json"
    return read_json(path) if path.is_file() else {}


def _feeding(model: Model, special: SpecialTokens) -> dict[str, Json]:
    """Return what is needed to make probes of sentences."""
    limits = (position_limit(side) for side in (model.encoder, model.decoder))
    pad = pad_id(model.decoder.config)
    return {
        "start": special.decoder_start,
        "pad": pad,
        **dict(zip(("encoder", "decoder"), limits, strict=True)),
    }


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
