"""Keys of a checkpoint's JSON files by which transformers reads another file, fetches from the hub, or runs code.

They are dropped from what is written, and said; two by which a model's own config or weights would be another file
are refused. SECURITY.md says how the list was found; `tests/stores/test_leading_keys.py` holds it against the real
classes, with every key that their loading code looks up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config

CODE_KEYS = (
    "auto_map",
    "custom_pipelines",
    "trust_remote_code",
    "custom_generate",
    "_attn_implementation_internal",
    "_experts_implementation_internal",
)
"""Make a loader run code: from a `.py` beside the model, or from anywhere."""
KERNEL_KEYS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
)
"""Name a kernel; a name that transformers does not know itself is fetched from the hub and run."""
KERNELS = (
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "flex_attention",
    "paged_attention",
    "eager_paged",
    "sdpa_paged",
    "batched_mm",
    "grouped_mm",
)
"""Names that transformers 4.57.6 and 5.24 know; each also with `paged|` before it."""
FILE_KEYS = (
    "configuration_files",
    "transformers_weights",
    "kernel_config",
    "use_pretrained_backbone",
)
"""Make a loader of configs or models read another file, or another model."""
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
)
PATH_KEY = re.compile(r"(\w+_)?(file|spm|path|vocab)")
"""In a tokenizer's or a processor's file: arguments of its class that are paths, where they are text."""
ARGUMENT_KEYS = ("init_inputs", "audio_tokenizer")
"""There as well: arguments of any kind, the first of which is a path; another model."""
IDLE_PATH_KEYS = ("special_tokens_map_file", "added_tokens_file", "tokenizer_config_file")
"""Of these, what no class reads: old versions left the paths of the machine that saved."""
SHOWN = 5
"""Keys in one notice."""

Kind = Literal["code", "kernel", "file"]
WHY: Mapping[Kind, str] = {
    "code": "keys that make a loader run code",
    "kernel": "no attention kernel that transformers has itself: a loader would fetch and run it",
    "file": "keys that make a loader read another file",
}


@dataclass(frozen=True, slots=True)
class Lead:
    """One key that leads elsewhere."""

    place: str
    """Where it stands, such as `encoder.auto_map` or `tasks[0].auto_map`."""
    kind: Kind


def leads(file: str, value: Json, above: str = "") -> Iterator[Lead]:
    """Return the keys that lead elsewhere, at any depth, in the JSON of a file of that name."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from leads(file, item, f"{above}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            place = f"{above}.{key}" if above else key
            kind = _kind(file.rpartition("/")[2], key, item)
            if kind:
                yield Lead(place, kind)
            else:
                yield from leads(file, item, place)


def without_leads(file: str, value: Mapping[str, Json]) -> dict[str, Json]:
    """Return the JSON of a file of that name without the keys that lead elsewhere."""
    return {key: _clean(file, item) for key, item in value.items() if not _kind(file, key, item)}


def _clean(file: str, value: Json) -> Json:
    if isinstance(value, dict):
        return without_leads(file, value)
    return [_clean(file, item) for item in value] if isinstance(value, list) else value


def _kind(file: str, key: str, value: Json) -> Kind | None:
    """Return how a key leads elsewhere; None: it does not, with this value."""
    if key in CODE_KEYS:
        return "code"
    if key in KERNEL_KEYS and not _is_known_kernel(value):
        return "kernel"
    if value in (None, "", [], {}, False):
        return None
    if key in FILE_KEYS:
        return "file"
    if file in TOKENIZER_FILES + PROCESSOR_FILES and key not in IDLE_PATH_KEYS:
        is_path = isinstance(value, str) and PATH_KEY.fullmatch(key)
        return "file" if is_path or key in ARGUMENT_KEYS else None
    return None


def _is_known_kernel(value: Json) -> bool:
    """Tell whether a value names nothing, or only what transformers has itself; a dict names one for each part."""
    if isinstance(value, dict):
        return all(_is_known_kernel(item) for item in value.values())
    return value is None or (isinstance(value, str) and value.removeprefix("paged|") in KERNELS)


def notices(file: str, value: Mapping[str, Json]) -> Iterator[str]:
    """Say which keys of a file do not travel: a sentence for each kind."""
    leading = list(leads(file, dict(value)))
    for kind, why in WHY.items():
        places = [lead.place for lead in leading if lead.kind == kind]
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        if places:
            yield f"left behind: {file}: {', '.join(places[:SHOWN])}{more} ({why})"


def require_no_adapter(folder: Path) -> None:
    """Refuse weights beside which an adapter lies. Raises SourceError: where PEFT is installed, it counts.

    Source: transformers 4.57.6, modeling_utils.py: `from_pretrained` then loads `base_model_name_or_path` of
    adapter_config.json in place of the directory's own weights, and the adapter on top.
    """
    if os.path.lexists(folder / "adapter_config.json"):
        raise SourceError(
            f"{folder}: adapter_config.json lies beside the weights: where PEFT is installed, transformers loads the"
            " model that it names, with the adapter on top, and not these weights.\n"
            "Merge the adapter (merge_and_unload) and save the model, or remove adapter_config.json."
        )


def require_own_files(config: Config) -> None:
    """Refuse a config by which the real classes would read another config, or other weights, than ckptconv does.

    Raises: SourceError: with the key and what to do.
    """
    files = config.values.get("configuration_files")
    if files and files != ["config.json"]:
        raise SourceError(
            f"{config.where}: 'configuration_files': transformers reads another file in place of this one,"
            " by its own version.\nPut the one that you mean in place of config.json, and remove the key."
        )
    weights = config.values.get("transformers_weights")
    if weights is not None:
        raise SourceError(
            f"{config.where}: 'transformers_weights': PyTorch's classes load {weights!a:.200},"
            " not the file that others take for the weights.\n"
            "Rename that file to model.safetensors, alone in its directory, and remove the key."
        )
