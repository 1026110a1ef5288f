"""Do the configs of two checkpoints ask for the same computation, and for the same generation?

Equal weights compute another thing with another activation, epsilon or position offset, and answer another
thing from another start token. So the keys that matter are compared as each model will read them: with its family's
defaults, without what a conversion added, and generation as `generate` resolves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ckptconv.base.strict_json import Json, read_json
from ckptconv.compare.configs import ConfigDifference, config_differences, with_defaults
from ckptconv.compare.generation import normal, resolved
from ckptconv.schema.config import Config
from ckptconv.schema.model import without_fixes
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.companions import GENERATION


def differing_settings(source: Checkpoint, target: Checkpoint) -> tuple[ConfigDifference, ...]:
    """Return the keys that matter and have different values: the config's, then those of generation.

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
    first, second = without_fixes(source), without_fixes(target)
    differences = config_differences(first, second)
    named = {difference.key for difference in differences}
    generation = _generation_differences(
        _resolved(source_file, first), _resolved(target_file, second)
    )
    return (
        *differences,
        *(
            ConfigDifference(f"generation_config.{key}", *values)
            for key, values in generation
            if not named & {key, f"decoder.{key}"}
        ),
    )


def generation_file(checkpoint: Path) -> dict[str, Json] | None:
    """Return what `generation_config.json` holds; None where there is none."""
    path = checkpoint / GENERATION
    return read_json(path) if path.is_file() else None


def _resolved(file: Mapping[str, Json] | None, config: Config) -> dict[str, Json]:
    """Return the settings of generation of one checkpoint."""
    is_composite = isinstance(config.values.get("decoder"), dict)
    decoder = with_defaults(config.part("decoder")) if is_composite else None
    return resolved(file, with_defaults(config), decoder)


def _generation_differences(
    first: Mapping[str, Json], second: Mapping[str, Json]
) -> Iterator[tuple[str, tuple[Json, Json]]]:
    """Return key -> both values as they are stated, of what `generate` can tell apart."""
    forms = normal(first), normal(second)
    keys = {
        key for key in forms[0].keys() | forms[1].keys() if forms[0].get(key) != forms[1].get(key)
    }
    if "decoder_start_token_id" in keys:
        keys.add("bos_token_id")  # stands in for it
    for key in sorted(keys):
        values = first.get(key), second.get(key)
        if repr(values[0]) != repr(values[1]):
            yield key, values
