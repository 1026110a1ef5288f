"""Faults that the outputs are to find by themselves: many damaged copies, each framework started once.

Each copy gets one fault and is judged as `verify` would, once by its outputs alone and once with all that there is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from ckptconv.base.errors import FrameworkError
from ckptconv.compare.configs import differing_settings
from ckptconv.run.children import Answer, run_batches
from ckptconv.run.forward import Comparison, ForwardReport, Runnable, prepare
from ckptconv.run.localization import Where, find_where
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.verify import WeightsReport, compare_weights
from faultkit.faults import Fault, faults
from faultkit.models import DATES, Conversion, converted
from faultkit.settings import ConfigFault, config_faults
from faultkit.tensors import write
from tiny import plain, random_pair

MODELS: Sequence[tuple[NamingName, str, str]] = (
    ("tf", "electra", "bert"),
    ("tf", "deberta", "bert"),
    ("tf", "xlnet", "bert"),
    ("tf", "bert", "xglm"),
    ("flax", "roberta", "gpt2"),
    ("flax", "albert", "bert"),
)
STEPS = {"tf": 5, "flax": 8}
"""The sample is the trained model alone, with every fifth kind in TF and every eighth in Flax, and no beams."""
"""Eight families; each pair gets every second kind of fault. The trained model gets all, in both frameworks."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One damaged copy of a conversion, and what was found out about it."""

    naming: NamingName
    title: str
    fault: Fault | ConfigFault | None
    """None: nothing is wrong with it."""
    weights: WeightsReport
    config: tuple[str, ...]
    """Keys that differ."""
    where: Where
    outputs: ForwardReport | str
    """Or why the model did not run."""

    @property
    def found(self) -> bool:
        """True where the outputs alone tell that something is wrong: a model that does not run is wrong too."""
        return isinstance(self.outputs, str) or not self.outputs.matches

    def __str__(self) -> str:
        return f"{self.naming} {self.title}: {self.fault}"


def models(root: Path, whole: bool) -> Iterator[Conversion]:
    """Make and convert every model, or those of the sample."""
    for naming in ("tf", "flax"):
        yield converted(DATES, naming, root / f"dates-{naming}", "dates")
    for naming, encoder, decoder in MODELS if whole else ():
        source = root / f"{encoder}-{decoder}-{naming}"
        random_pair(plain(encoder), plain(decoder), source)
        yield converted(source, naming, Path(f"{source}-converted"), f"{encoder} -> {decoder}")


def chosen(model: Conversion, number: int, whole: bool) -> list[Fault | ConfigFault | None]:
    """Return no fault, and one of each kind or of some kinds, at a place that goes by kind and model."""
    kinds: dict[str, list[Fault | ConfigFault]] = {}
    for one in (*faults(model.tensors), *config_faults(model.composition, model.target.path)):
        kinds.setdefault(one.kind, []).append(one)
    places = [
        some[crc32(f"{model.title} {kind}".encode()) % len(some)] for kind, some in kinds.items()
    ]
    if model.title == "dates":
        return [None, *(places if whole else places[number :: STEPS[model.target.weights.naming]])]
    return [None, *places[number % 2 :: 2]]


def damaged(model: Conversion, fault: Fault | ConfigFault | None, folder: Path) -> Path:
    """Copy a conversion and plant a fault into the copy."""
    shutil.copytree(model.target.path, folder)
    if isinstance(fault, ConfigFault):
        fault.write(folder)
    elif fault:
        for name, array in fault.values.items():
            write(model.by_name[name].place, array, folder)
    return folder


def trials(root: Path, whole: bool) -> list[Trial]:
    """Run every damaged copy in one process of each framework, and judge."""
    planned: list[tuple[Conversion, Fault | ConfigFault | None, Comparison]] = []
    for number, model in enumerate(models(root, whole)):
        for fault in chosen(model, number, whole):
            naming = model.target.weights.naming
            copy = damaged(model, fault, root / "copies" / str(len(planned)))
            source = Runnable("pytorch", model.source.path)
            comparison = prepare(model.composition, source, Runnable(naming, copy))
            planned.append((model, fault, comparison if whole or not fault else _quick(comparison)))
    sources = {model.target.path: comparison.jobs[0] for model, _, comparison in reversed(planned)}
    jobs = {
        naming: [one.jobs[1] for _, _, one in planned if one.jobs[1].runner == naming]
        for naming in ("tf", "flax")
    }
    first, *others = run_batches([list(sources.values()), *jobs.values()])
    references = dict(zip(sources, first, strict=True))
    answers = {
        job.checkpoint: answer
        for some, found in zip(jobs.values(), others, strict=True)
        for job, answer in zip(some, found, strict=True)
    }
    return [
        _judged(
            model,
            fault,
            comparison,
            references[model.target.path],
            answers[comparison.jobs[1].checkpoint],
        )
        for model, fault, comparison in planned
    ]


def _quick(comparison: Comparison) -> Comparison:
    """Leave the search with beams out, which takes most of the time of a damaged copy."""
    jobs = [
        replace(job, generate={key: how for key, how in job.generate.items() if key == "greedy"})
        for job in comparison.jobs
    ]
    return replace(comparison, jobs=tuple(jobs))


def _outputs(
    comparison: Comparison, source: Answer, answer: Answer | FrameworkError
) -> ForwardReport | str:
    """Return the report, or why there is none: a model that does not run, or cannot generate."""
    if isinstance(answer, FrameworkError):
        return str(answer)
    try:
        return comparison.judge(source, answer)
    except FrameworkError as error:
        return str(error)


def _judged(
    model: Conversion,
    fault: Fault | ConfigFault | None,
    comparison: Comparison,
    source: Answer | FrameworkError,
    answer: Answer | FrameworkError,
) -> Trial:
    assert isinstance(source, Answer), source
    target = open_checkpoint(comparison.jobs[1].checkpoint)
    weights = compare_weights(model.source, model.composition, target)
    config = differing_settings(model.source, target)
    outputs = _outputs(comparison, source, answer)
    report = ((), ()) if isinstance(outputs, str) else (outputs.outside, outputs.quantities)
    where = find_where(weights.differences, weights.matches, config, *report)
    keys = tuple(difference.key for difference in config)
    return Trial(target.weights.naming, model.title, fault, weights, keys, where, outputs)
