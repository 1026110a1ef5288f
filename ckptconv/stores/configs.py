"""The config that an output gets: the source's, with what the conversion changed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.fixes import RECORD, Healed


def whole_config(
    config: Config,
    pytorch_class: str,
    fixes: Sequence[Healed],
    dtype: str | None,
    settings: Mapping[str, Mapping[str, Json]] | None = None,
) -> dict[str, Json]:
    """Return the config of a converted whole, as the target class writes it; `settings` adds keys to a side.

    A side without a name is the config itself: a model of one piece.
    Source: `save_pretrained` of the TF and Flax classes: `architectures` without the TF or Flax prefix.
    """
    values: dict[str, Json] = {**config.values, "architectures": [pytorch_class]}
    values.pop(RECORD, None)
    for side, keys in (settings or {}).items():
        values |= {side: {**config.part(side).values, **keys}} if side else keys
    if dtype is not None:
        values = with_dtype(values, dtype)
    for healed in fixes:
        for key, value in healed.config.items():
            side, name = key.split(".")
            part = values[side]
            assert isinstance(part, dict)
            values[side] = {**part, name: value}
    record: dict[str, Json] = {}
    if fixes:
        record["healed"] = [fix.entry for fix in fixes]
    added = [f"{side}.{key}" for side, keys in (settings or {}).items() for key in keys]
    if added:
        record["added"] = [key.lstrip(".") for key in added]
    if record:
        values[RECORD] = record
    return values


def with_dtype(config: Mapping[str, Json], dtype: str) -> dict[str, Json]:
    """Return a config that names another dtype, under the key that it uses (4.x: torch_dtype, then dtype)."""
    return {
        key: with_dtype(value, dtype)
        if isinstance(value, dict) and key in ("encoder", "decoder")
        else dtype
        if key in ("dtype", "torch_dtype") and value is not None
        else value
        for key, value in config.items()
    }


def part_config(config: Config, side: str, pytorch_class: str) -> dict[str, Json]:
    """Return the config of one side alone, as `model.encoder.save_pretrained` writes it."""
    part = config.part(side)
    shared = ("dtype", "torch_dtype", "transformers_version")
    inherited = {key: config.values[key] for key in shared if key in config.values}
    return {**inherited, **part.values, "architectures": [pytorch_class]}
