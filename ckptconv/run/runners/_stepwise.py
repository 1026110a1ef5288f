"""What artefacts have in common: `encode` once, then one cached step after the other; greedy search over that."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json, read_json
from ckptconv.compare.configs import METADATA, generate_defaults
from ckptconv.run.runners import Array, Batch, Listener, Session
from ckptconv.run.runners._limits import limit_problems, ones, start_token
from ckptconv.stores.artefact import Artefact

NOISE = 7
"""Seed of what the caches hold before they are written: a step that looks beyond its position cannot hide."""
GENERATION = "generation_config.json"
MASK = "attention_mask"
OWN, OWN_BEAMS = "generate", "generate_beam"


def own_settings(path: Path) -> dict[str, Json]:
    """Return the generation settings beside an artefact that are no defaults, as PyTorch's class gives its own."""
    settings = read_json(path / GENERATION) if (path / GENERATION).is_file() else {}
    usual = generate_defaults()
    return {
        name: value
        for name, value in settings.items()
        if name not in METADATA and (name not in usual or value != usual[name])
    }


def fed(names: Iterable[str], batch: Batch) -> dict[str, Array]:
    """Return the inputs of `encode`, the main one first; where a batch has no mask, all of it counts."""
    names = tuple(names)
    main = batch[names[0]]
    absent = {MASK: np.ones(main.shape[:2], np.int64)} if MASK not in batch else {}
    return {name: batch[name] if name in batch else absent[name] for name in names}


class StepwiseSession(Session):
    """An artefact in memory. Caches are dictionaries by the names of the step's inputs."""

    takes: tuple[str, ...] = ()
    """Names of the inputs of `encode`."""

    @abstractmethod
    def encode(self, inputs: Batch) -> dict[str, Array]:
        """Return `last_hidden_state`, and the decoder's keys and values of it, by name."""

    @abstractmethod
    def step(
        self, tokens: Array, position: int, fixed: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Return logits (rows, vocabulary), and the caches with one row more.

        Args: tokens: (rows, 1) int64. fixed: masks and what `encode` gave. own: the decoder's own keys and values.
        """

    @abstractmethod
    def cache_shapes(self, rows: int, length: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the decoder's own keys and values, with room for so many tokens."""

    @abstractmethod
    def own_search(self, inputs: Batch, program: str = OWN) -> Array | None:
        """Return the answer of one of the artefact's own searches (rows, length); None: it has none of that name."""

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run every token of the decoder as a cached step."""
        inputs = fed(self.takes, batch)
        tokens = batch["decoder_input_ids"]
        states, fixed, own = self._begin(inputs, tokens.shape[1])
        logits = []
        for position in range(tokens.shape[1]):
            scores, own = self.step(tokens[:, position : position + 1], position, fixed, own)
            logits.append(np.asarray(scores))
        return {"encoder.last": np.asarray(states), "logits": np.stack(logits, axis=1)}

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array | None:
        """Answer by the artefact's own search, or greedily step by step; other searches are fixed when it is made."""
        if settings is None:
            return self.own_search(fed(self.takes, inputs))
        beyond = settings.get("num_beams") != 1 or settings.get("do_sample")
        return None if beyond else self._greedy(inputs, settings, listener)

    def generate_beams(
        self, inputs: Batch, beams: int, listener: Listener | None = None
    ) -> Array | None:
        """Answer by the artefact's own beam search, which has that many beams where nothing else is said."""
        return self.own_search(fed(self.takes, inputs), OWN_BEAMS)

    def _greedy(
        self, inputs: Batch, settings: Mapping[str, Json], listener: Listener | None
    ) -> Array:
        start, end, pad = (
            int(str(settings[name]))
            for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
        )
        length = 1 + int(str(settings["max_new_tokens"]))
        _, fixed, own = self._begin(fed(self.takes, inputs), length)
        rows = len(inputs[self.takes[0]])
        tokens, active = np.full((rows, 1), start, np.int64), np.ones(rows, bool)
        while tokens.shape[1] < length and active.any():
            scores, own = self.step(tokens[:, -1:], tokens.shape[1] - 1, fixed, own)
            if listener is not None:
                listener(tokens, np.asarray(scores))
            best = np.where(active, np.asarray(scores).argmax(-1), pad)
            tokens = np.concatenate([tokens, best[:, None]], axis=1)
            active &= best != end
        return tokens

    def try_limits(self, artefact: Artefact) -> None:
        """Note as problems where the artefact does not keep to the limits that its record gives."""
        self.problems = (
            *self.problems,
            *limit_problems(
                artefact,
                lambda length: self.encode(ones(artefact, length)),
                lambda place: self._single_step(artefact, place),
            ),
        )

    def _single_step(self, artefact: Artefact, place: int) -> None:
        _, fixed, own = self._begin(ones(artefact, 2), place + 1)
        self.step(start_token(artefact), place, fixed, own)

    def _begin(self, inputs: Batch, length: int) -> tuple[Array, dict[str, Any], dict[str, Any]]:
        """Return the encoder's states, what every step takes, and caches that hold noise."""
        fixed: dict[str, Any] = dict(self.encode(inputs))
        states = fixed.pop("last_hidden_state")
        fixed |= {name: array for name, array in inputs.items() if name == MASK}
        generator = np.random.default_rng(NOISE)
        rows = len(inputs[self.takes[0]])
        own = {
            name: generator.standard_normal(shape).astype(np.float32)
            for name, shape in self.cache_shapes(rows, length).items()
        }
        return states, fixed, own
