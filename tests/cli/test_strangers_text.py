"""Whatever a stranger wrote, and wherever: no line of ours begins with it, and no terminal or log obeys it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import ckptconv
from ckptconv.transfer.manifest import MANIFEST

if TYPE_CHECKING:
    from conftest import Cli, Counted, MakePair, Run

Place: TypeAlias = tuple[str | int, ...]
EVIL = "evil\nFORGED: all is well\n::error::FORGED ::stop-commands::x \x1b[2J\u202e##[error]FORGED"
NAME = EVIL.replace("/", "")
BEGINS = re.compile(r"^\s*(FORGED|::)", re.MULTILINE)
ANYWHERE = re.compile(r"\x1b|\u202e|##[a-z]*\[")
JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
    "adapter_config.json",
    MANIFEST,
)
WEIGHTS = ("--level", "weights")
VERBS: dict[str, Callable[[Path, Path], list[object]]] = {
    "inspect": lambda model, out: ["inspect", model],
    "markdown": lambda model, out: ["inspect", model, "--format", "markdown", "--tensors"],
    "json": lambda model, out: ["inspect", model, "--json"],
    "verify": lambda model, out: ["verify", model, model, "--level", "weights", "--junit", "-"],
    "diff": lambda model, out: ["diff", out.parent / "good", model],
    "check": lambda model, out: ["check", model],
    "normalize": lambda model, out: ["normalize", model, out, "--overwrite"],
    "pt2tf": lambda model, out: ["pt2tf", model, out, "--dry-run"],
    "pt2flax": lambda model, out: ["pt2flax", model, out, "--dry-run"],
    "tf2pt": lambda model, out: ["tf2pt", model, out, "--dry-run"],
    "split": lambda model, out: ["split", model, out, "--dry-run"],
    "join": lambda model, out: ["join", model, model, out, "--dry-run"],
    "export": lambda model, out: ["export", model, os.devnull],
    "push": lambda model, out: ["verify", model, model, *WEIGHTS, "--push", "org/name"],
}
"""Export finds its target taken, once all else is in order; a push finds the hub out of reach."""


def assert_tame(done: Run, what: object) -> None:
    """Hold every line of both streams against what a stranger would have there."""
    for text in (done.out, done.err):
        assert not BEGINS.search(text), (what, text)
        assert not ANYWHERE.search(text), (what, text)
    assert done.code in (0, 1, 2, 3, 4, 5), (what, done)


@pytest.fixture(autouse=True)
def without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave this machine."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def good(make_pair: MakePair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output with every JSON file that a checkpoint may have, in shards; not to be changed."""
    folder = tmp_path_factory.mktemp("strangers")
    pair = make_pair()
    pair.files = {
        "generation_config.json": '{"max_length": 9, "eos_token_id": [1, 2], "transformers_version": "4"}\n',
        "tokenizer_config.json": '{"tokenizer_class": "BertTokenizer", "auto_map": {"AutoTokenizer": ["a.B", null]}}\n',
        "special_tokens_map.json": '{"cls_token": "[CLS]"}\n',
        "vocab.txt": "a\nb\n",
    }
    options = ckptconv.WriteOptions(max_shard_bytes=9000)
    ckptconv.normalize(pair.write(folder / "source"), folder / "good", options)
    return folder / "good"


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Return where every value of a JSON document stands, objects and lists too."""
    if above:
        yield above
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, member in pairs:
        yield from places(member, (*above, key))


def with_evil(document: Any, place: Place, as_key: bool) -> Any:
    """Return a document with evil text in the place of one value, or of the key that leads to it."""
    changed = json.loads(json.dumps(document))
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if as_key:
        holder[EVIL] = holder.pop(place[-1])
    else:
        holder[place[-1]] = EVIL
    return changed


def _kind(place: Place) -> Place:
    """Return what tells places of a kind from others: one tensor, file or member of a list stands for all."""
    return tuple("*" if isinstance(key, int) or "." in key else key for key in place)


def documents(good: Path, name: str) -> Iterator[tuple[str, str]]:
    """Return every way to put evil text into one JSON file: what was changed, and the new text."""
    if not (good / name).exists():
        yield "new", json.dumps({EVIL: EVIL})
        return
    document = json.loads((good / name).read_text())
    kinds = {_kind(place): place for place in places(document)}
    for place in kinds.values():
        yield f"{place}", json.dumps(with_evil(document, place, False))
        if isinstance(place[-1], str):
            yield f"key {place}", json.dumps(with_evil(document, place, True))
    yield "no JSON", EVIL


@pytest.mark.thorough
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(4, marks=pytest.mark.thorough, id="a sample"),
        pytest.param(1, marks=pytest.mark.soak, id="all"),
    ],
)
@pytest.mark.parametrize("name", JSON_FILES)
def test_every_value_and_key_of_every_file(
    cli: Cli, good: Path, tmp_path: Path, name: str, share: int, counted: Counted
) -> None:
    """In each verb: config, settings, tokenizer, index, manifest. A sample takes the verbs in turn."""
    model = tmp_path / "model"
    shutil.copytree(good, model)
    shutil.copytree(good, tmp_path / "good")
    tries = 0
    readers = (
        VERBS
        if name != MANIFEST
        else {verb: VERBS[verb] for verb in ("check", "json", "normalize")}
    )
    for number, (what, text) in enumerate(documents(good, name)):
        (model / name).write_text(text)
        for verb, command in list(readers.items())[number % share :: share]:
            assert_tame(cli(*command(model, tmp_path / "out")), (name, what, verb))
            tries += 1
        if number % share == 0:
            command = ("normalize", tmp_path / "good", model, "--overwrite")
            assert_tame(cli(*command), (name, what, "over"))
        if not (model / "vocab.txt").exists() or name == MANIFEST:
            shutil.rmtree(model)
            shutil.copytree(good, model)
    counted(f"strangers' text: {name}: {tries} runs")


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["name", "metadata", "both"])
def test_names_of_tensors(cli: Cli, good: Path, tmp_path: Path, where: str) -> None:
    """And the metadata of a file of weights."""
    model = tmp_path / "model"
    shutil.copytree(good, model)
    shutil.copytree(good, tmp_path / "good")
    weights = min(model.glob("model-*.safetensors"))
    with safe_open(weights, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    if where != "metadata":
        tensors[EVIL] = tensors.pop(min(tensors))
    metadata = {"format": "pt"} if where == "name" else {"format": EVIL, EVIL: EVIL}
    save_file(tensors, weights, metadata)
    for verb, command in VERBS.items():
        assert_tame(cli(*command(model, tmp_path / "out")), verb)
    (model / "model.safetensors.index.json").unlink()
    weights.rename(model / "model.safetensors")
    for verb, command in VERBS.items():
        assert_tame(cli(*command(model, tmp_path / "out")), verb)


FILES: dict[str, Callable[[Path], object]] = {
    "code": lambda model: (model / f"{NAME}.py").touch(),
    "a file": lambda model: (model / NAME).touch(),
    "a folder": lambda model: (model / NAME).mkdir(),
    "a link": lambda model: (model / NAME).symlink_to(NAME),
    "a pipe": lambda model: os.mkfifo(model / NAME),
    "a renamed file": lambda model: (model / "vocab.txt").rename(model / NAME),
    "a model below": lambda model: (
        shutil.copytree(model.parent / "good", model / NAME) and (model / "config.json").unlink()
    ),
    "a model below, no weights": lambda model: (
        shutil.copytree(model.parent / "good", model / NAME)
        and [path.unlink() for path in model.glob("model*")]
    ),
    "weights of a kind": lambda model: [
        (model / "model.safetensors.index.json").unlink(),
        *(path.rename(model / f"{NAME}{path.name}") for path in model.glob("model-*")),
    ],
    "one shard more": lambda model: (model / f"model-00001-of-00009{NAME}.safetensors").touch(),
    "a config that leads out": lambda model: (
        (model / "config.json").unlink(),
        (model / "config.json").symlink_to(f"/{NAME}"),
    ),
    "a config that leads in": lambda model: (
        (model / "config.json").rename(model / NAME),
        (model / "config.json").symlink_to(NAME),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", FILES)
def test_names_of_files(cli: Cli, good: Path, tmp_path: Path, what: str) -> None:
    """What lies in the directory of a model, or below it."""
    model = tmp_path / "model"
    shutil.copytree(good, model)
    shutil.copytree(good, tmp_path / "good")
    FILES[what](model)
    for verb, command in VERBS.items():
        assert_tame(cli(*command(model, tmp_path / "out")), verb)
    assert_tame(cli("normalize", tmp_path / "good", model, "--overwrite"), "overwrite")


@pytest.mark.thorough
def test_names_of_directories(cli: Cli, good: Path, tmp_path: Path) -> None:
    """The model's own, its neighbours', the output's, and snapshots of a cache; where they exist, and where not."""
    shutil.copytree(good, tmp_path / "good")
    model, absent = tmp_path / NAME / f"model {NAME}", tmp_path / NAME / f"model {NAME}s"
    shutil.copytree(good, model)
    cache = tmp_path / "models--org--name" / "snapshots"
    for name in (NAME, f"{NAME}2"):
        shutil.copytree(good, cache / name)
    for path in (
        model,
        absent,
        model / "config.json",
        model.parent,
        cache.parent,
        cache,
        cache / NAME,
    ):
        for verb, command in VERBS.items():
            assert_tame(cli(*command(path, tmp_path / NAME / "out")), (path.name, verb))
    assert_tame(cli("demo", tmp_path / NAME / "demo"), "demo")
    for verb in ("normalize", "split", "demo"):
        for target in (
            tmp_path / NAME / NAME,
            model,
            tmp_path / "good" / NAME,
            model / "vocab.txt" / NAME,
        ):
            arguments = (target,) if verb == "demo" else (tmp_path / "good", target)
            assert_tame(cli(verb, *arguments, "--overwrite"), verb)
            assert_tame(cli(verb, *arguments), verb)
    (tmp_path / f".{NAME}.ckptconv-01234567-old").mkdir()
    assert_tame(cli("normalize", tmp_path / "good", tmp_path / "new"), "leftover")
    assert_tame(cli("check", tmp_path / NAME / "absent"), "check")


@pytest.mark.thorough
def test_arguments(cli: Cli, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell's `*` may put on the command line, for every option that takes text."""
    monkeypatch.chdir(tmp_path)
    for args in (
        [NAME],
        ["inspect", NAME, NAME, NAME],
        ["inspect", good, f"--{NAME}"],
        ["--limit", NAME, "inspect", good],
        ["inspect", good, "--format", NAME],
        ["inspect", good, "--tensors", NAME],
        ["inspect", good, "--html", NAME],
        ["verify", good, good, "--level", NAME],
        ["verify", good, good, "--inputs", tmp_path / NAME],
        ["verify", good, good, "--tolerance", NAME],
        ["verify", good, good, "--junit", tmp_path / NAME / NAME],
        ["verify", "--trace", tmp_path / NAME, good],
        ["verify", "--trace", good / "vocab.txt", good],
        ["verify", good, good, "--level", "weights", "--html", good / NAME],
        ["verify", good, good, "--seed", NAME],
        ["pt2tf", good, tmp_path / "out", "--max-shard-size", NAME],
        ["pt2tf", good, tmp_path / "out", "--dtype", NAME],
        ["join", good, good, tmp_path / "out", "--bridge", tmp_path / NAME],
        ["verify", good, good, "--save-trace", good / NAME],
        ["doctor", "--timeout", NAME],
        ["export", good, tmp_path / "out", "--format", NAME],
        ["export", good, tmp_path / "out", "--max-length", NAME],
        ["verify", good, good, "--push", NAME],
        ["verify", good, good, *WEIGHTS, "--push", f"org/{NAME}"],
        ["batch", NAME],
        ["batch", tmp_path / NAME / "*", "--to", NAME],
        ["batch", good / "vocab.txt", "--to", NAME],
        ["batch", good, "--to", "x", "--command", NAME],
        ["batch", good / "config.json"],
        ["demo", good / "vocab.txt" / NAME],
    ):
        assert_tame(cli(*args), args)


def test_a_trace(cli: Cli, good: Path, tmp_path: Path) -> None:
    """A file that claims to be one, with evil text wherever it may have some."""
    import numpy as np

    for version in ("1", "2", EVIL):
        for said in (
            EVIL,
            json.dumps({EVIL: EVIL}),
            json.dumps({"dialect": EVIL, "answers": {"source": {}}}),
        ):
            metadata = {
                "format": "ckptconv-trace",
                "version": version,
                "trace": said,
                "sha256": EVIL,
            }
            save_file({f"probes/{EVIL}": np.zeros(1, np.int64)}, tmp_path / "a.trace", metadata)
            assert_tame(cli("verify", "--trace", tmp_path / "a.trace", good), (version, said))


RECORD = {
    "artefact": 1,
    "format": "onnx",
    "pair": "bert -> bert",
    "programs": {
        name: {
            "file": f"{name}.onnx",
            "inputs": [{"name": "input_ids", "dtype": "int64", "shape": ["rows", "length"]}],
            "outputs": [{"name": "logits", "dtype": "float32", "shape": ["rows", 29]}],
        }
        for name in ("encode", "step", "generate")
    },
    "weights": ["encoder.embeddings.word_embeddings.weight"],
    "converted": ["x"],
    "search": {"beams": 1, "ends": [2]},
    "limits": {"encoder": 17, "decoder": None},
}
"""What an artefact may say of itself."""


@pytest.mark.thorough
def test_an_artefact(cli: Cli, good: Path, tmp_path: Path) -> None:
    """Every value and key of its record; the verbs that look at one take turns."""
    artefact = tmp_path / "artefact"
    shutil.copytree(good, artefact)
    (artefact / "artefact.json").write_text(json.dumps(RECORD))
    commands: list[list[object]] = [
        ["inspect", artefact],
        ["diff", good, artefact],
        ["verify", good, artefact, *WEIGHTS],
    ]
    for number, (what, text) in enumerate(list(documents(artefact, "artefact.json"))):
        (artefact / "artefact.json").write_text(text)
        command = commands[number % len(commands)]
        assert_tame(cli(*command), (what, command[0]))
    assert_tame(cli("export", artefact, tmp_path / "out"), "export")


TEXT = json.dumps(EVIL)
"""As TOML spells it, too."""
ENTRY = '[[conversion]]\ncommand = "normalize"\nlevel = "weights"\nsource = "good"\ntarget = "a"\n'
REFUSED_PLANS = {
    "no TOML": EVIL,
    "a key": f"{TEXT} = 1",
    "a table": f"[{TEXT}]",
    "defaults": f"[defaults]\n{TEXT} = {TEXT}\n{ENTRY}",
    "an option": f"{ENTRY}{TEXT} = 1",
    "a pattern": ENTRY.replace('"good"', json.dumps(f"{EVIL}*")),
    "a clash": (ENTRY + ENTRY).replace('"a"', TEXT),
    "a type": f"{ENTRY}seed = {TEXT}\ntexts = {TEXT}\ndtype = {TEXT}",
    **{
        f"the {key}": re.sub(rf"{key} = .*", lambda _, key=key: f"{key} = {TEXT}", ENTRY)
        for key in ("command", "level")
    },
}
SOURCE = json.dumps(EVIL.replace("[", "("))
"""What is no pattern."""
STARTED_PLANS = {
    "sources and targets": ENTRY.replace('"good"', SOURCE) + ENTRY.replace('"a"', TEXT),
    "options": f"{ENTRY}dtype = {TEXT}\n" + ENTRY.replace('"a"', '"b"') + f"inputs = {TEXT}",
}


@pytest.mark.thorough
def test_a_plan(cli: Cli, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch: what it refuses to begin, what it begins, and what it finds recorded."""
    shutil.copytree(good, tmp_path / "good")
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / f"{NAME}.toml"
    for what, text in (REFUSED_PLANS | STARTED_PLANS).items():
        plan.write_text(text)
        ended = cli("batch", plan, "--jobs", "1", "--junit", "-")
        assert_tame(ended, what)
        assert ended.code in (2, 3) or what in STARTED_PLANS, (what, ended)
    records = [path for path in tmp_path.rglob("*.json") if "batch" in str(path.parent)]
    assert len(records) == 1, ended
    for content in (EVIL, json.dumps({EVIL: EVIL})):
        for path in records:
            path.write_text(content)
        assert_tame(cli("batch", plan, "--jobs", "1"), "records")
