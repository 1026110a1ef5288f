"""The JSON documents of `--json` and `to_dict`, as types: what every key is, for type checkers and for JSON Schemas.

A document begins with `schema`, its name, and `schema_version`. Keys are added without a new version; a version is new
when a key goes or changes its meaning. `json_schema` makes a JSON Schema (2020-12) of a type, and `python -m
ckptconv.report.documents FOLDER` writes them all: they lie in `schemas/`, and a test fails when one is stale.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import (
    Any,
    ForwardRef,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ckptconv.base.strict_json import Json
from ckptconv.report.stamp import VERSION

FOLDER = Path(__file__).parent / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Document(TypedDict):
    """What every document begins with."""

    schema: str
    """Name of the kind of document."""
    schema_version: int
    """Version of its keys."""


class ProblemEntry(TypedDict):
    """Why a tensor cannot be used."""

    kind: str
    """`missing`, `unexpected`, `shape`, `dtype` and others."""
    name: str
    detail: str


class ErrorDocument(Document):
    """A command that ended with an error."""

    error: str
    """Class of the error."""
    message: str
    exit_code: int
    problems: list[ProblemEntry]
    """Every problem with the tensors, where the plan failed."""


class MoveEntry(TypedDict):
    """One tensor of a plan."""

    source: str | None
    """Name in the source; null for what is newly made."""
    target: str
    dtype: str
    """In the target."""
    shape: list[int]
    """In the target."""
    axes: str
    """`as is`, `transposed`, `rows moved`, `drawn`, `filled` or what else happens to the values."""


class ValuesEntry(TypedDict):
    """A tensor with values that are not finite, or were lost in a cast."""

    tensor: str
    elements: int
    dtype: str
    """In the source."""
    written: str
    """Dtype in the target."""
    nan: int
    """In the source."""
    infinite: int
    """In the source."""
    overflowed: int
    """Finite in the source, infinite after the cast."""
    zeroed: int
    """Not zero in the source, zero after the cast."""
    subnormal: int
    """Normal in the source, subnormal after the cast."""


class ConversionDocument(Document):
    """`pt2tf`, `pt2flax`, `tf2pt`, `flax2pt`, `normalize`, `join`."""

    ckptconv: str
    """Version that wrote it."""
    sources: list[str]
    """One directory; or encoder and decoder."""
    target: str
    pair: str
    dialect: str
    """Naming of the target: `pytorch`, `tf` or `flax`."""
    format: str
    files: list[str]
    """Weight files; empty after a dry run."""
    bytes: int
    """Size of the tensors."""
    healed: list[Json]
    """What was moved since the Flax class numbers positions otherwise, as the config records it."""
    notices: list[str]
    values: list[ValuesEntry]
    tensors: list[MoveEntry]


class SplitPart(TypedDict):
    """One part that `split` wrote."""

    name: str
    bytes: int
    tensors: list[MoveEntry]


class SplitDocument(Document):
    """`split`."""

    ckptconv: str
    source: str
    target: str
    pair: str
    notices: list[str]
    values: list[ValuesEntry]
    parts: list[SplitPart]


class DemoDocument(Document):
    """`demo`."""

    path: str
    model: str
    files: list[str]
    bytes: int


class ExportDocument(Document):
    """`export`."""

    source: str
    target: str
    pair: str
    format: str
    bytes: int
    files: dict[str, int]
    """File -> bytes."""
    artefact: dict[str, Json]
    """What the artefact says of itself: programs, limits, search."""
    notices: list[str]


class CheckFinding(TypedDict):
    """One change of an output."""

    kind: str
    """`added`, `removed`, `renamed`, `changed`, `unreadable`, `tensor` or `edited`."""
    name: str
    detail: str


class CheckDocument(Document):
    """`check`."""

    path: str
    verdict: Literal["whole", "changed"]
    manifest: str
    """Digest of the manifest."""
    ckptconv: str
    """Version that wrote the output."""
    command: str
    """Command that wrote it."""
    files: int
    tensors: int
    bytes: int
    findings: list[CheckFinding]
    notices: NotRequired[list[str]]


class BatchEntry(TypedDict):
    """One conversion of a batch."""

    command: str
    source: str
    target: str
    level: str
    options: dict[str, Json]
    verdict: Literal["match", "mismatch", "not proven", "refused", "failed"]
    """`refused`: the source. `failed`: the destination, the environment, or a fault of ckptconv."""
    exit_code: int
    """That of the command which would have done the same alone."""
    message: str
    """The verdict, the cause of a mismatch, or what the refusal said."""
    pair: str
    tensors: int
    bytes: int
    """Compared."""
    coverage: float | None
    """Share of the weights that the outputs depend on [percent]; null where no model ran."""
    written: bool
    """Whether this run wrote the target."""
    resumed: bool
    """Whether an earlier run proved it, on the same bytes and with the same versions."""
    seconds: float
    report: str
    """What `verify` prints."""
    notices: list[str]


class BatchDocument(Document):
    """`batch`."""

    verdict: Literal["match", "mismatch", "not proven", "not done"]
    plan: str
    records: str
    seconds: float
    conversions: list[BatchEntry]
    """In the order of the plan."""


class ComponentEntry(TypedDict):
    """One thing that ckptconv can use."""

    name: str
    state: Literal["works", "untested", "missing", "broken"]
    purpose: str
    versions: dict[str, str]
    """Distribution -> version, empty where it is not installed."""
    reason: str
    remedy: str
    seconds: float
    """How long importing it took."""


class DiagnosisDocument(Document):
    """`doctor`."""

    works: bool
    ckptconv: str
    python: str
    components: list[ComponentEntry]
    cores: int
    memory_bytes: int
    free_bytes: dict[str, int]
    """Directory -> free bytes of its disk."""


class SupportEntry(TypedDict):
    """One family on one side in one framework."""

    model_type: str
    side: Literal["encoder", "image encoder", "speech encoder", "decoder", "one piece"]
    dialect: str
    status: Literal["exact", "healed", "refused", "no class"]
    reason: str
    stand_in: NotRequired[str]
    """The family whose class holds it; empty for its own."""


class FamiliesDocument(Document):
    """`families`."""

    families: list[SupportEntry]


class RecordingDocument(Document):
    """`verify --save-trace` without a target."""

    source: str
    trace: str
    pair: str
    bytes: int
    tensors: int
    answers: int


class FiguresEntry(TypedDict):
    """How far two tensors are apart; null where there is no number."""

    differing: int
    """Elements that differ."""
    elements: int
    worst: float | None
    """Largest absolute difference."""
    rms: float | None
    """RMS of the difference."""
    reference_rms: float | None
    relative: float | None
    """`rms / reference_rms`."""
    cosine: float | None


class RelationEntry(TypedDict):
    """How one tensor came of another."""

    kind: str
    """`transposed`, `swapped`, `scaled`, `cast` and others."""
    detail: str
    differing: NotRequired[int]
    elements: NotRequired[int]
    worst: NotRequired[float | None]
    rms: NotRequired[float | None]
    reference_rms: NotRequired[float | None]
    relative: NotRequired[float | None]
    cosine: NotRequired[float | None]


class NamedRelation(RelationEntry):
    """A tensor of the target that differs."""

    name: str
    """In the target."""
    source: str
    """In the source."""


class DiffSide(TypedDict):
    """One of two checkpoints."""

    path: str
    model: str
    weights: str
    """Naming and format."""


class DiffKey(TypedDict):
    """A key of the configs that differs."""

    key: str
    first: Json
    second: Json


class DiffLayer(FiguresEntry):
    """One layer of one part."""

    part: str
    layer: str
    tensors: int
    parameters: int
    differing_tensors: int


class DiffTensor(TypedDict):
    """One tensor of both."""

    tensor: str
    part: str
    layer: str
    first: str
    second: str
    parameters: int
    verdict: str
    relation: RelationEntry | None


class DiffDocument(Document):
    """`diff`."""

    verdict: Literal["equal", "different"]
    first: DiffSide
    second: DiffSide
    bytes: int
    config: list[DiffKey]
    layers: list[DiffLayer]
    tensors: list[DiffTensor]
    notices: list[str]


class SideEntry(TypedDict):
    """One model of a pair, as its config says; null where it does not."""

    role: str
    model_type: str
    layers: int | None
    hidden: int | None
    heads: int | None
    vocabulary: int | None
    reads: NotRequired[str | None]
    """What an encoder reads that is no text, in words."""


class PartEntry(TypedDict):
    """One part of a model."""

    name: str
    tensors: int
    parameters: int
    bytes: int


class TieEntry(TypedDict):
    """Two names of one tensor."""

    tensor: str
    repeats: str
    stored: bool
    """True where the file holds it under both names."""
    difference: str | None
    """Empty where equal, null where not compared."""


class TargetEntry(TypedDict):
    """Whether a command accepts the checkpoint."""

    verb: str
    converts: bool
    refusal: str
    conditions: list[str]
    notices: list[str]


class ValueFinding(TypedDict):
    """Something suspicious about the values."""

    sign: str
    text: str
    tensors: list[str]


class StatisticsEntry(TypedDict):
    """What the values of a tensor are like."""

    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    kurtosis: float | None
    nan: int
    inf: int
    zeros: int
    sampled: int
    """Elements that the histogram counts."""
    histogram: list[int]


class StoredTensor(TypedDict):
    """One tensor of a checkpoint."""

    name: str
    part: str
    layer: int | None
    dtype: str
    shape: list[int]
    bytes: int
    file: str
    statistics: NotRequired[StatisticsEntry]
    signs: NotRequired[list[str]]


class InspectionDocument(Document):
    """`inspect`."""

    path: str
    kind: str
    open_role: NotRequired[bool]
    """True for one model that is shown as a decoder because of its head, and could be an encoder as well."""
    pair: str
    model_type: str
    saved_by: str
    dialect: str
    format: str
    files: list[str]
    file_bytes: int
    dtypes: list[str]
    parameters: int
    bytes: int
    refusal: str
    problems: list[ProblemEntry]
    reading: NotRequired[list[str]]
    """How the weights were read: one sentence each."""
    unused: list[str]
    code_hooks: list[str]
    sides: list[SideEntry]
    parts: list[PartEntry]
    ties: list[TieEntry]
    targets: list[TargetEntry]
    findings: list[ValueFinding] | None
    """Null unless the values were read (`--stats`)."""
    tensors: list[StoredTensor]


class SelfTestMalformed(TypedDict):
    """The malformed files."""

    counts: dict[str, int]
    failures: list[dict[str, str]]


class SelfTestFaults(TypedDict):
    """The faults while writing."""

    injector: str
    calls: dict[str, int]
    points: dict[str, int]
    published: int
    violations: list[str]


class SelfTestDocument(Document):
    """`selftest`."""

    verdict: Literal["holds", "broken"]
    malformed: SelfTestMalformed
    faults: SelfTestFaults | None
    seconds: float


class WeightsEntry(TypedDict):
    """The comparison of weights."""

    match: bool
    tensors: int
    bytes: int
    differences: list[NamedRelation]
    problems: list[ProblemEntry]


class SourceTargetKey(TypedDict):
    """A key of the configs that differs."""

    key: str
    source: Json
    target: Json


class ErrorFigures(TypedDict):
    """The error of an output against PyTorch in float64."""

    rms: float | None
    max: float | None
    compared: int
    """Elements."""
    nans: int


class QuantityEntry(TypedDict):
    """One output of one probe."""

    probe: str
    name: str
    kind: str
    part: str
    layer: int | None
    match: bool
    rms_ratio: float | None
    """RMS error / PyTorch's own; the limit is 4."""
    max_ratio: float | None
    """Largest error / PyTorch's own; the limit is 8."""
    source: ErrorFigures | None
    target: ErrorFigures | None
    yardstick: ErrorFigures | None
    """PyTorch's own error."""
    problem: str


class ForkEntry(TypedDict):
    """Where generated tokens diverge."""

    row: int
    step: int
    source: int
    target: int
    gap: float | None
    noise: float | None


class GenerationEntry(TypedDict):
    """One search on both sides."""

    name: str
    match: bool
    settings: dict[str, Json]
    rows: int
    compared: int
    source: list[list[int]]
    target: list[list[int]]
    ties: list[ForkEntry]
    mismatches: list[ForkEntry]


class CoverageTensor(TypedDict):
    """How much of a tensor influenced the outputs."""

    name: str
    elements: int
    reached: int
    rows: int
    rows_reached: int
    evidence: str


class CoverageEntry(TypedDict):
    """How much of the model influenced the outputs."""

    percent: float
    minimum: float | None
    elements: int
    reached: int
    tensors: list[CoverageTensor]


class OutputsEntry(TypedDict):
    """What running both models showed."""

    match: bool
    quantities: list[QuantityEntry]
    generations: list[GenerationEntry]
    texts: list[list[str]]
    """Text, source's answer, target's answer."""
    loading: list[str]
    """What the target's class reported while loading."""
    coverage: CoverageEntry | None
    reference: str
    versions: dict[str, str]
    settings: dict[str, dict[str, Json]]
    seconds: dict[str, float]


class FirstOutput(TypedDict):
    """The first output beyond its limit."""

    probe: str
    name: str
    rms_ratio: float | None
    max_ratio: float | None


class CauseEntry(TypedDict):
    """Where a mismatch comes from."""

    verdict: str
    equal_weights: bool
    first: FirstOutput | None
    tensors: list[NamedRelation]
    later: int
    config: list[SourceTargetKey]


class PushEntry(TypedDict):
    """What was uploaded to the hub."""

    repo: str
    url: str
    """Of the commit or the pull request; empty where nothing was pushed."""
    pull_request: bool
    files: list[str]
    bytes: int


class VerificationDocument(Document):
    """`verify`."""

    verdict: Literal["match", "mismatch", "not proven"]
    source: str
    target: str
    pair: str
    source_dialect: str
    dialect: str
    format: str
    weights: WeightsEntry
    config: list[SourceTargetKey]
    outputs: OutputsEntry | None
    """Null for `--level weights`."""
    where: CauseEntry | None
    """Null for a match."""
    notices: list[str]
    push: NotRequired[PushEntry]
    """With `--push`: where it went."""


class PushDocument(Document, PushEntry):
    """`ckptconv.push`, which is `verify --push`."""

    verification: VerificationDocument


DOCUMENTS: Mapping[str, type[Any]] = {
    "batch": BatchDocument,
    "check": CheckDocument,
    "conversion": ConversionDocument,
    "demo": DemoDocument,
    "diagnosis": DiagnosisDocument,
    "diff": DiffDocument,
    "error": ErrorDocument,
    "export": ExportDocument,
    "families": FamiliesDocument,
    "inspection": InspectionDocument,
    "push": PushDocument,
    "recording": RecordingDocument,
    "selftest": SelfTestDocument,
    "split": SplitDocument,
    "verification": VerificationDocument,
}
"""Name -> type; `schema` of a document is `ckptconv.` and this name."""


def json_schema(name: str) -> dict[str, Json]:
    """Return the JSON Schema of a kind of document."""
    definitions: dict[str, Json] = {}
    body = _object(DOCUMENTS[name], definitions)
    properties = body["properties"]
    assert isinstance(properties, dict)
    properties["schema"] = {"const": f"ckptconv.{name}"}
    properties["schema_version"] = {"const": VERSION}
    return {
        "$schema": DRAFT,
        "title": f"ckptconv {name}, version {VERSION}",
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type[Any], definitions: dict[str, Json]) -> dict[str, Json]:
    notes = _notes(kind)
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for key, hint in get_type_hints(kind, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        described = {"description": notes[key]} if key in notes else {}
        properties[key] = {
            **_type(get_args(hint)[0] if optional else hint, definitions),
            **described,
        }
        required += [] if optional else [key]
    return {
        "description": inspect.getdoc(kind) or "",
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _type(hint: Any, definitions: dict[str, Json]) -> dict[str, Json]:
    simple = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if hint in simple:
        return {"type": simple[hint]}
    if is_typeddict(hint):
        name = hint.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, ForwardRef) or {bool, float, str} <= set(args):  # Json: anything
        return {}
    if origin is list:
        return {"type": "array", "items": _type(args[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(args[1], definitions)}
    if origin is Literal:
        return {"enum": list(args)}
    assert origin in (Union, types.UnionType), hint
    return {"anyOf": [_type(arg, definitions) for arg in args]}


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """Return name -> definition of every class of a module, which is parsed once."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _notes(kind: type[Any]) -> dict[str, str]:
    """Return key -> the text below it in the source, of a type and those it extends."""
    notes: dict[str, str] = {}
    for base in (*getattr(kind, "__orig_bases__", ()), kind):
        if not is_typeddict(base):
            continue
        for field, text in pairwise(_classes(base.__module__)[base.__name__].body):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text:
                assert isinstance(field.target, ast.Name)
                notes[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return notes


def write_schemas(folder: Path) -> None:
    """Write the JSON Schema of every kind of document. Raises OSError."""
    folder.mkdir(exist_ok=True)
    for name in DOCUMENTS:
        text = json.dumps(json_schema(name), indent=2, ensure_ascii=True)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
