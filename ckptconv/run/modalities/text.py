"""Token ids: sentences, or the ids themselves.

Tiny random models hide faults from tiny inputs: a decoder of one token has nothing to attend to but
itself, so a swapped query and key change nothing at all. Hence many tokens on both sides, several
rows of different lengths, padded on either side, every special token, token types, and one row as
long as the positions reach. All but the long probe have one shape: Flax compiles for each new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.modalities import Example, Probes
from ckptconv.run.runners import Array, Batch, InputSupport
from ckptconv.run.token_ids import (
    DECODER_INPUTS,
    DECODER_TOKENS,
    FULL,
    LEFT,
    LONG,
    LONG_TOKENS,
    PREFIXES,
    RIGHT,
    ROWS,
    TYPES,
    SpecialTokens,
    completed_decoder,
    draw_ids,
    draw_types,
    example_groups,
    fed_decoder,
    ids_problems,
    integer_problems,
    left_out,
    long_row_length,
    next_tokens,
    own_tokenizer,
    padding_mask,
    pads_left,
    position_limit,
    row_length,
    token_facts,
    token_types,
)
from ckptconv.schema.model import ROLES, Model, Role

ENCODER_TOKENS = 41


class Text:
    """Token ids, masks, and token types where a family has them."""

    name = "text"
    reads = "tokens"
    inputs: Mapping[str, str] = {
        "input_ids": "int64",
        "attention_mask": "int64",
        "token_type_ids": "int64",
    }
    item = "text"
    generation_probe = RIGHT
    package = extra = ""

    def make_probes(self, model: Model, seed: int, supports: Sequence[InputSupport]) -> Probes:
        """Return `PROBE.INPUT` -> int64 of shape (3, length), (1, length) for the long probe.

        Inputs are input_ids, attention_mask, token_type_ids of `types` (with one more axis where a family
        has several), the same three of the decoder, and labels.
        """
        rng = np.random.default_rng(seed)
        short = {
            "encoder": row_length(model, "encoder", ENCODER_TOKENS, supports),
            "decoder": row_length(model, "decoder", DECODER_TOKENS, supports),
        }
        probes: Probes = {}
        for name in (FULL, RIGHT, LEFT):
            masks = {
                role: padding_mask(name, short[role], pads_left(model, role, supports))
                for role in ROLES
            }
            _draw(probes, name, model, rng, masks)
        types = {role: token_types(model.side(role), supports) for role in ROLES}
        if any(types.values()):
            masks = {role: np.ones((ROWS, short[role]), np.int64) for role in ROLES}
            _draw(probes, TYPES, model, rng, masks)
            for role, counts in types.items():
                if counts:
                    drawn = draw_types(rng, counts, short[role])
                    probes[f"{TYPES}.{PREFIXES[role]}token_type_ids"] = drawn
        long = _long(model, supports)
        if long != short:
            masks = {role: np.ones((1, long[role]), np.int64) for role in ROLES}
            _draw(probes, LONG, model, rng, masks)
        return probes

    def left_out(self, model: Model, supports: Sequence[InputSupport]) -> Iterator[str]:
        """Say which tokens are not tried, and why."""
        for role, longest in _long(model, supports).items():
            yield from left_out(model, role, supports, longest)

    def facts(self, model: Model, special: SpecialTokens) -> dict[str, Json]:
        """Return how sentences become tokens; encoder: how many it may get, or None."""
        return {**token_facts(model, special), "encoder": position_limit(model.encoder, "encoder")}

    def problems(self, arrays: Batch, model: Model) -> Iterator[str]:
        """Say why tokens from elsewhere cannot be fed to a model."""
        if "input_ids" not in arrays:
            yield f"no input_ids; there is {', '.join(sorted(map(ascii, arrays))) or 'nothing'}"
            return
        names = (*self.inputs, *DECODER_INPUTS)
        for name, array in arrays.items():
            yield from integer_problems(name, array, names, ("input_ids", arrays["input_ids"]))
        for role in ROLES:
            yield from ids_problems(arrays, model, role)

    def completed(self, arrays: Batch, model: Model) -> dict[str, Array]:
        """Return a user's tokens as int64; without masks every token is valid."""
        ids = {name: array.astype(np.int64) for name, array in arrays.items()}
        encoder = {name: array for name, array in ids.items() if name in self.inputs}
        encoder.setdefault("attention_mask", np.ones_like(ids["input_ids"]))
        return encoder | completed_decoder(ids, model, len(ids["input_ids"]))

    def required(self, model: Model) -> tuple[str, ...]:
        """Return tokens and mask."""
        return ("input_ids", "attention_mask")

    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Json], places: int | None = None
    ) -> Array:
        """Return the mask of the tokens."""
        return batch["attention_mask"]

    def generation_inputs(self, batch: Batch) -> dict[str, Array]:
        """Return tokens and mask."""
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def encoded(
        self, checkpoint: Path, examples: Sequence[Example], facts: Mapping[str, Json]
    ) -> dict[str, dict[str, Array]]:
        """Return the probes `inputs-0`, `inputs-1` ... of eight sentences each, padded on the right."""
        return tokenized(own_tokenizer(checkpoint), examples, facts)

    def answered(
        self, checkpoint: Path, sources: Sequence[str], facts: Mapping[str, Json]
    ) -> tuple[dict[str, Array], Any]:
        """Return sentences as tokens and mask, and the tokenizer."""
        tokenizer = own_tokenizer(checkpoint)
        encoded = tokenizer(list(sources), return_tensors="np", padding=True)
        return self.generation_inputs(encoded), tokenizer


def _draw(
    probes: Probes,
    name: str,
    model: Model,
    rng: np.random.Generator,
    masks: Mapping[Role, Array],
) -> None:
    """Draw one probe's tokens, under masks for the encoder and the decoder."""
    batch: dict[str, Array] = {}
    for role, mask in masks.items():
        batch |= draw_ids(rng, model, role, name, mask)
    if model.has_common_loss:
        batch["labels"] = next_tokens(batch["decoder_input_ids"], masks["decoder"])
    probes |= {f"{name}.{key}": array for key, array in batch.items()}


def _long(model: Model, supports: Sequence[InputSupport]) -> dict[Role, int]:
    """Return the lengths of the long probe, at least those of the others."""
    return {
        "encoder": row_length(model, "encoder", LONG_TOKENS, supports),
        "decoder": long_row_length(model, supports),
    }


def tokenized(
    tokenizer: Any, examples: Sequence[Example], facts: Mapping[str, Any]
) -> dict[str, dict[str, Array]]:
    """Return what `Text.encoded` does, by a tokenizer."""
    tokenizer.padding_side = "right"
    probes = {}
    for probe, some in example_groups(examples):
        encoded = tokenizer(
            [example.source for example in some],
            return_tensors="np",
            padding=True,
            truncation=facts["encoder"] is not None,
            max_length=facts["encoder"],
        )
        batch = {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        targets = [example.target for example in some]
        probes[probe] = batch | fed_decoder(tokenizer, targets, facts)
    return probes


MODALITY = Text()
