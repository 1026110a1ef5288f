"""The recipes of docs/export/onnx.md beyond Python, as they stand there, in what they are for.

CKPTCONV_NODE_MODULES is a folder of node_modules with onnxruntime-node and onnxruntime-web. CKPTCONV_TRITON is a folder
into which `pip install --target` brought nvidia-pytriton, whose server has the Python backend alone and wants numpy
below 2.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_runs import run

pytestmark = [pytest.mark.frameworks, pytest.mark.soak, pytest.mark.filterwarnings("ignore")]

PAGE = (Path(__file__).parents[2] / "docs" / "export" / "onnx.md").read_text()
MODULES, PACKAGES = (os.environ.get(f"CKPTCONV_{name}", "") for name in ("NODE_MODULES", "TRITON"))
TRITON = Path(PACKAGES, "pytriton", "tritonserver")
TOKENS = [12, 5, 9]
"""Those of the recipes."""
SECONDS = 300


def recipes(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def expected(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """Return what ONNX Runtime answers in Python."""
    ids = np.array([TOKENS])
    folder = tmp_path_factory.mktemp("expected")
    answer = run(dates, folder, input_ids=ids, attention_mask=np.ones_like(ids))
    rows: list[list[int]] = answer["sequences"].tolist()
    return rows


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(not MODULES, reason="needs CKPTCONV_NODE_MODULES")
@pytest.mark.parametrize("number", [0, 1], ids=["node", "web"])
def test_javascript_answers_the_same(
    number: int, dates: Path, expected: list[list[int]], tmp_path: Path
) -> None:
    """onnxruntime-node reads the files, onnxruntime-web what it fetches."""
    (tmp_path / "node_modules").symlink_to(MODULES)
    with served(dates) as address:
        place = address if number else str(dates)
        (tmp_path / "recipe.mjs").write_text(recipes("js")[number].replace("OUT", place))
        process = subprocess.run(
            ["node", "recipe.mjs"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert process.returncode == 0, process.stderr[-3000:]
    assert json.loads(process.stdout) == expected[0]


@pytest.fixture
def repository(dates: Path, tmp_path: Path) -> Path:
    """Make the model repository by the page's own commands."""
    commands = next(block for block in recipes("sh") if "tritonserver" in block)
    script = commands.partition("tritonserver")[0].replace("OUT", str(dates))
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    return tmp_path / "models"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def triton(repository: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Start the server; yield its address and its log."""
    backend = folder / "backends" / "python"
    shutil.copytree(TRITON / "backends" / "python", backend)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    (backend / stub).symlink_to(
        TRITON / "python_backend_stubs" / version / stub
    )  # finds its libraries there
    port, log = _free_port(), folder / "log"
    settings = {
        "model-repository": repository,
        "backend-directory": backend.parent,
        "http-address": "127.0.0.1",
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
        "exit-on-error": "false",
    }
    command = [
        f"{TRITON}/bin/tritonserver",
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()
            process.wait(SECONDS)


def _wait(condition: Any, log: Path) -> None:
    """Wait until something holds; how long it takes matters to no test."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/v2/models/dates/ready") as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.skipif(not PACKAGES, reason="needs CKPTCONV_TRITON")
def test_tritons_python_backend_answers_the_same(
    repository: Path, expected: list[list[int]], tmp_path: Path
) -> None:
    """The page's `model.py` and request, in Triton's own server."""
    config = repository / "dates" / "config.pbtxt"
    lines = config.read_text().replace('backend: "onnxruntime"', 'backend: "python"').splitlines()
    config.write_text("\n".join(line for line in lines if "default_model_filename" not in line))
    (model,) = (block for block in recipes("python") if "TritonPythonModel" in block)
    paths = f"import sys; sys.path[:0] = {[PACKAGES, *sys.path]!r}\n"  # the server's Python is the system's own
    (repository / "dates" / "1" / "model.py").write_text(paths + model)
    request = next(block for block in recipes("sh") if "curl" in block)
    body = request.partition("'")[2].rpartition("'")[0].encode()
    with triton(repository, tmp_path) as (address, log):
        _wait(lambda: _is_ready(address), log)
        with urllib.request.urlopen(f"{address}/v2/models/dates/infer", data=body) as response:
            answer = json.load(response)
    (sequences,) = (value for value in answer["outputs"] if value["name"] == "sequences")
    assert np.reshape(sequences["data"], sequences["shape"]).tolist() == expected


@pytest.mark.skipif(not PACKAGES, reason="needs CKPTCONV_TRITON")
def test_triton_takes_the_configuration(repository: Path, tmp_path: Path) -> None:
    """All that its server misses is the ONNX Runtime backend, which the package does not hold."""
    with triton(repository, tmp_path) as (_, log):
        _wait(lambda: "failed to load 'dates'" in log.read_text(), log)
    line = next(line for line in log.read_text().splitlines() if "failed to load 'dates'" in line)
    assert re.search("backend.*onnxruntime", line), line
