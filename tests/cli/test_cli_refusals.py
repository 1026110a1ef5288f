"""The command line where it refuses: message and exit code, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ckptconv.base.environment import install_command
from ckptconv.base.errors import Interrupted
from ckptconv.batches.plan import NO_PLAN
from ckptconv.batches.task import Outcome, Task
from ckptconv.cli.commands.batch import resumable
from ckptconv.schema.family import FAMILIES

if TYPE_CHECKING:
    from conftest import Cli, Pair

VERBS = ("split", "pt2tf", "pt2flax")
LONG = "a" * 300
WAITS = "import time; time.sleep(100)"


@pytest.mark.parametrize(
    ("args", "last"),
    [
        (["verfy"], "Error: No such command 'verfy'. Did you mean 'verify'?"),
        (["split", "a"], "Error: Missing argument 'TARGET'."),
        (
            ["pt2tf", "a", "b", "--format", "msgpack"],
            "Error: Invalid value for '--format': 'msgpack' is not one of 'hdf5', 'safetensors'.",
        ),
        (
            ["split", "a", "b", "--dtype", "int8"],
            "Error: Invalid value for '--dtype': 'int8' is not one of 'keep', 'float32', 'float16', 'bfloat16'.",
        ),
        *(
            (
                ["split", "a", "b", "--max-shard-size", bad],
                f"Error: Invalid value for '--max-shard-size': '{bad}' is not a size; write 200MB, 5GB or 1GiB",
            )
            for bad in ("0", "0.5", "-5MB", "5X", "5TB", "MB", "nan", "inf", "1e999", "5 G B")
        ),
    ],
)
def test_wrong_usage(cli: Cli, args: list[str], last: str) -> None:
    """Wrong usage is exit code 2, with the value that is wrong and what is right."""
    outcome = cli(*args)
    assert (outcome.code, outcome.out, outcome.err.splitlines()[-1]) == (2, "", last)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("datse", "{root}/datse: no such directory. Did you mean {root}/dates?"),
        (
            "nothing-like-it",
            "{root}/nothing-like-it: no such directory."
            " A checkpoint is a directory: give the one that holds config.json and the weights.",
        ),
        ("", "{root}: no config.json here, so this is no checkpoint. There is one in: dates."),
        (
            "dates/model.safetensors",
            "{root}/dates/model.safetensors: a checkpoint is a directory;"
            " give the one that holds this file ({root}/dates).",
        ),
        (LONG, f"{{root}}/{LONG}: cannot be read (File name too long)"),
    ],
)
def test_no_checkpoint_there(cli: Cli, pair: Pair, tmp_path: Path, name: str, text: str) -> None:
    """A path that leads to no checkpoint is exit code 3, and the message leads to one that is near."""
    pair.write(tmp_path / "dates")
    path = tmp_path / name
    message = f"Error: {text.format(root=tmp_path)}\n"
    outcomes = [cli("split", path, tmp_path / "out"), cli("verify", path, path)]
    if not path.suffix:  # inspect and diff read a file by itself
        outcomes.append(cli("inspect", path))
    assert {(run.code, run.out, run.err) for run in outcomes} == {(3, "", message)}


def test_no_weights_there(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """A directory without weights is told apart from one with another framework's."""
    source = pair.write(tmp_path / "source")
    assert cli("pt2tf", source, tmp_path / "tf").code == 0
    (source / "model.safetensors").unlink()
    names = "flax_model.msgpack, model.safetensors, pytorch_model.bin, tf_model.h5"
    assert cli("split", source, tmp_path / "out").err == (
        f"Error: {source}: no weights here; looked for {names} and their shards.\n"
    )
    outcome = cli("split", tmp_path / "tf", tmp_path / "out")
    what = "no pytorch weights here; there is tf_model.h5 (tf). `ckptconv tf2pt` makes PyTorch's of them."
    assert (outcome.code, outcome.err) == (3, f"Error: {tmp_path}/tf: {what}\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"model_type": "fsmt"},
            "config.json: model type 'fsmt' is no encoder-decoder that ckptconv has a table for.",
        ),
        ({"encoder": None}, "config.json: 'encoder' must be an object, found nothing"),
        (
            {"decoder": {"model_type": "brt"}},
            "config.json: decoder: no table for model type 'brt'. Did you mean 'bert'?\nThere are tables for: {known}.",
        ),
        (
            {"decoder": {"model_type": "bert", "vocab_size": "many"}},
            "config.json: decoder: 'is_decoder' must be true, found nothing: this decoder does not read the encoder.",
        ),
        (
            {"encoder": {"model_type": "bert", "vocab_size": True}},
            "config.json: encoder: 'vocab_size' must be an integer, found true",
        ),
    ],
)
def test_a_config_that_no_table_answers(
    cli: Cli, pair: Pair, tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    """The message names the key, what it holds and what it may hold; every writing verb refuses alike."""
    pair.config |= change
    source = pair.write(tmp_path / "source")
    expected = f"Error: {source}/{text.format(known=', '.join(sorted(FAMILIES)))}"
    for verb in VERBS:
        outcome = cli(verb, source, tmp_path / "out")
        assert (outcome.code, outcome.out, outcome.err[: len(expected)]) == (3, "", expected)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 10_000, "\ud800"]
)
def test_a_config_that_is_no_json(cli: Cli, pair: Pair, tmp_path: Path, text: str) -> None:
    """Broken JSON, keys that stand twice and NaN are refused by name of the file."""
    source = pair.write(tmp_path / "source")
    (source / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = cli("inspect", source)
    assert (
        outcome.code,
        outcome.out,
        outcome.err.startswith(f"Error: {source}/config.json: "),
    ) == (
        3,
        "",
        True,
    )


def test_every_problem_is_listed(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """Tensors that are missing, left over and misshapen come in one message, sorted by kind."""
    bias, words = (
        "encoder.encoder.layer.1.output.dense.bias",
        "encoder.embeddings.word_embeddings.weight",
    )
    del pair.arrays[bias]
    pair.arrays["stray"] = pair.arrays[words][:2]
    pair.config["encoder"]["vocab_size"] = 24
    source = pair.write(tmp_path / "source")
    expected = (
        f"Error: {source}: 3 problems\n"
        f"  missing     {bias}: expected [7]\n"
        f"  shape       {words}: expected [24, 7] (row, dim), found [23, 7]\n"
        "  unexpected  stray: float32 [2, 7]\n"
        "The config and the tensors contradict each other: is this config.json the one of these weights?\n"
    )
    outcomes = [
        cli(verb, source, tmp_path / "out", *more) for verb in VERBS for more in ([], ["--dry-run"])
    ]
    assert [(item.code, item.out, item.err) for item in outcomes] == [(3, "", expected)] * 6
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("args", "is_json"),
    [
        (["inspect", "nowhere", "--json"], True),
        (["verify", "--json", "nowhere", "nowhere", "--junit", "nowhere/junit.xml"], True),
        (["verify", "nowhere", "nowhere", "--junit", "nowhere/junit.xml", "--json"], True),
        (["verify", "nowhere", "nowhere", "--text", "--json"], False),
    ],
)
def test_an_error_is_json_where_the_option_asks_for_it(
    cli: Cli, args: list[str], is_json: bool
) -> None:
    """`--json` counts wherever it stands, and not where it is another option's value."""
    outcome = cli(*args)
    assert outcome.code in {3, 4}
    assert outcome.err.startswith("Error: ")
    assert (json.loads(outcome.out)["exit_code"] if outcome.out else None) == (
        outcome.code if is_json else None
    )


def test_many_problems_are_cut_but_for_json(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """Text shows 40 problems and counts the rest; `--json` has them all."""
    pair.arrays |= {f"stray.{n:02}": pair.arrays["decoder.cls.predictions.bias"] for n in range(45)}
    outcome = cli("pt2tf", pair.write(tmp_path / "source"), tmp_path / "out", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["error"], document["exit_code"], len(document["problems"])) == (
        3,
        "PlanError",
        3,
        45,
    )
    assert document["problems"][44] == {
        "kind": "unexpected",
        "name": "stray.44",
        "detail": "float32 [29]",
    }
    lines = outcome.err.splitlines()
    assert lines[0] == f"Error: {tmp_path}/source: 45 problems"
    assert lines[1:41] == [f"  unexpected  stray.{n:02}: float32 [29]" for n in range(40)]
    assert lines[41:] == [
        "  ... and 5 more (--json lists them all)",
        "Nothing was written. A checkpoint must hold what its config says, and nothing else.",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_a_destination_that_exists(cli: Cli, dates: Path, tmp_path: Path, verb: str) -> None:
    """What exists is left alone, with or without `--overwrite`, where it is no checkpoint: exit code 4."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    plain, forced = cli(verb, dates, out), cli(verb, dates, out, "--overwrite")
    assert (plain.code, plain.out, plain.err) == (
        4,
        "",
        f"Error: {out}: already exists; give another directory, or --overwrite to replace it.\n",
    )
    why = (
        "has no ckptconv.json, so --overwrite leaves it alone; it holds thesis.tex.\n"
        "Move that away or remove it yourself, or give another directory."
    )
    assert (forced.code, forced.out, forced.err) == (4, "", f"Error: {out}: {why}\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.tex"]


def test_a_destination_that_cannot_be(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """In the source, around it, below a file, round a loop of links, too long: exit code 4 and the reason."""
    source = pair.write(tmp_path / "deep" / "source")
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    apart = "lies in the source or holds it; give a directory beside it."
    for name, text in (
        ("deep/source", f"{source}: {apart}"),
        ("deep/source/out", f"{source}/out: {apart}"),
        ("deep", f"{tmp_path}/deep: {apart}"),
        ("file/out", f"{tmp_path}/file: is not a directory, so nothing can be written into it."),
        (
            "loop",
            f"{tmp_path}/loop: already exists; give another directory, or --overwrite to replace it.",
        ),
        ("loop/out", f"{tmp_path}/loop: is not a directory, so nothing can be written into it."),
        (
            LONG,
            f"{tmp_path}/{LONG}: cannot be written (File name too long); nothing was published.",
        ),
    ):
        outcome = cli("split", source, tmp_path / name)
        assert (outcome.code, outcome.out, outcome.err) == (4, "", f"Error: {text}\n")


@pytest.mark.parametrize(
    ("missing", "extra", "other"),
    [("tensorflow", "tf", "torch"), ("torch", "pytorch", "tensorflow")],
)
@pytest.mark.thorough
def test_a_framework_that_is_missing(
    run: Cli, dates: Path, converted_tf: Path, tmp_path: Path, missing: str, extra: str, other: str
) -> None:
    """`verify` names what to install, does not wait for the other side, and ends with exit code 5."""
    for name, code in (
        (missing, f"raise ImportError('No module named {missing}')"),
        (other, WAITS),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    outcome = run(
        "verify", dates, converted_tf, env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"}
    )
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.err == (
        f"Error: {extra} cannot be imported here: No module named {missing}\n"
        f"Install it with: {install_command(extra)}\n"
        "`ckptconv doctor` shows what works here; `verify --level weights` needs no framework.\n"
    )


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("check nosuch", 3, "nosuch: no such directory. Give a directory that ckptconv wrote."),
        ("check file.toml", 3, "file.toml: is a file; give the directory that ckptconv wrote."),
        (
            "verify --trace org/nosuch dates",
            3,
            "org/nosuch: no such file. `ckptconv verify SOURCE --save-trace FILE` records a trace.",
        ),
        (
            "batch nosuch",
            2,
            f"nosuch: no such file. {NO_PLAN}",
        ),
        (
            "batch folder",
            2,
            f"folder: is a directory, not a file. {NO_PLAN}",
        ),
        ("batch file.toml", 3, "file.toml: is not TOML: it is not a text in UTF-8"),
        (
            "inspect gpt2",
            3,
            "gpt2: no such directory. A model on the hub has a name of two parts: openai-community/gpt2.",
        ),
    ],
)
def test_what_is_not_there_is_called_what_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: str, code: int, message: str
) -> None:
    """A file or a directory that a command cannot take is one sentence with what to give instead."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder").mkdir()
    outcome = cli(*args.split())
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"Error: {message}\n")


def test_an_interrupted_batch_says_what_is_there() -> None:
    """What was proven is published, and the same command goes on; before, it said that nothing was written."""
    task = Task("pt2tf", "a", "b", "weights")
    proven = Outcome(task, "match", 0, "")
    stopped = resumable(Interrupted(2), [proven, Outcome(task, "refused", 3, ""), proven])
    assert str(stopped) == (
        "interrupted, but every conversion that was proven (2) is published and whole"
    )
    assert str(resumable(Interrupted(2), [])) == "interrupted: no conversion was proven"
    assert stopped.__notes__ == ["the same command goes on where this one was stopped"]


@pytest.mark.parametrize(
    ("address", "code"), [("nosuch://bucket/model", 3), ("http://127.0.0.1:9/org/name", 5)]
)
def test_an_address_is_no_path(cli: Cli, address: str, code: int) -> None:
    """It stands whole in the message; before, one of its slashes was lost."""
    pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")
    outcome = cli("inspect", address)
    assert outcome.code == code
    assert address in outcome.err
