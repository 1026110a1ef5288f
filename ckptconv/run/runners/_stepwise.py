"""What artefacts have in common: `encode` once, then one cached step after the other; greedy search over that."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import Json, read_json
from ckptconv.compare.configs import METADATA, generate_defaults
from ckptconv.run.runners import Array, Batch, InputSupport, Listener, Session
from ckptconv.run.runners._limits import limit_problems, ones, start_token
from ckptconv.stores.artefact import BEAM_PROGRAM, Artefact

NOISE = 7
"""Seed of what the caches hold before they are written: a step that looks beyond its position cannot hide."""
GENERATION = "generation_config.json"
MASK = "attention_mask"
OWN = "generate"
SPARE_ROWS = 3
"""Of a cache beyond what a probe needs; they hold noise, as all rows do that are not written yet."""
Run: TypeAlias = Callable[[str, Batch], Mapping[str, Any]]
"""(program, its inputs by name) -> its outputs by name; raises where the program refuses."""


def artefact_support(who: str) -> InputSupport:
    """Return what an artefact with free lengths takes: it makes token types and positions itself."""
    return InputSupport(who, token_types=False, decoder_mask=False)


def own_settings(path: Path) -> dict[str, Json]:
    """Return the generation settings beside an artefact that are no defaults, as PyTorch's class gives its own."""
    settings = read_json(path / GENERATION) if is_file(path / GENERATION) else {}
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

    def __init__(self, artefact: Artefact, settings: Mapping[str, Json]) -> None:
        """Take what the artefact says of itself, and what it runs with."""
        self.artefact, self.settings = artefact, settings
        self.generation = own_settings(artefact.path)
        self.takes = artefact.inputs
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
        return self.own_search(fed(self.takes, inputs), BEAM_PROGRAM)

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

    def _begin(self, inputs: Batch, length: int) -> tuple[Array, dict[str, Any], dict[str, Any]]:
        """Return the encoder's states, what every step takes, and caches that hold noise."""
        fixed: dict[str, Any] = dict(self.encode(inputs))
        states = fixed.pop("last_hidden_state")
        fixed |= inputs
        limit = (
            self.artefact.limit("decoder") or length + SPARE_ROWS
        )  # some classes have a mask of that size
        room = max(length, min(length + SPARE_ROWS, limit))
        generator = np.random.default_rng(NOISE)
        rows = len(inputs[self.takes[0]])
        own = {
            name: generator.standard_normal(shape, np.float32)
            for name, shape in self.cache_shapes(rows, room).items()
        }
        return states, fixed, own


class ProgramSession(StepwiseSession):
    """An artefact whose lengths are free: each of its programs is run by name, with arrays by name."""

    def __init__(self, artefact: Artefact, run: Run, settings: Mapping[str, Json]) -> None:
        """Take an artefact and what runs its programs; try its signature and its limits."""
        super().__init__(artefact, settings)
        self.run = run
        inputs = artefact.signature("step", "inputs")
        self.step_inputs = frozenset(str(value["name"]) for value in inputs)
        limits = limit_problems(artefact, self._encode_ones, self._step_at)
        self.problems = (*self._signature_problems(), *limits)

    def encode(self, inputs: Batch) -> dict[str, Any]:
        """Run `encode`."""
        return dict(self.run("encode", inputs))

    def step(
        self, tokens: Array, position: int, fixed: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Run `step` with what it takes of the inputs and of what `encode` gave."""
        passed_on = {name: array for name, array in fixed.items() if name in self.step_inputs}
        place = np.array(position, np.int64)
        feed = {"decoder_input_ids": tokens, "position": place, **passed_on, **own}
        answer = self.run("step", feed)
        return np.asarray(answer["logits"]), {name: answer[f"next_{name}"] for name in own}

    def cache_shapes(self, rows: int, length: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the decoder's own keys and values: (rows, heads, length, width)."""
        shapes = {
            str(value["name"]): value["shape"]
            for value in self.artefact.signature("step", "inputs")
            if "_self_" in str(value["name"])
        }
        return {
            name: (rows, int(str(shape[1])), length, int(str(shape[3])))
            for name, shape in shapes.items()
            if isinstance(shape, list)
        }

    def own_search(self, inputs: Batch, program: str = OWN) -> Array | None:
        """Run `generate` or `generate_beam`."""
        if program not in self.artefact.programs:
            return None
        return np.asarray(self.run(program, inputs)["sequences"])

    def _signature_problems(self) -> Iterator[str]:
        """Say which outputs are not those that the step's caches need."""
        outputs = {str(value["name"]) for value in self.artefact.signature("step", "outputs")}
        for name in sorted(self.cache_shapes(1, 1)):
            if f"next_{name}" not in outputs:
                yield f"missing next_{name} among the outputs of step"

    def _encode_ones(self, length: int) -> None:
        self.encode(ones(self.artefact, length))

    def _step_at(self, place: int) -> None:
        _, fixed, own = self._begin(ones(self.artefact, 2), place + 1)
        self.step(start_token(self.artefact), place, fixed, own)
