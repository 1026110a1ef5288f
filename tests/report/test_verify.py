"""`verify`'s report: the parts in their order, and the verdict on the last line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import ckptconv

if TYPE_CHECKING:
    from conftest import Cli, Pair


def test_a_key_of_the_config_is_a_mismatch(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """With every bit right, the key is told with both values; exit code 1."""
    source, target = pair.write(tmp_path / "source"), tmp_path / "flax"
    ckptconv.pt2flax(source, target)
    config = json.loads((target / "config.json").read_text())
    config["decoder"]["hidden_act"] = "relu"
    (target / "config.json").write_text(json.dumps(config))
    outcome = cli("verify", source, target, "--level", "weights")
    assert (outcome.code, outcome.out) == (
        1,
        "cause: 1 config key differs; the weights are identical\n"
        '  decoder.hidden_act: "gelu" in the source, "relu" in the target\n\n'
        f"weights  {len(pair.arrays)} tensors, 12.7 kB: identical to the source, bit for bit\n\n"
        "MISMATCH: bert -> bert, flax msgpack against PyTorch, weights\n",
    )
    document = json.loads(cli("verify", source, target, "--level", "weights", "--json").out)
    key = {"key": "decoder.hidden_act", "source": "gelu", "target": "relu"}
    assert (document["verdict"], document["weights"]["match"], document["config"]) == (
        "mismatch",
        True,
        [key],
    )
    assert document["where"]["config"] == [key]
