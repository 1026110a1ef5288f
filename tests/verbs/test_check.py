"""`check`: whole outputs are whole, and whatever is done to one is found and named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv import SourceError, WriteOptions, __version__
from ckptconv.base.strict_json import dump_json
from ckptconv.stores.formats import FORMATS
from ckptconv.transfer.manifest import MANIFEST, SUMS
from conftest import ROOT
from written import as_nobody, write_output

if TYPE_CHECKING:
    from conftest import Cli, MakePair, Pair

FILES = {"generation_config.json": '{"max_length": 9}\n', "vocab.txt": "a\nb\n"}
BIAS = "decoder.cls.predictions.bias"
VERBS: dict[str, Callable[..., Any]] = {
    "tf hdf5": ckptconv.pt2tf,
    "tf safetensors": lambda *paths, **more: ckptconv.pt2tf(*paths, "safetensors", **more),
    "flax msgpack": ckptconv.pt2flax,
    "flax safetensors": lambda *paths, **more: ckptconv.pt2flax(*paths, "safetensors", **more),
    "pytorch safetensors": ckptconv.normalize,
    "parts": ckptconv.split,
}


def findings(folder: Path) -> list[tuple[str, str, str]]:
    """Return what a check says."""
    return [
        (finding.kind, finding.name, finding.detail) for finding in ckptconv.check(folder).findings
    ]


@pytest.fixture
def out(pair: Pair, tmp_path: Path) -> Path:
    """Return a converted directory."""
    pair.files = dict(FILES)
    ckptconv.normalize(pair.write(tmp_path / "source"), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.thorough
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("shards", [None, 900])
def test_what_was_written_is_whole(
    make_pair: MakePair, tmp_path: Path, verb: str, shards: int | None
) -> None:
    """Every verb, one file or shards: nothing to find, and `sha256sum -c` agrees."""
    if (verb, shards) == ("flax safetensors", 900):
        pytest.skip("the class cannot load shards of safetensors, so there are none")
    pair = make_pair("roberta", "gpt2", dec={"n_embd": 5})
    pair.files = dict(FILES)
    VERBS[verb](
        pair.write(tmp_path / "a"), tmp_path / "b", options=WriteOptions(max_shard_bytes=shards)
    )
    result = ckptconv.check(tmp_path / "b")
    there = [
        path
        for path in (tmp_path / "b").rglob("*")
        if path.is_file() and path.name not in (MANIFEST, SUMS)
    ]
    records = 6 if verb == "parts" else 0
    assert (result.findings, result.whole, len(result.manifest.files)) == (
        (),
        True,
        len(there) + records,
    )
    listed = [
        path
        for path in (tmp_path / "b").rglob("*")
        if path.is_file() and path != tmp_path / "b" / SUMS
    ]
    assert result.nbytes == sum(
        path.stat().st_size for path in listed if path != tmp_path / "b" / MANIFEST
    )
    assert result.tensors == sum(len(file.tensors) for file in result.manifest.files.values()) > 30
    process = subprocess.run(
        ["sha256sum", "--strict", "-c", SUMS], cwd=tmp_path / "b", capture_output=True, text=True
    )
    assert (process.returncode, process.stdout.count(": OK\n"), process.stderr) == (
        0,
        len(listed),
        "",
    )
    if verb == "parts":
        for part in ("encoder", "decoder", "bridge"):
            assert findings(tmp_path / "b" / part) == []


def test_progress_counts_every_byte(out: Path) -> None:
    """The last call says that all that the manifest names was read."""
    steps: list[tuple[int, int]] = []
    result = ckptconv.check(out, progress=lambda done, total: steps.append((done, total)))
    assert (steps[-1], len(steps)) == ((result.nbytes, result.nbytes), 4)
    assert steps == sorted(steps)


def test_files_that_come_and_go(out: Path) -> None:
    """A file, folder or link that is new, one that is gone, one under another name."""
    (out / "README.md").write_text("x")
    (out / "empty").mkdir()
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "x.py").write_text("x")
    (out / "elsewhere").symlink_to(out.parent)
    (out / "dangling").symlink_to("nowhere")
    (out / "vocab.txt").rename(out / "vocabulary.txt")
    (out / "generation_config.json").unlink()
    assert findings(out) == [
        ("added", "README.md", ""),
        ("added", "dangling", ""),
        ("added", "deep/er/x.py", ""),
        ("added", "elsewhere/", ""),
        ("added", "empty/", ""),
        ("renamed", "vocab.txt", "it is vocabulary.txt now"),
        ("removed", "generation_config.json", ""),
    ]


def test_a_changed_tensor_is_named(out: Path) -> None:
    """One bit of its data: the file and the tensor; another in the header: the file, and that no tensor is changed."""
    weights = out / "model.safetensors"
    place = FORMATS["safetensors"].read(weights).tensors[BIAS].extents[0]
    data = bytearray(weights.read_bytes())
    data[place.offset + 3] ^= 16
    weights.write_bytes(data)
    total = len(FORMATS["safetensors"].read(weights).tensors)
    changed = ("changed", "model.safetensors", f"1 of {total} tensors")
    assert findings(out) == [changed, ("tensor", BIAS, "changed")]
    data[place.offset + 3] ^= 16
    data[20] ^= 1
    weights.write_bytes(data)
    around = "every tensor is what it was, the bytes around them are not"
    assert findings(out) == [("changed", "model.safetensors", around)]


def test_a_file_of_another_size(pair: Pair, out: Path, tmp_path: Path) -> None:
    """It is read as what it claims to be: tensors removed, added and changed; or cut short."""
    before = (out / "model.safetensors").stat().st_size
    pair.arrays[BIAS] = pair.arrays.pop(BIAS)[:-1]
    pair.arrays["new"] = pair.arrays.pop("encoder.pooler.dense.bias")
    shutil.copy(pair.write(tmp_path / "other") / "model.safetensors", out / "model.safetensors")
    size = (out / "model.safetensors").stat().st_size
    assert findings(out) == [
        ("changed", "model.safetensors", f"{size} bytes, were {before}; 3 of 101 tensors"),
        ("tensor", "encoder.pooler.dense.bias", "removed"),
        ("tensor", "new", "added"),
        ("tensor", BIAS, "changed"),
    ]
    os.truncate(out / "model.safetensors", 1000)
    ((kind, name, detail),) = findings(out)
    assert (kind, name) == ("changed", "model.safetensors")
    assert detail.startswith(f"1000 bytes, were {before}; {out}/model.safetensors: ")
    (out / "vocab.txt").write_text("a\nb\nc\n")
    assert findings(out)[-1] == ("changed", "vocab.txt", "6 bytes, were 4")


def test_a_file_that_cannot_be_read(out: Path, tmp_path: Path) -> None:
    """A pipe does not keep it waiting, and a link out of the directory is not followed, whatever it holds."""
    (out / "vocab.txt").rename(tmp_path / "vocab.txt")
    (out / "vocab.txt").symlink_to(tmp_path / "vocab.txt")
    (out / "config.json").unlink()
    os.mkfifo(out / "config.json")
    (out / SUMS).unlink()
    os.mkfifo(out / SUMS)
    result = findings(out)
    assert sorted((kind, name) for kind, name, _ in result) == [
        ("unreadable", SUMS),
        ("unreadable", "config.json"),
        ("unreadable", "vocab.txt"),
    ]
    assert f"{out}/config.json: is a pipe, not a file" in {detail for _, _, detail in result}


def test_the_manifest_itself(out: Path) -> None:
    """Edited, or only spelled otherwise; and sums that are not its own, or are gone."""
    good = (out / MANIFEST).read_bytes()
    values = json.loads(good)
    (out / MANIFEST).write_bytes(dump_json({**values, "command": "split"}))
    sums = ("changed", SUMS, "not the sums of the files that the manifest names")
    assert findings(out) == [
        ("edited", MANIFEST, "its content does not have the digest that it gives for itself"),
        sums,
    ]
    (out / MANIFEST).write_text(json.dumps(values))
    assert findings(out) == [("edited", MANIFEST, "the same content, in other bytes")]
    (out / MANIFEST).write_bytes(good)
    (out / SUMS).write_text((out / SUMS).read_text().lower() + "\n")
    assert findings(out) == [sums]
    (out / SUMS).unlink()
    assert findings(out) == [("removed", SUMS, "")]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"manifest": 3}, "of a layout (3) that ckptconv"),
        ({"files": []}, "malformed: 'expected an object'"),
        ({"files": {"../x": {}}}, "malformed: \"file name '../x'\""),
        ({"files": {"a": {"bytes": -1, "sha256": ""}}}, "malformed: 'sizes must be whole numbers'"),
        ({"files": {"a": {"bytes": 1}}}, "malformed: \"'sha256'\""),
        (
            {
                "files": {
                    "a": {"bytes": 1, "sha256": "", "tensors": {"t": {"shape": 1, "extents": []}}}
                }
            },
            "must be lists",
        ),
        (
            {
                "files": {
                    "a": {
                        "bytes": 1,
                        "sha256": "",
                        "tensors": {
                            "t": {"shape": [2], "extents": [[0, 2]], "dtype": "bool", "sha256": ""}
                        },
                    }
                }
            },
            "larger than their file",
        ),
        (
            {
                "files": {
                    "a": {
                        "bytes": 1,
                        "sha256": "",
                        "tensors": {
                            "t": {"shape": [2], "extents": [[0]], "dtype": "bool", "sha256": ""}
                        },
                    }
                }
            },
            "extents must be pairs",
        ),
        ({"extra": 1}, "unknown key extra"),
        ({"healed": {}}, "malformed: 'healed'"),
        ({"pair": None}, "must be a text"),
    ],
)
def test_malformed(out: Path, change: dict[str, Any], says: str) -> None:
    """What is no manifest is refused, and leads to no file outside the directory."""
    values = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_bytes(dump_json({**values, **change}))
    with pytest.raises(SourceError, match=r"malformed|layout") as refusal:
        ckptconv.check(out)
    assert says in str(refusal.value)


@pytest.mark.thorough
def test_command(cli: Cli, out: Path, tmp_path: Path) -> None:
    """Exit 0 and one line; 1 with every finding; 3 without a manifest; --json says the same; --quiet nothing."""
    outcome = cli("check", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert (
        outcome.out
        == f"WHOLE: {out}: 4 files, 101 tensors, 24.2 kB; every byte is as ckptconv {__version__}"
        " (normalize) wrote it\n"
    )
    (out / "vocab.txt").write_text("b\na\n")
    (out / "x").touch()
    outcome = cli("check", out)
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out == (
        f"added       x\nchanged     vocab.txt\nCHANGED: {out}: 2 changes since ckptconv.json was written\n"
    )
    document = json.loads(cli("check", out, "--json").out)
    assert document.pop("manifest") == json.loads((out / MANIFEST).read_text())["sha256"]
    assert document.pop("bytes") == sum(
        (out / name).stat().st_size for name in (*FILES, "config.json", "model.safetensors")
    )
    assert document == {
        "schema": "ckptconv.check",
        "schema_version": 1,
        "path": str(out),
        "verdict": "changed",
        "ckptconv": __version__,
        "command": "normalize",
        "files": 4,
        "tensors": 101,
        "notices": [],
        "findings": [
            {"kind": "added", "name": "x", "detail": ""},
            {"kind": "changed", "name": "vocab.txt", "detail": ""},
        ],
    }
    outcome = cli("check", out, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "")
    outcome = cli("check", tmp_path / "source")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == (
        f"Error: {tmp_path}/source: no ckptconv.json here, so there is nothing to check against.\n"
        "ckptconv writes one into every directory that it makes.\n"
    )


def remade(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest, and make its own digest and the sums anew, as somebody would who means harm."""
    values = json.loads((out / MANIFEST).read_text())
    change(values)
    del values["sha256"]
    spelled = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    dumped = dump_json({**values, "sha256": sha256(spelled).hexdigest()})
    (out / MANIFEST).write_bytes(dumped)
    digests = {name: file["sha256"] for name, file in values["files"].items()}
    digests[MANIFEST] = sha256(dumped).hexdigest()
    (out / SUMS).write_text("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)))


WEIGHTS = "model.safetensors"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda values: values["files"][WEIGHTS].update(bytes=10**60),
            f"says that {WEIGHTS} has 1{'0' * 60} bytes",
        ),
        (
            lambda values: values["files"]["vocab.txt"].update(bytes=7),
            "says that vocab.txt has 7 bytes; it has 4",
        ),
        (
            lambda values: values["files"][WEIGHTS]["tensors"][BIAS].update(shape=[1]),
            f"says that {BIAS} of {WEIGHTS}",
        ),
        (
            lambda values: values["files"][WEIGHTS]["tensors"][BIAS].update(dtype="float64"),
            f"says that {BIAS}",
        ),
        (
            lambda values: values["files"][WEIGHTS]["tensors"][BIAS].update(dtype="x\n::error::"),
            "is x\\n::error:: [",
        ),
        (
            lambda values: values["files"][WEIGHTS]["tensors"][BIAS]["extents"][0].__setitem__(
                0, 10**9
            ),
            f"{BIAS} of",
        ),
    ],
)
def test_a_manifest_that_was_made_anew(
    cli: Cli, out: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    """Its digest fits, but sizes, shapes, dtypes or places that no such file can have are found all the same."""
    remade(out, change)
    outcome = cli("check", out)
    assert outcome.code == 1
    assert outcome.out.startswith("edited ")
    assert says in " ".join(outcome.out.split())
    assert "1 change since" in outcome.out


def test_a_manifest_of_nothing(cli: Cli, tmp_path: Path) -> None:
    """An empty directory with a manifest that names no file is not whole."""
    out = write_output(tmp_path / "out", {})
    outcome = cli("check", out)
    assert (outcome.code, outcome.out.splitlines()[0]) == (
        1,
        "edited      ckptconv.json: names no file, so there is nothing that it could prove",
    )


CHECK = """
from ckptconv.verbs.check import check
import concurrent.futures.thread, ckptconv.stores.formats, ckptconv.transfer.manifest
become_nobody()
for finding in check(Path(sys.argv[1])).findings:
    print(finding.kind, finding.name, finding.detail)
"""


@pytest.mark.thorough
def test_a_directory_that_may_not_be_listed(tmp_path: Path) -> None:
    """What it holds is unknown, so the output is not whole: one that was added, and one of ours."""
    out = write_output(tmp_path / "out", {"encoder/config.json": "{}", "config.json": "{}"})
    (out / "evil" / "deep").mkdir(parents=True)
    (out / "evil" / WEIGHTS).write_text("hidden")
    out.chmod(0o755)
    for name in ("evil", "encoder"):
        (out / name).chmod(0o700)
    assert as_nobody(CHECK, out).splitlines() == [
        "unreadable encoder/ cannot be listed (Permission denied)",
        "unreadable evil/ cannot be listed (Permission denied)",
        "removed encoder/config.json ",
    ]


@pytest.mark.thorough
def test_what_no_manifest_knows(out: Path) -> None:
    """Modes, times and extended attributes are no part of the promise."""
    (out / WEIGHTS).chmod(0o777)
    os.utime(out / "config.json", (0, 0))
    with suppress(OSError):
        os.setxattr(out / "config.json", "user.x", b"x")
    assert findings(out) == []


SEEDS = """
import sys
from ckptconv.verbs.check import check
print([finding.name for finding in check(sys.argv[1]).findings])
"""


@pytest.mark.thorough
def test_the_order_of_findings(out: Path, pair: Pair, tmp_path: Path) -> None:
    """It does not depend on the seed of Python's hashes."""
    pair.arrays = {name: array + 1 for name, array in pair.arrays.items()}
    pair.arrays["new"] = pair.arrays.pop(BIAS)
    shutil.copy(pair.write(tmp_path / "other") / WEIGHTS, out / WEIGHTS)
    lines = {
        subprocess.run(
            [sys.executable, "-c", SEEDS, str(out)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(lines) == 1
