"""Checkpoints behind addresses: what is read of them is fetched, and never a hole taken for zeros."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptconv
from bundles import litert, saved_model
from ckptconv.base.errors import DestinationError, FrameworkError, SourceError
from ckptconv.stores import remote
from ckptconv.stores.hub import resolve
from conftest import Cli, MakePair, Pair
from hub_server import Hub, folder_files, serving
from large import write_large
from range_server import Web, served

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def web(dates: Path, tmp_path: Path) -> Iterator[Web]:
    """Return a running server of the trained checkpoint, as `/dates`."""
    pytest.importorskip("aiohttp")
    shutil.copytree(dates, tmp_path / "web" / "dates")
    with served(tmp_path / "web") as running:
        yield running


@pytest.fixture
def bucket(dates: Path) -> Iterator[str]:
    """Return the address of the trained checkpoint in a store in memory."""
    system = fsspec.filesystem("memory")
    for path in dates.iterdir():
        system.pipe_file(f"/bucket/dates/{path.name}", path.read_bytes())
    remote._MIRRORS.clear()
    yield "memory://bucket/dates"
    system.rm("/bucket", recursive=True)


def test_every_verb_reads_a_store(bucket: str, dates: Path, tmp_path: Path) -> None:
    """The bytes that are written are those of the same checkpoint in a directory."""
    assert ckptconv.inspect(bucket).pair == ckptconv.inspect(dates).pair
    ckptconv.pt2tf(bucket, tmp_path / "a")
    ckptconv.pt2tf(dates, tmp_path / "b")
    assert folder_files(tmp_path / "a") == folder_files(tmp_path / "b")
    assert ckptconv.verify(bucket, tmp_path / "a", "weights").matches
    assert ckptconv.diff(bucket, dates).matches
    system = fsspec.filesystem("memory")
    for path in (tmp_path / "a").iterdir():
        system.pipe_file(f"/bucket/tf/{path.name}", path.read_bytes())
    assert ckptconv.verify(bucket, "memory://bucket/tf", "weights").matches
    assert ckptconv.tf2pt("memory://bucket/tf", tmp_path / "back").files


def test_a_store_that_changes_meanwhile_is_refused(bucket: str, tmp_path: Path) -> None:
    """What was read of it would be two things in one."""
    system = fsspec.filesystem("memory")
    path = next(name for name in system.find("/bucket/dates") if name.endswith(".safetensors"))

    def replaced(done: int, total: int) -> None:
        system.pipe_file(path, system.cat_file(path))

    with pytest.raises(SourceError, match="changed while it was read"):
        ckptconv.pt2tf(bucket, tmp_path / "tf", options=ckptconv.WriteOptions(progress=replaced))
    assert not (tmp_path / "tf").exists()


def test_a_store_that_changes_between_commands_is_read_anew(
    bucket: str, dates: Path, tmp_path: Path
) -> None:
    """In one process: nothing that was read of the earlier file is joined with the later one."""
    system = fsspec.filesystem("memory")
    path = next(name for name in system.find("/bucket/dates") if name.endswith(".safetensors"))
    ckptconv.inspect(bucket)
    content = bytearray(system.cat_file(path))
    content[8 + int.from_bytes(content[:8], "little")] ^= (
        1  # beside the header, which is here already
    )
    system.pipe_file(path, bytes(content))
    ckptconv.normalize(bucket, tmp_path / "later")
    assert not ckptconv.diff(tmp_path / "later", dates).matches
    assert ckptconv.diff(tmp_path / "later", bucket).matches


@pytest.mark.parametrize("name", ["generation_config.json", "model.safetensors.index.json"])
def test_an_outage_is_no_absent_file(web: Web, run: Cli, tmp_path: Path, name: str) -> None:
    """A server that cannot answer for one file does not let an output without it through."""
    web.broken = name
    ended = run("pt2tf", f"{web.url}/dates", tmp_path / "tf")
    assert (ended.code, "cannot be reached" in ended.err) == (5, True)
    assert not (tmp_path / "tf").exists()


def test_inspect_of_a_large_pair_reads_its_header_alone(
    web: Web, make_pair: MakePair, run: Cli, tmp_path: Path
) -> None:
    """Of 0.99 GB behind a web server, less than a megabyte comes."""
    sizes = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
    }
    folder = write_large(tmp_path / "web" / "large", sizes | {"num_attention_heads": 12})
    assert (folder / "model.safetensors").stat().st_size > 900_000_000
    ended = run("inspect", f"{web.url}/large", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["bytes"] > 900_000_000
    assert json.loads(ended.out)["path"] == f"{web.url}/large"
    assert web.sent < 1_000_000


def test_a_web_server(web: Web, run: Cli, dates: Path, tmp_path: Path) -> None:
    """Conversions read it by ranges; what goes wrong there is one sentence and the right exit code."""
    written = run("pt2tf", f"{web.url}/dates", tmp_path / "tf")
    assert written.code == 0, written.err
    assert ckptconv.verify(dates, tmp_path / "tf", "weights").matches
    assert (tmp_path / "tf" / "tokenizer.json").is_file()
    assert run("inspect", f"{web.url}/nosuch").code == 3
    web.changes = True
    changed = run("pt2tf", f"{web.url}/dates", tmp_path / "changed")
    assert (changed.code, "changed while it was read" in changed.err) == (3, True)
    assert f"{web.url}/dates" in changed.err
    web.changes, web.forbidden = False, True
    refused = run("inspect", f"{web.url}/dates")
    assert refused.code == 3
    assert not (tmp_path / "changed").exists()
    gone = run("inspect", "http://127.0.0.1:9/dates")
    assert (gone.code, "cannot be reached" in gone.err) == (5, True)
    assert run("inspect", "nosuch://bucket/dates").code == 3


def test_a_server_without_ranges_gives_no_wrong_bytes(web: Web, run: Cli, tmp_path: Path) -> None:
    """It answers with the whole file, which is taken as that; never is a part taken for another."""
    web.ranges = False
    ended = run("pt2tf", f"{web.url}/dates", tmp_path / "tf")
    assert ended.code == 0, ended.err
    assert ckptconv.verify(tmp_path / "web" / "dates", tmp_path / "tf", "weights").matches


def test_a_connection_that_is_cut_or_stalls_is_an_outage(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each, and no wait without an end; nothing is written."""
    monkeypatch.setattr(remote, "STALL_SECONDS", 0.5)
    for fault in ("cuts", "stalls"):
        setattr(web, fault, True)
        with pytest.raises(FrameworkError, match=r"cannot be reached .*\nCheck the network"):
            ckptconv.pt2tf(f"{web.url}/dates", tmp_path / fault)
        setattr(web, fault, False)
        assert not (tmp_path / fault).exists()
        remote._MIRRORS.clear()


def test_an_address_is_no_target(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """Nothing is written to a store, nor into a directory here that is called as its address."""
    for command in ("pt2tf", "pt2flax", "normalize", "split", "export"):
        ended = cli(command, dates, "memory://bucket/out")
        assert (ended.code, "can be read, not written" in ended.err) == (4, True)
    assert cli("demo", "s3://bucket/out").code == 4
    with pytest.raises(DestinationError, match="copy it there"):
        ckptconv.join(dates, dates, "s3://bucket/out")
    assert not list(Path.cwd().glob("*:"))


def test_an_artefact_in_a_store(pair: Pair, tmp_path: Path) -> None:
    """Its weights are read where they lie, in files of their own too; `check`, which reads every byte, says no."""
    source = pair.write(tmp_path / "source")
    artefacts = {
        "tf": saved_model(source, pair.arrays, tmp_path / "tf"),
        "lite": litert(source, pair.arrays, tmp_path / "lite", "encoder.pooler.dense.weight"),
    }
    system = fsspec.filesystem("memory")
    remote._MIRRORS.clear()
    for name, folder in artefacts.items():
        for path in (path for path in folder.rglob("*") if path.is_file()):
            system.pipe_file(f"/shop/{name}/{path.relative_to(folder)}", path.read_bytes())
        address = f"memory://shop/{name}"
        assert len(ckptconv.inspect(address).tensors) == len(ckptconv.inspect(folder).tensors)
        assert ckptconv.diff(source, address).matches
        assert ckptconv.verify(source, address, "weights").matches
        with pytest.raises(SourceError, match="is an address"):
            ckptconv.check(address)
    system.rm("/shop", recursive=True)


def test_a_folder_with_many_below_it_is_listed_alone(bucket: str) -> None:
    """What a bucket holds beside the checkpoint costs one listing, however much it is."""
    system = fsspec.filesystem("memory")
    for number in range(remote.MOST_FOLDERS + 1):
        system.pipe_file(f"/bucket/dates/{number}/config.json", b"{}")
    folder = remote.mirror(bucket)
    assert "config.json" in (names := {path.name for path in folder.iterdir()})
    assert not names & {"0", "1"}


def test_an_address_of_the_hub(dates: Path, run: Cli, tmp_path: Path) -> None:
    """The page of a model is the model, at the commit that the hub names; code is never read."""
    files = folder_files(dates) | {"modeling.py": b"raise SystemExit"}
    with serving(Hub({"org/dates": {"main": files}})) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        ended = run("inspect", f"{hub.url}/org/dates", env=env)
        assert ended.code == 0, ended.err
        assert run("pt2tf", f"{hub.url}/org/dates/tree/main", tmp_path / "tf", env=env).code == 0
        assert "modeling.py" not in hub.downloaded()
    assert ckptconv.verify(dates, tmp_path / "tf", "weights").matches


def test_what_is_no_address() -> None:
    """A path with a colon is a path."""
    assert resolve("./a:/b") == Path("./a:/b")


def test_without_what_a_store_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    pytest.importorskip("fsspec")
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(FrameworkError, match="s3fs"):
            resolve("s3://bucket/model")
