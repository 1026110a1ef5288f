"""Checkpoints behind addresses: what is read of them is fetched, and never a hole taken for zeros."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptconv
from ckptconv.base.errors import FrameworkError, SourceError
from ckptconv.stores import remote
from ckptconv.stores.hub import resolve
from conftest import Cli, MakePair
from hub_server import Hub, folder_files, serving
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
    folder = _large(tmp_path / "web" / "large", sizes | {"num_attention_heads": 12})
    assert (folder / "model.safetensors").stat().st_size > 900_000_000
    ended = run("inspect", f"{web.url}/large", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["bytes"] > 900_000_000
    assert json.loads(ended.out)["path"] == f"{web.url}/large"
    assert web.sent < 1_000_000


def _large(folder: Path, sizes: dict[str, int]) -> Path:
    """Write a pair whose tensors are holes: only its header takes room."""
    from ckptconv.schema.config import Config
    from ckptconv.schema.model import read_model
    from ckptconv.stores.formats import safetensors
    from ckptconv.stores.tensor import TensorSpec

    side = {"model_type": "bert", "max_position_embeddings": 512, "type_vocab_size": 2, **sizes}
    config = {
        "model_type": "encoder-decoder",
        "encoder": side,
        "decoder": {**side, "is_decoder": True, "add_cross_attention": True},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    specs = [
        TensorSpec(row.spellings["pytorch"].names[0], "float32", row.shape("pytorch"))
        for row in read_model(Config(config)).tensors
        if row.module.presence != "dropped" and not (row.tied_to and row.module.tied)
    ]
    safetensors.create(folder / "model.safetensors", specs, "pytorch", False)
    return folder


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
