"""What lies in a directory where no weights were recognised, and how to make weights of it.

Names alone are looked at, so that it serves a directory and a listing of the hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ckptconv.base.errors import one_line
from ckptconv.base.weight_names import FILE_NAMES
from ckptconv.stores.parsers.shard_index import shard_pattern

MOST = 3
"""Things named in one message."""
STEMS = tuple(FILE_NAMES[form] for form in ("safetensors", "torch", "hdf5", "msgpack"))
"""What weights are called in one file; shards and variants are spelt from these."""
SHARD = re.compile(r"-\d+-of-\d+")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """What a file name tells of a directory."""

    pattern: re.Pattern[str]
    says: Callable[[re.Match[str]], str]
    """What it is, and what to do, in one line; of the first name that fits."""


def _trace(pattern: str, says: str) -> NamePattern:
    return NamePattern(re.compile(pattern), lambda match: says.format(name=one_line(match[0])))


TRACES = (
    _trace(
        r"(.*/)?[^/]*\.(incomplete|part|partial|crdownload|aria2)",
        "{name} is a download that did not finish: fetch it again.",
    ),
    _trace(
        r"adapter_config\.json|adapter_model\..*",
        "{name} belongs to an adapter (PEFT), which is not a model: merge it into its base model"
        " (merge_and_unload) and save that.",
    ),
    _trace(
        r"(.*/)?(zero_to_fp32\.py|mp_rank_\d+_model_states\.pt|zero_pp_rank_.*\.pt)",
        "{name} belongs to a DeepSpeed checkpoint:"
        " `python zero_to_fp32.py . OUT` makes weights of it; OUT is a folder for newer versions of"
        " DeepSpeed, a file such as pytorch_model.bin for older ones.",
    ),
    _trace(
        r"(.*/)?[^/]*\.distcp",
        "{name} belongs to a distributed checkpoint of PyTorch (FSDP, DCP): `python -m"
        " torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER pytorch_model.bin` makes one file of it.",
    ),
    _trace(
        r"(.*/)?[^/]*\.ckpt",
        "{name} is a checkpoint of a training framework such as Lightning:"
        " rename it to pytorch_model.bin, and its state_dict is read.",
    ),
    _trace(
        r"(.*/)?(saved_model\.pb|variables/variables\.index)",
        "{name} belongs to a TF SavedModel: load the model with its class and call save_pretrained.",
    ),
    _trace(
        r"(.*/)?[^/]*\.ckpt(-\d+)?\.(index|data-\d+-of-\d+|meta)|[^/]*\.data-\d+-of-\d+",
        "{name} belongs to a TF checkpoint: load it with its class and call save_pretrained.",
    ),
    _trace(
        r"(.*/)?[^/]*(\.weights\.h5|\.keras)",
        "{name} is Keras's own format: load it with its class and call save_pretrained.",
    ),
    _trace(
        r"(checkpoint_\d+(/.*)?|(.*/)?(_METADATA|_CHECKPOINT_METADATA|manifest\.ocdbt|\.zarray))",
        "{name} belongs to a checkpoint of Flax or Orbax:"
        " restore it and save the parameters with save_pretrained.",
    ),
    _trace(
        r"[^/]*\.(gguf|ggml|onnx|tflite|ot|mlmodel|engine)",
        "{name} is a format that ckptconv does not read: fetch the original weights.",
    ),
    _trace(
        r"consolidated\.\d+\.pth",
        "{name} has the names of the original release: fetch the weights for transformers.",
    ),
    _trace(
        r"pytorch_model_fsdp(_\d+)?\.bin|[^/]*\.(pt|pth)",
        "{name} may be PyTorch's weights under another name: rename it to pytorch_model.bin.",
    ),
    _trace(
        r"[^/]*\.safetensors", "{name}: rename it to model.safetensors if it holds the weights."
    ),
    _trace(r"[^/]*\.bin", "{name}: rename it to pytorch_model.bin if it holds the weights."),
    _trace(r"[^/]*\.(h5|hdf5)", "{name}: rename it to tf_model.h5 if it holds the weights."),
    _trace(r"[^/]*\.msgpack", "{name}: rename it to flax_model.msgpack if it holds the weights."),
    _trace(
        r"[^/]*\.(npz|npy|pkl|pickle|joblib)",
        "{name} is no format of weights: load it with what made it and call save_pretrained.",
    ),
)
"""What is most telling comes first."""
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt", "scheduler.pt")
"""Files of a trainer that end like weights."""


def foreign_weights(names: Collection[str]) -> list[str]:
    """Return what the files of a directory are, and how to make weights of them: a line for each thing.

    Args: names: relative to the directory, with slashes; of folders below it as well.
    """
    lines = [*_shards(names), *_variants(names)]
    if not lines:
        lines = list(dict.fromkeys(_traces(names)))
    return lines[:MOST]


def _shards(names: Collection[str]) -> Iterator[str]:
    for stem in STEMS:
        pattern = shard_pattern(stem)
        shards = sorted(name for name in names if pattern.fullmatch(name))
        if shards:
            yield (
                f"{len(shards)} shards ({one_line(shards[0])} ...) without their index,"
                f" {stem}.index.json: fetch it, or save the checkpoint again."
            )


def _variants(names: Collection[str]) -> Iterator[str]:
    for stem in STEMS:
        base, _, suffix = stem.rpartition(".")
        pattern = re.compile(rf"{base}\.([\w-]+?)({SHARD.pattern})?\.{suffix}")
        for name in sorted(names):
            match = pattern.fullmatch(name)
            if match:
                index = (
                    f" (and its shards and index: {stem}.index.{match[1]}.json)" if match[2] else ""
                )
                yield f"{one_line(name)} is the variant {match[1]!r}: rename it to {stem}{index}."
                break


def _traces(names: Collection[str]) -> Iterator[str]:
    """Return a line for each thing that is told by a name; a name tells one thing."""
    left = sorted(name for name in names if name.rpartition("/")[2] not in NO_WEIGHTS + STEMS)
    for trace in TRACES:
        matches = [match for name in left if (match := trace.pattern.fullmatch(name))]
        if matches:
            yield trace.says(matches[0])
            explained = {match[0] for match in matches}
            left = [name for name in left if name not in explained]
