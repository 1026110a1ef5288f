"""Token ids of an encoder that reads text, and of every decoder: how they are drawn, limited, checked and completed.

Those that generation needs come from the configs, or are chosen and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport
from ckptconv.schema.config import Config
from ckptconv.schema.family import Whole
from ckptconv.schema.model import Model, Part, Role

Item = TypeVar("Item")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that say how images and sounds become arrays."""
EXAMPLES = 8
"""Examples that run together."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The token ids that generation needs, from the config or chosen here."""

    decoder_start: int
    eos: int
    pad: int
    chosen: tuple[str, ...]
    """What no config names, in words such as `eos_token_id = 28`."""


def special_tokens(model: Model, generation: Mapping[str, Json] | None = None) -> SpecialTokens:
    """Return the ids for generation: from the generation config, the whole's config, the decoder's.

    What none of them names is chosen, and recorded: decoding from token 0, to the last token of the
    vocabulary, padding with the end.
    """
    own, whole, decoder = generation or {}, model.config, model.decoder.config
    vocabulary = decoder.size("vocab_size")
    chosen: list[str] = []

    def find(key: str, *more: Json, otherwise: int) -> int:
        token = first_id(vocabulary, own.get(key), whole.get(key), decoder.get(key), *more)
        if token is None:
            chosen.append(f"{key} = {otherwise}")
        return otherwise if token is None else token

    bos = (own.get("bos_token_id"), whole.get("bos_token_id"), decoder.get("bos_token_id"))
    start = find("decoder_start_token_id", *bos, otherwise=0)
    eos = find("eos_token_id", otherwise=vocabulary - 1)
    pad = find("pad_token_id", otherwise=eos)
    return SpecialTokens(start, eos, pad, tuple(chosen))


def unnamed_tokens(generation: Mapping[str, Json]) -> tuple[str, ...]:
    """Return which tokens a generation config leaves open that `generate` needs in one framework or another.

    Without a start token all fail, without an end or padding Flax's. `bos_token_id` serves as the start token.
    """
    start = (generation.get(key) for key in ("decoder_start_token_id", "bos_token_id"))
    absent = [] if any(token is not None for token in start) else ["decoder_start_token_id"]
    absent += [key for key in ("eos_token_id", "pad_token_id") if generation.get(key) is None]
    return tuple(absent)


def first_id(vocabulary: int, *candidates: Json) -> int | None:
    """Return the first candidate that is a token of the vocabulary; of a list, its first entry."""
    for candidate in candidates:
        token = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < vocabulary:
            return token
    return None


def pad_id(config: Config) -> int:
    """Return a side's own padding token; any other id would be a position in RoBERTa."""
    return first_id(config.size("vocab_size"), config.get("pad_token_id")) or 0


def named_ids(config: Config, whole: Config) -> tuple[int, ...]:
    """Return every token that a side's config or the whole's names, and the table's two ends; not the padding."""
    vocabulary, pad = config.size("vocab_size"), pad_id(config)
    named = [
        value
        for source in (config, whole)
        for key, value in sorted({**source.defaults, **source.values}.items())
        if key.endswith("_token_id")
    ]
    ids = [first_id(vocabulary, value) for value in (*named, 0, vocabulary - 1)]
    return tuple(dict.fromkeys(token for token in ids if token is not None and token != pad))


ROWS = 3
DECODER_TOKENS = 41
"""Tokens a row of every probe but the long one."""
LONG_TOKENS = 512
"""How far the long probe goes, where the positions go as far."""
LONG_LOGITS = 1 << 24
"""How many logits the long probe may give: it is shorter for a decoder with a large vocabulary."""
NEW_TOKENS = 16
"""How many tokens are generated for the comparison, where the positions allow as many."""
IGNORED = -100
"""A label that no loss counts."""

FULL, RIGHT, LEFT, TYPES, LONG = "full", "right", "left", "types", "long"
"""No padding; padding on the right; on the left; token types other than 0; one row up to the limit."""
PREFIXES: Mapping[Role, str] = {"encoder": "", "decoder": "decoder_"}
"""What the names of an encoder's and a decoder's token inputs begin with."""
DECODER_INPUTS = (
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_token_type_ids",
    "labels",
)


def position_limit(side: Part, role: Role) -> int | None:
    """Return how many tokens a side can hold at most; None where positions have no table."""
    tables, key = side.tables, "max_position_embeddings"
    key = tables.places.get(role, key) if isinstance(tables, Whole) else key
    limit, pad = side.config.get(key), side.config.get("pad_token_id")
    if not isinstance(limit, int) or limit <= 0:
        return None
    limit -= side.family.spare_positions
    if side.family.positions == "padding" and isinstance(pad, int) and 0 <= pad < limit - 1:
        return limit - pad - 1
    return limit


def pads_left(model: Model, role: Role, supports: Iterable[InputSupport]) -> bool:
    """Tell whether padding on the left means the same to all runners."""
    by_order = numbered_alike(model.side(role), role)
    return all(
        (by_order or not support.counted_positions) and (role == "encoder" or support.decoder_mask)
        for support in supports
    )


def numbered_alike(side: Part, role: Role) -> bool:
    """Tell whether PyTorch's class and Flax's number the positions of a side alike, with padding on its left too."""
    tables = side.tables
    by_mask = role == "decoder" and isinstance(tables, Whole) and tables.flax_positions == "mask"
    return side.family.positions == "order" and not by_mask


def token_types(side: Part, supports: Iterable[InputSupport]) -> tuple[int, ...]:
    """Return how many types each column of a side's token types has; () where there is a single one, or none fit in."""
    sizes = side.config.get("type_vocab_sizes")
    if not isinstance(sizes, list):
        sizes = [side.config.get("type_vocab_size") or side.family.token_types]
    counts = tuple(size for size in sizes if isinstance(size, int))
    several = any(count > 1 for count in counts)
    return counts if several and all(support.token_types for support in supports) else ()


def row_length(model: Model, role: Role, length: int, supports: Iterable[InputSupport] = ()) -> int:
    """Return a length, or what the positions and the runners allow at most; at least 1."""
    places = (
        support.encoder_places if role == "encoder" else support.decoder_places
        for support in supports
    )
    limits = [limit for limit in (position_limit(model.side(role), role), *places) if limit]
    return max(1, min([length, *limits]))


def long_row_length(model: Model, supports: Iterable[InputSupport]) -> int:
    """Return how long the decoder's row of the long probe is, at least that of the others."""
    words = model.decoder.config.size("vocab_size")
    length = max(DECODER_TOKENS, min(LONG_TOKENS, LONG_LOGITS // max(1, words)))
    return row_length(model, "decoder", length, supports)


def new_tokens(model: Model, supports: Iterable[InputSupport] = ()) -> int:
    """Return how many tokens to generate after the start token."""
    return max(1, row_length(model, "decoder", NEW_TOKENS + 1, supports) - 1)


def padding_mask(probe: str, length: int, left: bool) -> Array:
    """Return 1 where a token is valid, shape (3, length); padded rows keep all, six and three tenths of them."""
    tenths = (10, 10, 10) if probe == FULL else (10, 6, 3)
    lengths = np.array([max(1, length * part // 10) for part in tenths])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return mask[:, ::-1].copy() if probe == LEFT and left else mask


def draw_ids(
    rng: np.random.Generator, model: Model, role: Role, probe: str, mask: Array
) -> dict[str, Array]:
    """Draw one probe's tokens for a side, under a mask; return them and the mask under the names of the inputs.

    A padded place holds the side's padding token; a valid one does where the start token is it, and once in `left`.
    """
    side = model.side(role)
    pad, prefix = pad_id(side.config), PREFIXES[role]
    ids = _draw(rng, model, side, mask.shape)
    if probe == LEFT and not mask[-1, 0]:
        ids[0, mask.shape[1] // 2] = pad
    if role == "decoder":
        start = special_tokens(model).decoder_start
        ids[:, 0] = start
        ids[np.arange(len(mask)), mask.argmax(axis=1)] = start
    return {
        f"{prefix}input_ids": np.where(mask == 1, ids, pad),
        f"{prefix}attention_mask": mask,
    }


def _draw(rng: np.random.Generator, model: Model, side: Part, shape: tuple[int, ...]) -> Array:
    """Draw tokens from a side's vocabulary, without its padding token; the first row opens with every special one."""
    vocabulary, pad = side.config.size("vocab_size"), pad_id(side.config)
    if vocabulary < 2:
        return np.zeros(shape, np.int64)
    drawn = rng.integers(0, vocabulary - 1, shape, np.int64)
    ids = drawn + (drawn >= pad)
    named = named_ids(side.config, model.config)[: max(0, shape[1] - 1)]
    ids[0, 1 : 1 + len(named)] = named
    return ids


def draw_types(rng: np.random.Generator, counts: tuple[int, ...], length: int) -> Array:
    """Draw token types: shape (3, length), or (3, length, columns) where a family has several."""
    columns = [rng.integers(0, count, (ROWS, length), np.int64) for count in counts]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=-1)


def next_tokens(ids: Array, mask: Array) -> Array:
    """Return labels: each place's next token, and none at the end of a row or at padding; shape as `ids`."""
    labels = np.full(ids.shape, IGNORED, np.int64)
    both = (mask[:, :-1] == 1) & (mask[:, 1:] == 1)
    labels[:, :-1][both] = ids[:, 1:][both]
    return labels


def left_out(
    model: Model, role: Role, supports: Sequence[InputSupport], longest: int
) -> Iterator[str]:
    """Say which tokens of a side are not tried, and why. `longest`: the longest row of a probe."""
    side = model.side(role)
    by_order = side.family.positions == "order"
    for support in supports:
        if support.counted_positions and by_order and not numbered_alike(side, role):
            yield (
                f"no padding on the left of the {role}: {support.who} numbers its positions by the mask,"
                " PyTorch's by their order"
            )
        elif support.counted_positions and not by_order:
            yield (
                f"no padding on the left of the {role}, and no padding token among its tokens: {support.who}"
                " numbers positions 0, 1, 2 ... there, PyTorch's does not"
            )
        elif role == "decoder" and not support.decoder_mask:
            yield f"no padding on the left of the {role}: {support.who} takes no mask for it"
        if token_types(side, ()) and not support.token_types:
            yield f"token types other than 0 are not tried in the {role}: {support.who} takes none"
    limit = position_limit(side, role)
    if limit is not None and longest < limit:
        yield f"the {role} has {limit} positions; the longest probe has {longest}"


def token_facts(model: Model, special: SpecialTokens) -> dict[str, Json]:
    """Return what is needed to feed a decoder.

    start and pad, its tokens; decoder, how many it may get, or None; loss, whether there is one to compare.
    """
    return {
        "start": special.decoder_start,
        "pad": pad_id(model.decoder.config),
        "decoder": position_limit(model.decoder, "decoder"),
        "loss": model.has_common_loss,
    }


def own_tokenizer(checkpoint: Path) -> Any:
    """Return a checkpoint's own tokenizer; in the child. Raises SourceError: there is none, or a damaged one."""
    return own_part(checkpoint, "AutoTokenizer", "tokenizer")


def own_part(checkpoint: Path, loader: str, what: str, **options: Any) -> Any:
    """Return what transformers makes of the files beside a checkpoint's weights; in the child.

    Args: loader: the class of transformers. what: it loads, in a word.
    Raises: SourceError: there are no such files, or they are damaged.
    """
    cls = getattr(import_module("transformers"), loader)
    advice = "Without it, give --inputs arrays instead: .npz or .safetensors."
    if loader != "AutoTokenizer" and not any(is_file(checkpoint / name) for name in PROCESSORS):
        raise SourceError(f"{checkpoint}: has no {what}, which is {PROCESSORS[0]}\n{advice}")
    try:
        return cls.from_pretrained(str(checkpoint), local_files_only=True, **options)
    except Exception as error:  # each class has its own
        first = (str(error).strip().splitlines() or [""])[0]
        raise SourceError(
            f"{checkpoint}: transformers cannot load its {what} ({type(error).__name__}: {first[:100]})\n{advice}"
        ) from error


def example_groups(
    examples: Sequence[Item], rows: int = EXAMPLES
) -> Iterator[tuple[str, Sequence[Item]]]:
    """Yield the probes `inputs-0`, `inputs-1` ... with the examples of each, at most `rows`."""
    for first in range(0, len(examples), rows):
        yield f"inputs-{first // rows}", examples[first : first + rows]


def fed_decoder(
    tokenizer: Any, targets: Sequence[str | None], facts: Mapping[str, Any]
) -> dict[str, Array]:
    """Return what the decoder gets: its start token, then the target's; and the labels, -100 where there are none."""
    start, pad = facts["start"], facts["pad"]
    rows = [[] if target is None else list(tokenizer(target)["input_ids"]) for target in targets]
    rows = [[start, *(row[1:] if row[:1] == [start] else row)][: facts["decoder"]] for row in rows]
    length = max(map(len, rows))
    ids = np.array([row + [pad] * (length - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int64)
    labels = np.array([[*row[1:], *[IGNORED] * (length - len(row) + 1)] for row in rows], np.int64)
    batch = {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    has_loss = facts.get("loss", True) and (labels >= 0).any()
    return batch | ({"labels": labels} if has_loss else {})


def integer_problems(
    name: str,
    array: Array,
    names: Sequence[str],
    main: tuple[str, Array],
    counting: str = "a token",
) -> Iterator[str]:
    """Say why an input from elsewhere that holds integers cannot be fed beside a model's main one.

    Args: names: of all inputs that there are. main: name and array of the main one. counting: what a 1 in a mask means.
    """
    first, whole = main
    if name not in names:
        yield f"{name!a} is none of {', '.join(names)}"
    elif array.dtype.kind not in "iu" or array.ndim < 2 or array.size == 0:
        yield f"{name}: expected integers of shape (rows, length), found {array.dtype} {list(array.shape)}"
    elif array.shape[0] != whole.shape[0]:
        yield f"{name}: {array.shape[0]} rows, {first} has {whole.shape[0]}"
    elif name.endswith("mask") and not np.isin(array, (0, 1)).all():
        yield f"{name}: expected 1 for {counting} and 0 for padding"


def ids_problems(arrays: Batch, model: Model, role: Role) -> Iterator[str]:
    """Say why a side's token ids from elsewhere cannot be fed to a model."""
    prefix, side = PREFIXES[role], model.side(role)
    ids = arrays.get(f"{prefix}input_ids")
    if ids is None or ids.ndim != 2:
        return
    words, limit = side.config.size("vocab_size"), position_limit(side, role)
    if ids.min() < 0 or ids.max() >= words:
        yield f"{prefix}input_ids: from {ids.min()} to {ids.max()}, but the vocabulary has {words} tokens"
    if limit is not None and ids.shape[1] > limit:
        yield f"{prefix}input_ids: {ids.shape[1]} tokens a row, but there are {limit} positions"
    for name in (f"{prefix}attention_mask", *(["labels"] if role == "decoder" else [])):
        if name in arrays and arrays[name].shape != ids.shape:
            yield f"{name}: shape {list(arrays[name].shape)}, {prefix}input_ids has {list(ids.shape)}"


def completed_decoder(arrays: Batch, model: Model, rows: int) -> dict[str, Array]:
    """Return the decoder's inputs of a user's arrays with all that they leave out: start tokens, mask, labels."""
    start = np.full((rows, 1), special_tokens(model).decoder_start, np.int64)
    ids = arrays.get("decoder_input_ids", start)
    mask = arrays.get("decoder_attention_mask", np.ones_like(ids))
    labels = arrays.get("labels", next_tokens(ids, mask))
    batch = {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    batch |= {name: array for name, array in arrays.items() if name == "decoder_token_type_ids"}
    return batch | ({"labels": labels} if (labels >= 0).any() else {})
