"""Names of the hub, against a small hub on loopback. Each run is a process: the library reads settings at import."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

import ckptconv
from batching import run_all
from ckptconv.base.errors import SourceError
from ckptconv.stores.hub import resolve
from hub_server import Hub, commit, folder_files, serving
from terminal import on_terminal

if TYPE_CHECKING:
    from conftest import Cli, Run

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

COMPANIONS = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
]


Many: TypeAlias = Callable[..., list[tuple[int, str, str]]]


@pytest.fixture
def hub(dates: Path) -> Iterator[Hub]:
    """Return a running hub with the trained checkpoint, code and other frameworks' weights beside it."""
    beside = {
        "modeling.py": b"raise SystemExit",
        "pytorch_model.bin": b"not this",
        "README.md": b"#",
        "runs/1": b"",
    }
    with serving(Hub({"org/dates": {"main": {**beside, **folder_files(dates)}}})) as running:
        yield running


@pytest.fixture
def on(run: Cli, hub: Hub, tmp_path: Path) -> Callable[..., Run]:
    """Return what runs a command where `hub` is the hub, with an empty cache."""

    def call(*args: object, **env: str) -> Run:
        return run(
            *args,
            env={
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hf"),
                "HF_HUB_OFFLINE": "0",
                **env,
            },
        )

    return call


@pytest.fixture
def many(hub: Hub, tmp_path: Path) -> Many:
    """Return what runs several commands in one process, since importing the library takes longest."""

    def call(*commands: tuple[object, ...], **env: str) -> list[tuple[int, str, str]]:
        return run_all(
            commands,
            {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", **env},
        )

    return call


@pytest.fixture
def look(on: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """Return what reads a checkpoint and writes nothing."""
    return lambda name, **env: on("normalize", name, tmp_path / "never", "--dry-run", **env)


@pytest.mark.thorough
def test_a_name_is_downloaded_once_and_then_known_offline(
    look: Callable[..., Run], hub: Hub, dates: Path
) -> None:
    """Only what is needed comes, never code; later no request is made where the library is told to be offline."""
    first = look("org/dates")
    assert (first.code, first.err, hub.downloaded()) == (
        0,
        "",
        ["config.json", *COMPANIONS, "model.safetensors"],
    )
    hub.asked.clear()
    assert (look("org/dates", HF_HUB_OFFLINE="1"), hub.asked) == (first, [])
    assert (look("org/dates"), hub.downloaded()) == (first, [])


@pytest.mark.thorough
def test_every_verb_takes_names(many: Many, hub: Hub, tmp_path: Path, dates: Path) -> None:
    """What is converted from the hub is what is converted from the disk; parts and targets come from it too."""
    local = tmp_path / "local"
    ckptconv.split(dates, local)
    ckptconv.pt2tf(dates, tmp_path / "tf")
    hub.repos |= {
        f"org/{side}": {"main": folder_files(local / side)} for side in ("encoder", "decoder")
    }
    hub.repos["org/tf"] = {"main": folder_files(tmp_path / "tf")}
    done = many(
        ("pt2flax", "org/dates", tmp_path / "flax", "--json"),
        ("split", "org/dates@main", tmp_path / "parts", "--json"),
        ("normalize", "org/dates", tmp_path / "again", "--json"),
        ("join", "org/encoder", "org/decoder", tmp_path / "joined", "--json"),
        ("tf2pt", "org/tf", tmp_path / "back", "--json"),
        ("diff", "org/dates", "org/tf", "--json"),
        ("inspect", "org/encoder", "--json"),
        ("verify", "org/dates", "org/tf", "--level", "weights", "--json"),
    )
    assert [code for code, _, _ in done] == [0] * 8
    weights = (dates / "model.safetensors").read_bytes()
    assert [
        (tmp_path / name / "model.safetensors").read_bytes() == weights
        for name in ("joined", "back")
    ] == [True] * 2
    assert (tmp_path / "parts/encoder/model.safetensors").read_bytes() == (
        local / "encoder/model.safetensors"
    ).read_bytes()


@pytest.mark.thorough
def test_revisions(many: Many, hub: Hub, tmp_path: Path) -> None:
    """A tag and a commit name one state of a repository; `main` stays what it is."""
    files = hub.repos["org/dates"]["main"]
    changed = json.loads(files["config.json"]) | {"transformers_version": "4.0.0"}
    hub.repos["org/dates"]["v1"] = {**files, "config.json": json.dumps(changed).encode()}
    names = ("org/dates@v1", f"org/dates@{commit('org/datesv1')}", "org/dates")
    done = many(*(("normalize", name, tmp_path / str(number)) for number, name in enumerate(names)))
    assert [code for code, _, _ in done] == [0, 0, 0]
    configs = [
        json.loads((tmp_path / str(number) / "config.json").read_text()) for number in range(3)
    ]
    versions = [config["transformers_version"] for config in configs]
    assert versions == ["4.0.0", "4.0.0", "4.57.6"]


@pytest.mark.thorough
def test_shards_come_by_their_index(
    look: Callable[..., Run], hub: Hub, dates: Path, tmp_path: Path
) -> None:
    """Every shard that the index names is downloaded, and nothing else."""
    options = ckptconv.WriteOptions(max_shard_bytes=600_000)
    ckptconv.normalize(dates, tmp_path / "shards", options)
    files = folder_files(tmp_path / "shards") | {"model-00009-of-00009.safetensors": b"left over"}
    hub.repos["org/shards"] = {"main": files}
    assert look("org/shards").code == 0
    shards = sorted(name for name in files if name.startswith("model-0000") and "00009" not in name)
    assert len(shards) > 1
    assert [name for name in hub.downloaded() if name.startswith("model")] == [
        "model.safetensors.index.json",
        *shards,
    ]
    hub.asked.clear()
    for name, shard, what in (
        (
            "org/evil",
            "../../evil.py",
            "'../../evil.py' is not the plain name of a file beside the index",
        ),
        (
            "org/half",
            "a.safetensors",
            "model.safetensors.index.json names files that are not there: a.safetensors",
        ),
    ):
        index = json.dumps({"weight_map": {"a": shard}}).encode()
        hub.repos[name] = {"main": {**files, "model.safetensors.index.json": index}}
        shown = look(name)
        assert (shown.code, shown.out, shown.err.strip().endswith(what)) == (3, "", True)
    assert [name for name in hub.downloaded() if name.startswith("model-")] == []


@pytest.mark.thorough
def test_what_is_here_wins(
    look: Callable[..., Run], hub: Hub, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of the same name is taken, a near one is offered, and `./` never means the hub."""
    shutil.copytree(dates, tmp_path / "org" / "dates")
    monkeypatch.chdir(tmp_path)
    near = "Error: org/datse: no such directory. Did you mean org/dates?\n"
    assert look("org/dates").code == 0
    assert (look("org/datse").err, look("./other/dates").err) == (
        near,
        f"Error: {tmp_path}/other/dates: no such directory."
        " A checkpoint is a directory: give the one that holds config.json and the weights.\n",
    )
    word = "Error: datse-base: no such directory. A model on the hub has a name of two parts: org/name.\n"
    assert look("datse-base").err == word
    assert hub.asked == []
    assert look("org/dates@main").code == 0
    assert hub.asked != []
    assert look("hf://org/dates").out == look("org/dates@main").out  # as fsspec writes it


@pytest.mark.thorough
def test_directories_of_the_cache(look: Callable[..., Run], dates: Path, tmp_path: Path) -> None:
    """`models--org--name` means its main snapshot; so does the snapshot's own directory."""
    first = look("org/dates")
    folder = tmp_path / "hf" / "hub" / "models--org--dates"
    snapshot = folder / "snapshots" / commit("org/datesmain")
    assert [look(path) for path in (folder, snapshot)] == [first, first]
    assert resolve(folder) == snapshot
    (folder / "refs" / "main").unlink()
    assert resolve(folder) == snapshot
    (folder / "snapshots" / "other").mkdir()
    with pytest.raises(SourceError, match="several snapshots and no main; give one of them: "):
        resolve(folder)
    shutil.rmtree(folder / "snapshots")
    (folder / "snapshots").mkdir()
    with pytest.raises(
        SourceError, match="nothing was downloaded into this part of the hub's cache"
    ):
        resolve(folder)


@pytest.mark.thorough
def test_refusals(
    look: Callable[..., Run], many: Many, hub: Hub, dates: Path, tmp_path: Path
) -> None:
    """Whatever the hub does not give is one clear message with the next step."""
    files = folder_files(dates)
    hub.repos |= {
        "org/gated": {"main": files},
        "org/private": {"main": files},
        "org/empty": {"main": {"README.md": b""}},
        "org/bare": {"main": {"config.json": files["config.json"]}},
        "org/tf": {"main": {"config.json": files["config.json"], "tf_model.h5": b""}},
    }
    hub.gated, hub.private = {"org/gated"}, {"org/private"}
    unknown = (
        "{0}: no such directory here, and no such model on the hub that you may read.\n"
        "Check the name; for a private model set HF_TOKEN or run `hf auth login`.\n"
    )
    offline = (
        "org/dates: HF_HUB_OFFLINE is set, and it is not in the hub's cache.\n"
        "Unset it for one run, or copy the cache of a machine that has the model.\n"
    )
    away = (
        "org/dates: no such directory here, and the hub cannot be reached (ConnectionError).\n"
        "Check the network; HF_HUB_OFFLINE=1 takes what was downloaded before.\n"
    )
    gated = "org/gated: gated: accept its conditions on its page, then set HF_TOKEN or run `hf auth login`.\n"
    formats = "flax_model.msgpack, model.safetensors, pytorch_model.bin, tf_model.h5"
    tf = "org/tf: no pytorch weights there; there is tf_model.h5. `ckptconv tf2pt` makes PyTorch's of them.\n"
    cases: tuple[tuple[str, dict[str, str], int, str], ...] = (
        ("org/nothing", {}, 3, unknown.format("org/nothing")),
        ("org/private", {}, 3, unknown.format("org/private")),
        ("org/gated", {}, 3, gated),
        ("org/dates@v9", {}, 3, "org/dates: has no branch, tag or commit 'v9' on the hub.\n"),
        ("org/empty", {}, 3, "org/empty: no config.json there, so this is no checkpoint.\n"),
        (
            "org/bare",
            {},
            3,
            f"org/bare: no weights there; looked for {formats} and their shards.\n",
        ),
        ("org/tf", {}, 3, tf),
        ("org/dates", {"HF_HUB_OFFLINE": "1"}, 5, offline),
        ("org/dates", {"HF_ENDPOINT": "http://127.0.0.1:9"}, 5, away),
    )
    for env in ({}, {"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        these = [(name, code, text) for name, where, code, text in cases if where == env]
        done = many(*(("split", name, tmp_path / "out") for name, _, _ in these), **env)
        # huggingface_hub 1 and later raise httpx's ConnectError.
        assert [
            (code, out, err.replace("(ConnectError)", "(ConnectionError)"))
            for code, out, err in done
        ] == [(code, "", f"Error: {text}") for _, code, text in these]
    assert look("org/private", HF_TOKEN="secret").code == 0


@pytest.mark.thorough
def test_half_a_download_is_never_read(look: Callable[..., Run], hub: Hub) -> None:
    """A download that breaks off is an error that says so; the next run fetches that file and no other."""
    hub.cut = {"model.safetensors": 300_000}
    shown = look("org/dates")
    assert (shown.code, shown.out) == (5, "")
    assert shown.err.startswith("Error: org/dates: the download of model.safetensors broke off (")
    assert shown.err.endswith(").\nRun the command again: it goes on where it stopped.\n")
    offline = look("org/dates", HF_HUB_OFFLINE="1")
    assert (offline.code, "its weights are not in the hub's cache" in offline.err) == (5, True)
    hub.cut, hub.asked[:] = {}, []
    assert (look("org/dates").code, hub.downloaded()) == (0, ["model.safetensors"])


@pytest.mark.thorough
def test_downloads_show_themselves_on_terminals_alone(hub: Hub, tmp_path: Path) -> None:
    """The library's own bars name each file on a terminal; --quiet takes them away, and its switch is honoured."""
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    shown = {}
    for number, (more, own) in enumerate(
        (([], {}), (["--quiet"], {}), ([], {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}))
    ):
        arguments = ["-m", "ckptconv", "split", "org/dates", str(tmp_path / str(number)), *more]
        done = on_terminal(*arguments, env={**env, **own, "HF_HOME": str(tmp_path / f"hf{number}")})
        assert done.code == 0
        shown[number] = "model.safetensors: 100%" in done.err
    assert shown == {0: True, 1: False, 2: False}
