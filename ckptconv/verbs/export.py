"""`export`: a program with its weights, which runs without transformers and its classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ckptconv.artefacts.example import write_example
from ckptconv.artefacts.formats import ARTEFACT_FORMATS, ArtefactFormat
from ckptconv.artefacts.process import require_libraries, run_export
from ckptconv.artefacts.stored import WEIGHTS
from ckptconv.base.errors import SourceError, require_choice
from ckptconv.base.files import ensure_folder
from ckptconv.base.presence import files_below, size_of
from ckptconv.base.results import Result
from ckptconv.base.strict_json import Json
from ckptconv.base.workers import counted
from ckptconv.compare.processors import require_processor
from ckptconv.run.forward import model_class
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.artefact import is_artefact, write_record
from ckptconv.stores.checkpoint import open_preferring_pytorch
from ckptconv.stores.companions import (
    copy_companions,
    left_behind,
    require_companions,
    whole_config,
    write_config,
)
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.hub import local_path, resolve
from ckptconv.stores.layouts.artefacts import LAYOUT
from ckptconv.transfer.loop import write_weights
from ckptconv.transfer.manifest import (
    FileDigest,
    Origin,
    digested,
    stored_digest,
    tables_digest,
    write_manifest,
)
from ckptconv.transfer.publish.stage import published
from ckptconv.verbs.convert import require_apart, require_consistent, source_files
from ckptconv.verbs.planning import Planned, Way, planned

PROGRAM_BYTES = 1 << 26
"""Room that graphs and companions are given on the disk beside the weights."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How an artefact is made."""

    max_length: int | None = None
    """Tokens of the longest answer; None takes the checkpoint's own setting."""
    beams: int | None = None
    """None takes the checkpoint's own setting."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Options of one format alone."""
    overwrite: bool = False
    timeout: float | None = None
    """Seconds that the export may take; None waits."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Called with bytes of weights done and to do; then the model is traced."""

    def shaping(self) -> dict[str, Json]:
        """Return the options that shape the bytes of the output, for its manifest."""
        return {"max_length": self.max_length, "beams": self.beams, **self.settings}


@dataclass(frozen=True, slots=True, repr=False)
class Export(Result):
    """What an export wrote."""

    source: Path
    target: Path
    pair: str
    format: str
    record: Mapping[str, Json]
    """What the artefact says of itself: programs, limits, search."""
    files: Mapping[str, int]
    """File -> bytes; the manifest is among them."""
    source_bytes: int
    """Of the files that hold the source's weights."""
    notices: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Size of the whole: all files."""
        return sum(self.files.values())


def export(
    source: Path | str,
    target: Path | str,
    format: str = "onnx",
    options: ExportOptions | None = None,
) -> Export:
    """Write an artefact: encode, step and generate as programs of one format, with the checkpoint's weights.

    Args: format: `onnx` and the other names of `ARTEFACT_FORMATS`.
    Raises: SourceError: PyTorch cannot run the model, or something in it has no place in the format.
    FrameworkError: a library is missing, or the export died. DestinationError: nothing was published.
    """
    options, target = options or ExportOptions(), local_path(target)
    require_choice("format", format, ARTEFACT_FORMATS)
    chosen = ARTEFACT_FORMATS[format]
    require_libraries(chosen, options.settings)
    path = resolve(source)
    if is_artefact(path):
        raise SourceError(
            f"{path}: is already an artefact; give the checkpoint that it was made from."
        )
    checkpoint = open_preferring_pytorch(path)
    require_apart(path, target)
    naming: NamingName = checkpoint.weights.naming
    planning = planned(checkpoint, Way(naming, "pytorch", FORMATS["safetensors"]))
    require_companions(path)
    require_processor(planning.model, path)
    ensure_folder(path)
    require_consistent(planning.plan)
    read, remarks = {"source": source_files(checkpoint)}, list[str]()
    needs = planning.plan.nbytes + PROGRAM_BYTES
    with (
        published(target, overwrite=options.overwrite, needs=needs, remarks=remarks) as stage,
        digested(read) as sources,
    ):
        digests = _write_weights(stage, planning, options)
        copy_companions(path, stage)
        job = _job(stage, model_class(planning.model, "pytorch"), chosen, options)
        answer = run_export(job, path, target, options.timeout)
        write_record(stage, answer["record"])
        write_example(stage, chosen, answer["record"])
        if not chosen.keeps_weights:
            (stage / WEIGHTS).unlink()
            digests = {name: digest for name, digest in digests.items() if name != WEIGHTS}
        checkpoint.require_unchanged()
        origin = replace(_origin(planning, naming, chosen, options), sources=sources.result())
        write_manifest(stage, origin, {**digests, **_placed(stage)})
        files = {file.relative_to(stage).as_posix(): size_of(file) for file in files_below(stage)}
    return Export(
        source=path,
        target=target,
        pair=planning.model.label,
        format=format,
        record=answer["record"],
        files=files,
        source_bytes=sum(map(size_of, checkpoint.weights.files)),
        notices=(*planning.plan.notices, *left_behind(path), *answer["notices"], *remarks),
    )


def _write_weights(
    stage: Path, planning: Planned, options: ExportOptions
) -> Mapping[str, FileDigest]:
    """Write config and weights as `normalize` does; return the digests of the weights."""
    plan = planning.plan
    progress = counted(options.progress, 2 * plan.nbytes)
    form = FORMATS["safetensors"]
    written = write_weights(plan, form, "pytorch", stage, None, progress)
    model = planning.model
    config = whole_config(
        model.config, model.classes["pytorch"], plan.healed, None, planning.settings
    )
    write_config(stage, config)
    return written.digests


def _placed(stage: Path) -> dict[str, FileDigest]:
    """Return the digests of what holds the weights of a format that keeps them in a file of its own, by path."""
    return {
        file.relative_to(stage).as_posix(): stored_digest(file, weights.tensors.values())
        for weights in LAYOUT.read(stage)
        for file in weights.files
    }


def _job(
    stage: Path, pytorch_class: str, form: ArtefactFormat, options: ExportOptions
) -> dict[str, Json]:
    """Return what the child is asked for; see `ckptconv.artefacts.__main__`."""
    return {
        "checkpoint": str(stage.absolute()),
        "model_class": pytorch_class,
        "format": form.name,
        "max_length": options.max_length,
        "beams": options.beams,
        "options": dict(options.settings),
    }


def _origin(
    planning: Planned, naming: NamingName, form: ArtefactFormat, options: ExportOptions
) -> Origin:
    """Return what the manifest says of this export, but for the source's digests."""
    return Origin(
        command="export",
        options=options.shaping(),
        pair=planning.model.label,
        naming="pytorch",
        format=form.name,
        tables=tables_digest(planning.model.tensors, (naming, "pytorch")),
        healed=tuple(fix.entry for fix in planning.plan.healed),
        sources={},
    )
