"""Do the configs of two checkpoints ask for the same computation, and for the same generation?

Equal weights compute another thing with another activation, epsilon or position offset, and answer another
thing from another start token. So the keys that matter are compared as each model will read them: with its family's
defaults, without what a conversion added, and generation as `generate` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ckptconv.base.strict_json import Json, read_json
from ckptconv.compare.configs import GENERATION, ConfigDifference, config_differences
from ckptconv.schema.config import Config
from ckptconv.schema.model import without_fixes
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.companions import GENERATION as FILE


def differing_settings(source: Checkpoint, target: Checkpoint) -> tuple[ConfigDifference, ...]:
    """Return the keys that matter and have different values: the config's, then those of `generation_config.json`.

    The latter begin with `generation_config.`, and are left out where the config differs in the same key.
    Raises: SourceError: a config is malformed.
    """
    return settings_apart(
        source.config, generation_file(source.path), target.config, generation_file(target.path)
    )


def settings_apart(
    source: Config,
    source_file: Mapping[str, Json] | None,
    target: Config,
    target_file: Mapping[str, Json] | None,
) -> tuple[ConfigDifference, ...]:
    """Return the same of configs, and of what `generation_config.json` holds; None where there is no such file."""
    one, other = without_fixes(source), without_fixes(target)
    found = config_differences(one, other)
    named = {difference.key for difference in found}
    generating = config_differences(_generation(source_file, one), _generation(target_file, other))
    alike = (source_file is None) == (target_file is None)
    more = (
        replace(difference, key=f"generation_config.{difference.key}")
        for difference in generating
        if not named & {difference.key, f"decoder.{difference.key}"}
        # where only one side has the file, it may name tokens that the other leaves open
        and (alike or None not in (difference.first, difference.second))
    )
    return (*found, *more)


def generation_file(checkpoint: Path) -> dict[str, Json] | None:
    """Return what `generation_config.json` holds; None where there is none."""
    path = checkpoint / FILE
    return read_json(path) if path.is_file() else None


def _generation(file: Mapping[str, Json] | None, config: Config) -> Config:
    """Return what `generate` goes by: the file, or where there is none the config's own keys, then the decoder's."""
    values = file
    if values is None:
        values = {**_generating(config.part("decoder").values), **_generating(config.values)}
    if values.get("decoder_start_token_id") is not None:  # nothing reads the other then
        values = {key: value for key, value in values.items() if key != "bos_token_id"}
    return Config(values, FILE)


def _generating(values: Mapping[str, Json]) -> dict[str, Json]:
    """Return the keys of a model's config that generation would take over."""
    return {
        key: value
        for key, value in values.items()
        if value is not None
        and value != GENERATION.get(key)
        and (key in GENERATION or key.endswith("_token_id"))
    }
