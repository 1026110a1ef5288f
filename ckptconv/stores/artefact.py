"""`artefact.json`: what an artefact says of itself, for whatever runs it. Knows no framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import Json, dump_json, in_words, read_json

RECORD = "artefact.json"
MARKS = ("decoder_step.onnx", "step.jax")
"""Files without which no artefact of a format is complete, and that nothing else has."""
BEAMS = 4
"""Of an artefact's `generate_beam`, where the checkpoint's own search has no beams."""
BEAM_PROGRAM = "generate_beam"
VERSION = 1
"""Counts the changes of the record's own form."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A directory that `export` wrote."""

    path: Path
    values: Mapping[str, Json]

    @property
    def format(self) -> str:
        """Its format's name, as `--format` takes it."""
        return str(self.values["format"])

    @property
    def inputs(self) -> tuple[str, ...]:
        """What `encode` takes, the main input first."""
        return tuple(str(value["name"]) for value in self.signature("encode", "inputs"))

    @property
    def programs(self) -> Mapping[str, Mapping[str, Json]]:
        """Program name -> file, inputs and outputs; `generate` may be missing."""
        return _objects(self.values["programs"])

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the stored tensors that some program uses."""
        weights = self.values["weights"]
        assert isinstance(weights, list)
        return tuple(str(name) for name in weights)

    @property
    def converted(self) -> tuple[str, ...]:
        """Names of the checkpoint's tensors of whose values a converter made others; none where it rounded them."""
        names = self.values.get("converted", [])
        if not isinstance(names, list) or self.values.get("int8"):
            return ()
        return tuple(str(name) for name in names)

    @property
    def other_beams(self) -> int:
        """Beams of a search that it has beside the checkpoint's own, which has none; 0 where it has no such search."""
        return BEAMS if BEAM_PROGRAM in self.programs and self.search.get("beams") == 1 else 0

    @property
    def search(self) -> Mapping[str, Json]:
        """The search that `generate` makes by default."""
        return _object(self.values["search"])

    def limit(self, side: str) -> int | None:
        """Return how many positions `encoder` or `decoder` has; None where there is no table of them."""
        limit = _object(self.values["limits"])[side]
        return limit if isinstance(limit, int) else None

    def file(self, program: str) -> Path:
        """Return the file of a program."""
        return self.path / str(self.programs[program]["file"])

    def signature(self, program: str, side: str) -> Sequence[Mapping[str, Json]]:
        """Return name, dtype and shape of each of a program's `inputs` or `outputs`."""
        values = self.programs[program][side]
        assert isinstance(values, list)
        return [_object(value) for value in values]


def is_artefact(path: Path) -> bool:
    """Tell whether a directory is an artefact: by its record, or by a file that only artefacts have."""
    return any(is_file(path / name) for name in MARKS) or _is_record(path / RECORD)


def _is_record(path: Path) -> bool:
    """Tell a record of ours from a file of that name that someone else left; what cannot be read counts as ours."""
    try:
        return is_file(path) and "artefact" in read_json(path)
    except SourceError:
        return True


def read_artefact(path: Path) -> Artefact:
    """Return what an artefact says of itself.

    Raises: SourceError: there is no record, it is malformed, or of a later version of ckptconv.
    """
    if not is_file(path / RECORD):
        raise SourceError(
            f"{path}: no {RECORD} here, without which an artefact of `ckptconv export` cannot be judged."
        )
    values = read_json(path / RECORD)
    if values.get("artefact") != VERSION:
        raise SourceError(
            f"{path / RECORD}: of a layout ({in_words(values.get('artefact'))}) that this version does not know."
        )
    artefact = Artefact(path, values)
    try:
        for program in artefact.programs:
            if Path(artefact.file(program)).name != artefact.programs[program]["file"]:
                raise ValueError(f"{program}: a file elsewhere")
            for side in ("inputs", "outputs"):
                artefact.signature(program, side)
        _ = artefact.format, artefact.inputs, artefact.weights, artefact.search
        _ = artefact.limit("encoder"), artefact.limit("decoder")
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise SourceError(f"{path / RECORD}: malformed: {ascii(str(error))[:200]}") from None
    return artefact


def artefact_notices(paths: Iterable[Path]) -> Iterator[str]:
    """Say of each artefact that its programs are more than the weights that are looked at. Raises SourceError."""
    for artefact in map(read_artefact, filter(is_artefact, paths)):
        programs = ", ".join(sorted(artefact.programs))
        if artefact.converted:
            yield f"{artefact.path}: {converted_notice(artefact.converted)}"
        yield (
            f"{artefact.path}: an artefact ({artefact.format}) with the programs {programs}, which"
            " `ckptconv verify CHECKPOINT ARTEFACT` judges; here only its weights are looked at"
        )


def converted_notice(names: Sequence[str]) -> str:
    """Say that a converter made others of some tensors, of which there is at least one."""
    return (
        f"{len(names)} tensors are not in the file as they are, since no program uses them or the converter made"
        f" others of them: {names[0]}{' ...' if len(names) > 1 else ''}; the outputs alone judge them"
    )


def write_record(folder: Path, values: Mapping[str, Json]) -> None:
    """Write the record. Raises OSError."""
    (folder / RECORD).write_bytes(dump_json({"artefact": VERSION, **values}))


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def _objects(value: Json) -> Mapping[str, Mapping[str, Json]]:
    return {name: _object(entry) for name, entry in _object(value).items()}
