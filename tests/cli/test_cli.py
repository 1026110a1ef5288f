"""The command line: whole output and exit code of every command that writes, and what all commands share."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv import __version__

if TYPE_CHECKING:
    from conftest import Cli, Pair

HEALED = (
    "note: encoder.embeddings.token_type_embeddings: row 0 repeated 64 times,"
    " since `encode` passes positions as token types\n"
    "note: if this model is trained further in Flax, `flax2pt --take-trained-row` is the way back\n"
)
TOKENIZER = {"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
MADE = {"ckptconv.json", "SHA256SUMS"}
WHOLE = {"config.json", "generation_config.json", *TOKENIZER, *MADE}


def files(folder: Path) -> set[str]:
    """Return the path of every file below a folder, and of every empty directory."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


@pytest.mark.thorough
def test_split(run: Cli, dates: Path, tmp_path: Path) -> None:
    """Encoder and decoder get their weights, config and tokenizer; the whole keeps its settings."""
    out = tmp_path / "parts"
    outcome = run("split", dates, out)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"{out}/encoder: 39 tensors, 679.3 kB\n{out}/decoder: 62 tensors, 979.8 kB\n"
        "bert -> bert, read back and compared, in N s\n"
    )
    encoder = {
        f"encoder/{name}" for name in {"model.safetensors", "config.json", *TOKENIZER, *MADE}
    }
    decoder = {f"decoder/{name}" for name in {"model.safetensors", *WHOLE}}
    assert files(out) == WHOLE | encoder | decoder


def test_split_json(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """`--json` lists the parts with every move."""
    outcome = cli("split", dates, tmp_path / "parts", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err, document["pair"], document["notices"]) == (
        0,
        "",
        "bert -> bert",
        [],
    )
    assert [(part["name"], part["bytes"], len(part["tensors"])) for part in document["parts"]] == [
        ("encoder", 679_296, 39),
        ("decoder", 979_768, 62),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("verb", "weights", "notes"),
    [("pt2tf", "tf_model.h5", ""), ("pt2flax", "flax_model.msgpack", HEALED)],
)
def test_convert(
    run: Cli, dates: Path, tmp_path: Path, verb: str, weights: str, notes: str
) -> None:
    """One line says what was written; notices go to stderr."""
    outcome = run(verb, dates, tmp_path / "out")
    line = f"bert -> bert: 101 tensors, 1.7 MB -> {tmp_path}/out/{weights}, read back and compared, in N s\n"
    assert (outcome.code, outcome.out, outcome.err) == (0, line, notes)
    assert files(tmp_path / "out") == {weights, *WHOLE}


def test_convert_json(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """`--json` says what was healed and every move; notices are in it, and still on stderr."""
    outcome = cli("pt2flax", dates, tmp_path / "out", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err, document["files"], len(document["tensors"])) == (
        0,
        HEALED,
        ["flax_model.msgpack"],
        101,
    )
    assert document["tensors"][2] == {
        "source": "encoder.embeddings.token_type_embeddings.weight",
        "target": "encoder/embeddings/token_type_embeddings/embedding",
        "dtype": "float32",
        "shape": [65, 96],
        "axes": "rows moved",
    }
    assert [item["tensor"] for item in document["healed"]] == [document["tensors"][2]["source"]]
    assert document["notices"] == [line.removeprefix("note: ") for line in HEALED.splitlines()]


@pytest.mark.parametrize("verb", ["split", "pt2tf", "pt2flax"])
def test_dry_run_writes_nothing(cli: Cli, dates: Path, tmp_path: Path, verb: str) -> None:
    """`--dry-run` shows every move, and not even a parent directory appears."""
    outcome = cli(verb, dates, tmp_path / "deep" / "out", "--dry-run")
    shown = [line for line in outcome.out.splitlines() if line.startswith(("encoder.", "decoder."))]
    assert (outcome.code, len(shown), list(tmp_path.iterdir())) == (0, 101, [])
    assert outcome.out.rstrip().lower().endswith("nothing was written.")
    query = next(
        line.split() for line in shown if "encoder.layer.0.attention.self.query.weight" in line
    )
    axes = "as is" if verb == "split" else "transposed"
    assert " ".join(query[1:]).startswith(f"{axes} ")


@pytest.mark.parametrize("verb", ["split", "pt2tf", "pt2flax"])
def test_quiet_prints_nothing(cli: Cli, dates: Path, tmp_path: Path, verb: str) -> None:
    """With `--quiet` the exit code is all there is, and the result is the same."""
    outcome = cli(verb, dates, tmp_path / "out", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    ("dtype", "nbytes"), [("float16", 829_532), ("bfloat16", 829_532), ("float32", 1_659_064)]
)
def test_dtype(cli: Cli, dates: Path, tmp_path: Path, dtype: str, nbytes: int) -> None:
    """`--dtype` halves the data and is what the config names."""
    outcome = cli("pt2flax", dates, tmp_path / "out", "--dtype", dtype, "--no-heal", "--json")
    document = json.loads(outcome.out)
    assert (
        outcome.code,
        document["bytes"],
        {tensor["dtype"] for tensor in document["tensors"]},
    ) == (
        0,
        nbytes,
        {dtype},
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


def test_max_shard_size(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """Shards get an index beside them; the closing line counts them."""
    outcome = cli("pt2tf", dates, tmp_path / "out", "--max-shard-size", "600 kB")
    line = f"bert -> bert: 101 tensors, 1.7 MB -> {tmp_path}/out (3 shards), read back and compared, in N s\n"
    assert (outcome.code, outcome.out) == (0, line)
    names = {f"tf_model-0000{n}-of-00003.h5" for n in (1, 2, 3)}
    assert files(tmp_path / "out") == {*names, "tf_model.h5.index.json", *WHOLE}


def test_overwrite_replaces_a_checkpoint(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """`--overwrite` leaves the new files alone, none of the old."""
    out = tmp_path / "out"
    assert cli("split", dates, out).code == 0
    assert cli("pt2flax", dates, out, "--overwrite").code == 0
    assert files(tmp_path) == {f"out/{name}" for name in {"flax_model.msgpack", *WHOLE}}


def test_code_does_not_travel(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """Python files stay and are named; what would fetch them leaves the config; the tokenizer comes along."""
    pair.config |= {
        "auto_map": {"AutoModel": "evil.Model"},
        "trust_remote_code": True,
        "_name_or_path": "/home/me",
    }
    pair.config["encoder"]["auto_map"] = {"AutoModel": "evil.Model"}
    pair.files = {
        "evil.py": "raise SystemExit",
        "a.py": "",
        "vocab.txt": "[PAD]\n",
        "notes.md": "mine",
    }
    outcome = cli("pt2tf", pair.write(tmp_path / "source"), tmp_path / "out")
    assert (outcome.code, outcome.err) == (
        0,
        "note: left behind: a.py, evil.py (ckptconv never copies code)\n"
        "note: left behind: config.json: auto_map, encoder.auto_map, trust_remote_code"
        " (keys that make a loader run code)\n",
    )
    assert files(tmp_path / "out") == {"config.json", "tf_model.h5", "vocab.txt", *MADE}
    text = (tmp_path / "out" / "config.json").read_text()
    assert [
        word for word in ("auto_map", "trust_remote_code", "_name_or_path", "evil") if word in text
    ] == []


def test_version_and_help(cli: Cli) -> None:
    """`--version` is a line for each thing installed; each command that takes a path shows itself in an example."""
    first, second, *rest = cli("--version").out.splitlines()
    assert (first, second) == (f"ckptconv {__version__}", f"Python {platform.python_version()}")
    assert rest[:2] == [f"{name} {metadata.version(name)}" for name in ("numpy", "h5py")]
    listed = cli("--help").out.partition("Commands:\n")[2]
    for verb in (line.split()[0] for line in listed.splitlines()):
        usage, _, rest = cli(verb, "--help").out.partition("\n")
        assert (f"Example: ckptconv {verb} " in rest) is not usage.endswith("[OPTIONS]")


def test_a_reader_that_goes_away_changes_no_exit_code(dates: Path) -> None:
    """`ckptconv inspect ... | head -1` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ckptconv", "inspect", str(dates), "--tensors"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=env, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.thorough
def test_names_cannot_steer_a_terminal(run: Cli, dates: Path, tmp_path: Path) -> None:
    """Control characters and broken UTF-8 in a path are escaped wherever they are printed."""
    out = os.fsencode(tmp_path) + b"/\x1b[31m\xff"
    outcome = run("pt2tf", dates, out, env={"PYTHONIOENCODING": "utf-8:strict"})
    assert (outcome.code, outcome.err) == (0, "")
    assert f"-> {tmp_path}/\\x1b[31m\\udcff/tf_model.h5" in outcome.out
    shutil.rmtree(out)
    assert "\x1b" not in run("inspect", out).err


def test_short_options(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """-q, -v, -n and -V are --quiet, --verbose, --dry-run and --version."""
    plan = cli("normalize", dates, tmp_path / "out", "--dry-run")
    assert cli("normalize", dates, tmp_path / "out", "-n") == plan
    assert not (tmp_path / "out").exists()
    assert cli("normalize", dates, tmp_path / "out", "-q").out == ""
    assert "planned" in cli("normalize", dates, tmp_path / "more", "-v").err
    assert cli("-V").out == cli("--version").out


def test_help_is_a_command_too(cli: Cli) -> None:
    """`help` and `help pt2tf` show what `--help` shows."""
    assert cli("help").out == cli("--help").out
    assert cli("help", "pt2tf").out == cli("pt2tf", "--help").out != ""


def test_no_command_is_asked_for_help(cli: Cli) -> None:
    """`ckptconv` alone shows the help, line by line, as wrong usage; before, it stood in one line after `Error:`."""
    alone = cli()
    assert (alone.code, alone.out) == (2, "")
    assert alone.err == cli("--help").out


def test_a_size_without_a_unit(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """It is asked for, and not taken for bytes."""
    refused = cli("pt2tf", dates, tmp_path / "tf", "--max-shard-size", "5")
    assert (refused.code, "write 5MB or 5GB, or 5B" in refused.err) == (2, True)
