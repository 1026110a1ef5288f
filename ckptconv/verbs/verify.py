"""`verify`: do two checkpoints hold the same model, and compute the same?

First the weights, bit for bit through the tables, without any framework. Then the outputs: the real
classes run the same probes, each framework in a process of its own, and the target is judged by the
source's own rounding error (see `forward.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ckptconv.base.errors import Problem, UsageError, require_choice, require_number
from ckptconv.base.lazy_module import LazyModule
from ckptconv.base.presence import is_file
from ckptconv.base.results import PagedResult
from ckptconv.base.workers import counted
from ckptconv.binding.align import TensorPair, align
from ckptconv.binding.bind import Binding, bind_whole
from ckptconv.binding.plan import Move, integer_constants, make_plan
from ckptconv.compare.comparison import (
    WeightDifference,
    check_constants,
    check_equal,
    compare,
)
from ckptconv.compare.configs import (
    ConfigDifference,
    differing_settings,
    generation_file,
    settings_apart,
    tokenizer_notices,
)
from ckptconv.compare.processors import differing_processors, require_processor
from ckptconv.compare.stream import Relation
from ckptconv.run.tolerance import Tolerance
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model, without_fixes
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint, open_preferring_pytorch
from ckptconv.stores.hub import resolve
from ckptconv.stores.tensor import require_checksums
from ckptconv.transfer.pieces import OpenFiles
from ckptconv.verbs.outputs import (
    compare_outputs,
    format_name,
    pointers,
    require_answerable,
    require_no_artefact,
    require_run_arguments,
    runnable_of,
    without_converted,
)
from ckptconv.verbs.planning import Positions, fixes_of_both, never_healed_notices

if TYPE_CHECKING:
    from ckptconv.run import forward, localization
    from ckptconv.run.forward import Options
else:  # for who asks for type hints: what runs models takes long to import
    forward = LazyModule("ckptconv.run.forward")
    localization = LazyModule("ckptconv.run.localization")

Level: TypeAlias = Literal["weights", "outputs"]
NOTHING_IN_COMMON = "the two have no tensor in common, so neither model was run"


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What comparing every tensor through the tables showed."""

    tensors: int
    nbytes: int
    """Bytes compared."""
    differences: tuple[WeightDifference, ...]
    problems: tuple[Problem, ...]
    """Tensors that the target lacks, has too many, or has in another shape."""
    notices: tuple[str, ...]
    moves: tuple[Move, ...] = ()
    """Everything that was compared: where it comes from, and as what it is stored."""

    @property
    def matches(self) -> bool:
        """True where every tensor is there and every bit is right; never for nothing compared."""
        return self.tensors > 0 and not self.differences and not self.problems


@dataclass(frozen=True, slots=True, repr=False)
class Verification(PagedResult):
    """The verdict, and what it rests on."""

    source: Path
    target: Path
    pair: str
    source_naming: NamingName
    naming: NamingName
    """The target's."""
    format: str
    weights: WeightsReport
    outputs: forward.ForwardReport | None
    """None where only the weights were asked for."""
    config: tuple[ConfigDifference, ...] = ()
    """Keys of the configs that matter to an answer and differ, the source's value first."""
    min_coverage: float | None = None
    """The least share of the weights that must reach the outputs [percent]."""

    @property
    def matches(self) -> bool:
        """True where everything that was asked for matches, the configs ask for the same, and enough was looked at."""
        return self.same and self.covers

    @property
    def same(self) -> bool:
        """True where no difference was found, however much was looked at."""
        return (
            self.weights.matches
            and not self.config
            and (self.outputs is None or self.outputs.matches)
        )

    @property
    def covers(self) -> bool:
        """True where the outputs looked at as much of the model as was asked for."""
        if self.min_coverage is None:
            return True
        coverage = self.outputs.coverage if self.outputs else None
        return coverage is not None and coverage.percent >= self.min_coverage

    @property
    def where(self) -> localization.Where | None:
        """What leads from a difference to its cause; None where there is none."""
        if self.same:
            return None
        from ckptconv.run.localization import find_where

        outputs = (self.outputs.outside, self.outputs.quantities) if self.outputs else ((), ())
        return find_where(self.weights.differences, self.weights.matches, self.config, *outputs)


def verify(
    source: Path | str,
    target: Path | str,
    level: Level = "outputs",
    *,
    seed: int = 0,
    texts: Sequence[str] = (),
    inputs: Path | None = None,
    tolerance: Tolerance | None = None,
    min_coverage: float | None = None,
    save_trace: Path | None = None,
    timeout: float | None = None,
    positions: Positions | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Compare a checkpoint with a converted one, each PyTorch's, TF's or Flax's, or with what `export` made of it.

    Args: source: a checkpoint; or a file, the trace of one (see `record`), which needs neither it nor PyTorch,
    and brings its own seed, texts and inputs.
    texts: sentences to generate for on both sides, with the checkpoint's own tokenizer; names of files for a model
    that reads images or sound.
    inputs: a file of more inputs, see `read_inputs`. tolerance: takes the place of the yardstick.
    min_coverage: a match needs so large a share of the weights to reach the outputs [percent].
    save_trace: a file for the source's answers, which the target is then held against.
    timeout: seconds that the frameworks may take; None waits.
    positions: how the tables of a RoBERTa-like Flax model without a record count, see `flax2pt`.
    progress: called with bytes compared and bytes to compare; then the models run.
    Raises: SourceError: one of the two is no checkpoint. FrameworkError: a framework is missing or died.
    UsageError: an argument is none that it takes, such as a level of another name.
    """
    require_arguments(
        level,
        min_coverage=min_coverage,
        seed=seed,
        texts=texts,
        timeout=timeout,
        positions=positions,
    )
    with _early(level, source, target, save_trace):
        path = resolve(source)
        if is_file(path):
            recorded_target = open_checkpoint(resolve(target))
            recorded = _options(seed, texts, tolerance, timeout)
            verdict = _verify_recorded(path, recorded_target, level, recorded, positions, progress)
            return replace(verdict, min_coverage=min_coverage)
        first, second = open_preferring_pytorch(path), open_checkpoint(resolve(target))
        require_no_artefact(first)
        model = read_model(without_fixes(first.config))
        require_answerable(model, texts)
        for checkpoint in (first, second) if model.reads != "tokens" else ():
            require_processor(model, checkpoint.path)
        runs = level == "outputs" or save_trace is not None
        options = (
            _options(seed, texts, tolerance, timeout, inputs, model) if runs or inputs else None
        )
        weights = _files_report(first, model, second, progress, positions)
        outputs = None
        if runs and not save_trace and not weights.tensors:
            weights = replace(weights, notices=(*weights.notices, NOTHING_IN_COMMON))
        elif runs and options:
            outputs = _answers(first, model, second, options, positions, save_trace, inputs)
        return Verification(
            first.path,
            second.path,
            model.label,
            first.weights.naming,
            second.weights.naming,
            format_name(second),
            weights,
            outputs,
            differing_settings(first, second),
            min_coverage,
        )


def _early(
    level: Level, source: Path | str, target: Path | str, save_trace: Path | None
) -> AbstractContextManager[None]:
    """Let the frameworks be imported meanwhile, where models are to run."""
    if level == "weights":
        return nullcontext()
    from ckptconv.run.early import early_children, sides

    return early_children(*sides(source, target, save_trace))


def require_arguments(
    level: str = "outputs", *, min_coverage: float | None = None, **running: Any
) -> None:
    """Refuse what `verify` does not take, alone or together. Raises UsageError.

    Args: running: as `require_run_arguments` takes them.
    """
    require_choice("level", level, get_args(Level))
    require_run_arguments(**running)
    if min_coverage is None:
        return
    require_number("min_coverage", min_coverage, 0, 100)
    if level == "weights":
        raise UsageError("min_coverage: level 'weights' runs no model, so it measures no coverage")


def _files_report(
    source: Checkpoint,
    model: Model,
    target: Checkpoint,
    progress: Callable[[int, int], None],
    positions: Positions | None,
) -> WeightsReport:
    """Compare the weights, and say what else the files tell: of what an export changed, tokenizers and processors."""
    weights = compare_weights(source, model, target, progress, positions)
    names = "the source", "the target"
    beside = [*tokenizer_notices(source.path, target.path, names)]
    if model.reads != "tokens":
        beside += differing_processors(source.path, target.path, names)
    missing, remarks = without_converted(weights.problems, target)
    return replace(
        weights,
        notices=(*weights.notices, *remarks, *beside),
        problems=(*missing, *pointers(target)),
    )


def _options(
    seed: int,
    texts: Sequence[str],
    tolerance: Tolerance | None,
    timeout: float | None,
    inputs: Path | None = None,
    model: Model | None = None,
) -> Options:
    """Return what is asked of the outputs. Raises SourceError: the file of inputs has none for the model."""
    from ckptconv.run.forward import Options
    from ckptconv.run.inputs import Inputs, read_inputs

    own = read_inputs(inputs, model) if inputs and model else Inputs()
    return Options(seed, texts, own, tolerance, timeout)


def _answers(
    source: Checkpoint,
    model: Model,
    target: Checkpoint,
    options: Options,
    positions: Positions | None,
    save_trace: Path | None,
    inputs: Path | None,
) -> forward.ForwardReport:
    """Run both models; or record the source's answers in a file, and hold the target against it."""
    if save_trace is None:
        return compare_outputs(source, model, target, options, positions)
    from ckptconv.run.recording import compare_recorded
    from ckptconv.verbs.record import open_trace, record

    record(
        source.path,
        save_trace,
        seed=options.seed,
        texts=options.texts,
        inputs=inputs,
        timeout=options.timeout,
        positions=positions,
    )
    trace, _ = open_trace(save_trace)
    return compare_recorded(trace, save_trace, model, runnable_of(target), options)


def _verify_recorded(
    path: Path,
    target: Checkpoint,
    level: Level,
    options: Options,
    positions: Positions | None,
    progress: Callable[[int, int], None],
) -> Verification:
    """Compare a checkpoint with a trace, which has digests instead of weights."""
    from ckptconv.run.recording import compare_recorded
    from ckptconv.verbs.record import compare_digests, open_trace

    trace, model = open_trace(path)
    require_processor(model, target.path)
    compared = compare_digests(trace, model, target, progress, positions)
    missing, remarks = without_converted(compared.problems, target)
    problems = (*missing, *pointers(target))
    unhealed = never_healed_notices(model, target)
    notices = (*target.notices, *unhealed, *compared.notices, *remarks)
    weights = WeightsReport(compared.tensors, compared.nbytes, (), problems, notices)
    outputs = None
    if level == "outputs":
        target.require_loadable()
        outputs = compare_recorded(trace, path, model, runnable_of(target), options)
    config = settings_apart(
        Config(trace.config, str(path)),
        trace.generation,
        target.config,
        generation_file(target.path),
    )
    namings, form = (trace.naming, target.weights.naming), format_name(target)
    return Verification(path, target.path, model.label, *namings, form, weights, outputs, config)


def compare_weights(
    source: Checkpoint,
    model: Model,
    target: Checkpoint,
    progress: Callable[[int, int], None] = lambda done, total: None,
    positions: Positions | None = None,
) -> WeightsReport:
    """Compare every tensor of the model as the target holds it with what the source holds, bit for bit.

    Raises: PlanError: the source itself is incomplete, or contradicts its config.
    SourceError: one of the two does not say how its positions count.
    """
    fixes_first, fixes_second = fixes_of_both((model, model), (source, target), positions)
    first = bind_whole(model, source, fixes_first)
    second = bind_whole(model, target, fixes_second)
    fixes = second.fixes.values()
    plan = make_plan(first, target.weights.naming, what=str(source.path), fixes=fixes)
    require_checksums([*plan.sources.values(), *target.weights.tensors.values()])
    check_equal(plan.equalities)
    check_constants([*integer_constants(first)])
    alignment = align(first, second)
    pairs = [
        _as_stored(pair)
        for pair in alignment.pairs
        if pair.move.tensor.key in second.stored or pair.move.tensor.key in alignment.zeros
    ]
    nbytes = sum(pair.stored.spec.nbytes for pair in pairs)
    with OpenFiles() as files:
        outcomes = compare(pairs, files, counted(progress, nbytes), measured=False)
    judged = list(zip(pairs, outcomes, strict=True))
    absent = {key for key, letter in alignment.zeros.items() if letter == "A"}
    lost = [pair for pair, outcome in judged if _key(pair) in absent and outcome.relation]
    problems = (*second.problems(), *(_not_zeros(pair, second) for pair in lost))
    present = [(pair, outcome) for pair, outcome in judged if _key(pair) not in absent]
    moves = tuple(pair.move for pair, _ in present)
    return WeightsReport(
        len(present),
        sum(pair.stored.spec.nbytes for pair, _ in present),
        tuple(_difference(pair, outcome.relation) for pair, outcome in present if outcome.relation),
        tuple(sorted(problems)),
        (
            *source.notices,
            *target.notices,
            *never_healed_notices(model, source),
            *never_healed_notices(model, target),
            *plan.notices,
            *_cast_notices(moves),
        ),
        moves,
    )


def _key(pair: TensorPair) -> str:
    return pair.move.tensor.key


def _difference(pair: TensorPair, relation: Relation) -> WeightDifference:
    source = pair.move.source.spec.name if pair.move.source else ""
    return WeightDifference(pair.stored.spec.name, source, relation, pair.move.tensor)


def _not_zeros(pair: TensorPair, target: Binding) -> Problem:
    """Say that the target lacks what may be left out only where it is zero, or what its class computes."""
    name = next(iter(target.names[_key(pair)]), _key(pair))
    values = "zero" if pair.move.tensor.module.formula is None else "what the class computes"
    detail = f"{pair.stored.spec.name} of the source is not {values}, so it must be there"
    return Problem("missing", name, detail)


def _as_stored(pair: TensorPair) -> TensorPair:
    """Return the pair whose move casts to the dtype in which the target is stored."""
    target = replace(pair.move.target, dtype=pair.stored.spec.dtype)
    return replace(pair, move=replace(pair.move, target=target))


def _cast_notices(moves: Sequence[Move]) -> Iterator[str]:
    pairs = {(move.source.spec.dtype, move.target.dtype) for move in moves if move.source}
    for source_dtype, stored in sorted(pairs):
        if source_dtype != stored:
            yield f"stored as {stored} where the source has {source_dtype}: compared with the cast of the source"
