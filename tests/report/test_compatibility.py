"""Documents have a schema, and what 0.1 wrote is still read: documents, manifests and traces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv.report.documents import DOCUMENTS, FOLDER, json_schema, write_schemas

if TYPE_CHECKING:
    from conftest import Cli

OLD = Path(__file__).parents[1] / "data" / "0.1"
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "tf"),
    "conversion": ("pt2tf", "source", "again", "--dtype", "float16"),
    "diff": ("diff", "source", "tf"),
    "error": ("inspect", "nowhere"),
    "inspection": ("inspect", "source", "--stats"),
    "split": ("split", "source", "parts"),
    "verification": ("verify", "source", "tf", "--level", "weights"),
    "families": ("families",),
    "demo": ("demo", "demo"),
}
"""Document -> a command that prints one; what starts a framework is not here."""
WORDS = ("weights", "--level", "--stats", "--dtype", "float16")
"""Arguments that are no paths."""


def strict(schema: Any) -> Any:
    """Return a schema that allows no key but those that it names."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema:
        closed["additionalProperties"] = False
    return closed


def lost(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Return the keys of an old document that a new one lacks, or holds as another type."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield f"{place}/{key}"
            else:
                yield from lost(old[key], new[key], f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and old and new:
        yield from lost(old[0], new[0], f"{place}[]")
    elif None not in (old, new) and type(old) is not type(new):
        yield f"{place}: {type(old).__name__}, now {type(new).__name__}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the old source, and what today's pt2tf makes of it."""
    folder = tmp_path_factory.mktemp("compatible")
    shutil.copytree(OLD / "source", folder / "source")
    ckptconv.pt2tf(folder / "source", folder / "tf")
    return folder


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """Return the documents that were printed so far: two tests read each."""
    return {}


@pytest.fixture(scope="module")
def validate() -> Any:
    """Return what raises where a document does not follow a schema."""
    return pytest.importorskip("jsonschema").Draft202012Validator


def test_the_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    """`python -m ckptconv.report.documents` writes what lies in the package."""
    write_schemas(tmp_path)
    for name in DOCUMENTS:
        assert (FOLDER / f"{name}.json").read_text() == (tmp_path / f"{name}.json").read_text()
    assert {path.stem for path in FOLDER.iterdir()} == DOCUMENTS.keys()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_schema_is_a_schema(name: str, validate: Any) -> None:
    """Each is valid by its own draft, and names the document and its version."""
    schema = json_schema(name)
    validate.check_schema(schema)
    assert schema["properties"]["schema"] == {"const": f"ckptconv.{name}"}  # type: ignore[index, call-overload]


@pytest.fixture
def printed(
    folder: Path, documents: dict[str, Any], cli: Cli, tmp_path: Path
) -> Callable[[str], Any]:
    """Return what runs the command of a document and reads what it prints."""

    def run(name: str) -> Any:
        if name not in documents:
            verb, *words = COMMANDS[name]
            homes = {"source": folder, "tf": folder}
            paths = [word if word in WORDS else homes.get(word, tmp_path) / word for word in words]
            documents[name] = json.loads(cli(verb, *paths, "--json").out)
        return documents[name]

    return run


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_document_follows_its_schema(
    name: str, printed: Callable[[str], Any], validate: Any
) -> None:
    """What a command prints has the keys of its schema and no others."""
    validate(strict(json_schema(name))).validate(printed(name))


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in OLD.glob("*.json")} & COMMANDS.keys())
)
def test_no_key_of_0_1_is_gone(name: str, printed: Callable[[str], Any]) -> None:
    """Every key of the old document is in the new one, with a value of the same type."""
    assert list(lost(json.loads((OLD / f"{name}.json").read_text()), printed(name))) == []


@pytest.mark.parametrize("name", [path.stem for path in sorted(OLD.glob("*.json"))])
def test_an_old_document_follows_the_schema(name: str, validate: Any) -> None:
    """But for the name and version, which 0.1 did not write."""
    schema: Any = json_schema(name)
    new = (
        {"schema", "schema_version", "ckptconv"}
        if name != "check"
        else {"schema", "schema_version"}
    )
    schema["required"] = [key for key in schema["required"] if key not in new]
    validate(schema).validate(json.loads((OLD / f"{name}.json").read_text()))


def test_a_manifest_of_0_1_is_checked(cli: Cli, tmp_path: Path) -> None:
    """An output of 0.1 is whole, and a changed byte in it is found."""
    shutil.copytree(OLD / "flax", tmp_path / "flax")
    assert cli("check", tmp_path / "flax").out.startswith("WHOLE: ")
    data = bytearray((tmp_path / "flax" / "flax_model.msgpack").read_bytes())
    data[-1] ^= 1
    (tmp_path / "flax" / "flax_model.msgpack").write_bytes(data)
    assert cli("check", tmp_path / "flax").code == 1


def test_weights_by_a_trace_of_0_1(cli: Cli) -> None:
    """A trace of 0.1 holds the digests that an output of 0.1 is compared with, and finds it the same."""
    outcome = cli("verify", "--trace", OLD / "source.trace", OLD / "flax", "--level", "weights")
    assert (outcome.code, outcome.out.splitlines()[-1].split(":")[0]) == (0, "MATCH")


@pytest.mark.frameworks
@pytest.mark.soak
def test_outputs_by_a_trace_of_0_1(cli: Cli) -> None:
    """A trace of 0.1 holds the answers that Flax is compared with today."""
    outcome = cli("verify", "--trace", OLD / "source.trace", OLD / "flax")
    assert (outcome.code, outcome.out.splitlines()[-1].split(":")[0]) == (0, "MATCH")
