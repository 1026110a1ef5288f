"""What modalities of floats share: an array of pixels, samples or features for the encoder, and tokens for the decoder.

Random arrays show a wrong weight as well as real ones do; the decoder's tokens are drawn as those of text are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.modalities import Example, Probes
from ckptconv.run.runners import Array, Batch, InputSupport
from ckptconv.run.token_ids import (
    DECODER_INPUTS,
    DECODER_TOKENS,
    EXAMPLES,
    FULL,
    LEFT,
    LONG,
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
    own_part,
    own_tokenizer,
    padding_mask,
    pads_left,
    row_length,
    token_facts,
    token_types,
)
from ckptconv.schema.model import Model

MANY_PLACES = 600
"""An encoder with more places a row answers one row a probe: its states would fill the memory else."""
MASK = "attention_mask"


class Media(ABC):
    """An encoder that reads floats."""

    name: str
    reads: str
    inputs: Mapping[str, str]
    item: str
    generation_probe = FULL
    """No padding, so that it needs no mask: Flax's class of speech crashes with one."""
    package = extra = ""

    @property
    def main(self) -> str:
        """The name of the array."""
        return next(iter(self.inputs))

    @abstractmethod
    def draw(self, model: Model, rng: np.random.Generator, probe: str) -> dict[str, Array]:
        """Return the encoder's inputs of one probe, three rows; the later rows of `right` are shorter."""

    @abstractmethod
    def place_count(self, model: Model) -> int:
        """Return how many places a row of the encoder has in a probe."""

    @abstractmethod
    def array_problem(self, array: Array, model: Model) -> str:
        """Say why the array's shape cannot be fed to a model; empty where it can."""

    def has_mask(self, model: Model) -> bool:
        """Tell whether a model takes a mask for its encoder."""
        return MASK in self.inputs

    def make_probes(self, model: Model, seed: int, supports: Sequence[InputSupport]) -> Probes:
        """Return `PROBE.INPUT` -> array of three rows; one row of the long probe, and of an encoder of many places."""
        rng = np.random.default_rng(seed)
        short = row_length(model, "decoder", DECODER_TOKENS, supports)
        long = long_row_length(model, supports)
        types = token_types(model.decoder, supports)
        names = [FULL, RIGHT, LEFT, *([TYPES] if types else []), *([LONG] if long != short else [])]
        few = self.place_count(model) > MANY_PLACES
        probes: Probes = {}
        for name in names:
            kind = name if name in (RIGHT, LEFT) else FULL
            mask = padding_mask(
                kind, long if name == LONG else short, pads_left(model, "decoder", supports)
            )
            batch = self.draw(model, rng, name) | draw_ids(rng, model, "decoder", name, mask)
            if name == TYPES:
                batch["decoder_token_type_ids"] = draw_types(rng, types, short)
            if model.has_common_loss:
                batch["labels"] = next_tokens(batch["decoder_input_ids"], mask)
            rows = slice(1, 2) if few or name == LONG else slice(0, ROWS)
            probes |= {f"{name}.{key}": array[rows] for key, array in batch.items()}
        return probes

    def left_out(self, model: Model, supports: Sequence[InputSupport]) -> Iterator[str]:
        """Say which tokens of the decoder are not tried, and why."""
        yield from left_out(model, "decoder", supports, long_row_length(model, supports))

    def facts(self, model: Model, special: SpecialTokens) -> dict[str, Json]:
        """Return how sentences become the decoder's tokens, inputs places, and how many examples run together."""
        rows = 1 if self.place_count(model) > MANY_PLACES else EXAMPLES
        return {**token_facts(model, special), **self.place_facts(model), "rows": rows}

    @abstractmethod
    def place_facts(self, model: Model) -> dict[str, Json]:
        """Return what `encoder_mask` must know."""

    @abstractmethod
    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Json], places: int | None = None
    ) -> Array:
        """Return which places of the encoder count; see `Modality.encoder_mask`."""

    def required(self, model: Model) -> tuple[str, ...]:
        """Return the encoder's inputs that every probe has."""
        return (self.main, MASK) if self.has_mask(model) else (self.main,)

    def problems(self, arrays: Batch, model: Model) -> Iterator[str]:
        """Say why arrays from elsewhere cannot be fed to a model."""
        main = arrays.get(self.main)
        if main is None:
            yield f"no {self.main}; there is {', '.join(sorted(map(ascii, arrays))) or 'nothing'}"
            return
        yield from self._main_problems(main, model)
        names = (*self.required(model), *DECODER_INPUTS)
        for name, array in arrays.items():
            if name == self.main:
                continue
            problems = [*integer_problems(name, array, names, (self.main, main), "what counts")]
            yield from problems
            if name == MASK and not problems:
                yield from self._mask_problems(array, main)
        yield from ids_problems(arrays, model, "decoder")

    def _main_problems(self, array: Array, model: Model) -> Iterator[str]:
        if array.dtype.kind != "f" or array.size == 0:
            yield f"{self.main}: expected floats, found {array.dtype} {list(array.shape)}"
            return
        if not np.isfinite(array).all():
            yield f"{self.main}: not all of it is finite"
        problem = self.array_problem(array, model)
        if problem:
            yield f"{self.main}: {problem}, found {list(array.shape)}"

    def _mask_problems(self, mask: Array, main: Array) -> Iterator[str]:
        if mask.shape != main.shape[:2]:
            yield f"{MASK}: shape {list(mask.shape)}, {self.main} has {list(main.shape[:2])}"
        elif (np.diff(mask.astype(np.int8), axis=1) > 0).any():
            yield f"{MASK}: padding must be on the right"

    def completed(self, arrays: Batch, model: Model) -> dict[str, Array]:
        """Return a user's arrays as float32 and int64; without a mask everything counts."""
        main = arrays[self.main].astype(np.float32)
        encoder = {self.main: main}
        if self.has_mask(model):
            everything = np.ones(main.shape[:2], np.int64)
            encoder[MASK] = arrays.get(MASK, everything).astype(np.int64)
        ids = {key: array.astype(np.int64) for key, array in arrays.items() if key != self.main}
        return encoder | completed_decoder(ids, model, len(main))

    def generation_inputs(self, batch: Batch) -> dict[str, Array]:
        """Return the array alone."""
        return {self.main: batch[self.main]}

    def encoded(
        self, checkpoint: Path, examples: Sequence[Example], facts: Mapping[str, Any]
    ) -> dict[str, dict[str, Array]]:
        """Return the probes `inputs-0`, `inputs-1` ... of eight files each; of one where a file has many places."""
        has_targets = any(example.target is not None for example in examples)
        tokenizer = own_tokenizer(checkpoint) if has_targets else None
        probes = {}
        for probe, some in example_groups(examples, facts.get("rows", EXAMPLES)):
            batch = self.processed(checkpoint, [Path(example.source) for example in some], facts)
            targets = [example.target for example in some]
            probes[probe] = batch | fed_decoder(tokenizer, targets, facts)
        return probes

    @abstractmethod
    def processed(
        self, checkpoint: Path, paths: Sequence[Path], facts: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the encoder's inputs of files, by the checkpoint's own processor; in the child."""

    def answered(
        self, checkpoint: Path, sources: Sequence[str], facts: Mapping[str, Any]
    ) -> tuple[dict[str, Array], Any]:
        """Return the inputs of a generation from files, and the tokenizer that decodes the answers; in the child."""
        batch = self.processed(checkpoint, [Path(source) for source in sources], facts)
        return self.generation_inputs(batch), own_tokenizer(checkpoint)


@lru_cache(maxsize=1)
def own_processor(checkpoint: Path, loader: str, what: str, **options: Any) -> Any:
    """Return a checkpoint's processor of images or sounds, loaded once for all its files; see `own_part`.

    Its calls change nothing in it, unlike those of a tokenizer.
    """
    return own_part(checkpoint, loader, what, **options)


def lengths_through(lengths: Array, steps: Sequence[Sequence[int]]) -> Array:
    """Return how many frames convolutions leave of lengths. Args: steps: (kernel, stride) of each, in their order."""
    for kernel, stride in steps:
        lengths = np.maximum((lengths - kernel) // stride + 1, 0)
    return lengths


def length_before(frames: int, steps: Sequence[Sequence[int]]) -> int:
    """Return the least length of which convolutions leave so many frames."""
    for kernel, stride in reversed(steps):
        frames = (frames - 1) * stride + kernel
    return frames


def frame_mask(
    lengths: Array, whole: int, facts: Mapping[str, Any], places: int | None = None
) -> Array:
    """Return which frames count, of rows with so many valid inputs.

    Args: whole: inputs of a row with its padding. facts: `steps`, (kernel, stride) of every convolution, and `first`,
    after how many of them the first states come. places: how many states there are, where several numbers occur.
    """
    steps, first = facts["steps"], facts["first"]
    for count in range(first, len(steps) + 1):
        frames = int(lengths_through(np.array(whole), steps[:count]))
        if places is None or frames == places:
            valid = lengths_through(lengths, steps[:count])
            return np.asarray(np.arange(frames) < valid[:, None], np.int64)
    return np.zeros((len(lengths), 0), np.int64)
