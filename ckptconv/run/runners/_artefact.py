"""What every runner of artefacts shares: probes by `encode` and cached `step`s, and the artefact's own `generate`.

A runner gives a function that runs one program by its names of inputs and outputs; everything else is here, so that
all formats are asked for the same evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport, Listener, Session
from ckptconv.run.runners._limits import limit_problems, ones, start_token
from ckptconv.run.runners._stepwise import fed, own_settings
from ckptconv.stores.artefact import Artefact

Run: TypeAlias = Callable[[str, Batch], Mapping[str, Array]]
"""(program, its inputs by name) -> its outputs by name; raises where the program refuses."""
SPARE_ROWS = 3
"""Rows of a buffer beyond what a probe needs; they hold noise, as all rows do that are not written yet."""
SEED = 0
"""Of the noise."""


def artefact_support(who: str) -> InputSupport:
    """Return what an artefact with free lengths takes: tokens and a mask of the encoder, tokens of the decoder."""
    return InputSupport(who, token_types=False, decoder_mask=False)


class ArtefactSession(Session):
    """An artefact that answers probes."""

    def __init__(self, artefact: Artefact, run: Run, settings: Mapping[str, Json]) -> None:
        """Take an artefact and what runs its programs; try its limits."""
        self.artefact, self.run, self.settings = artefact, run, settings
        self.generation = own_settings(artefact.path)
        inputs = artefact.signature("step", "inputs")
        self.step_inputs = frozenset(str(value["name"]) for value in inputs)
        self.buffers = {
            str(value["name"]): value["shape"] for value in inputs if "_self_" in str(value["name"])
        }
        limits = limit_problems(artefact, self._longest, self._last_step)
        self.problems = (*self._signature_problems(), *limits)

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Encode, then run one cached step after the other over the decoder's tokens, with noise in what follows."""
        states, feed = self._encoded(batch)
        tokens = batch["decoder_input_ids"]
        caches = self._noise(len(tokens), tokens.shape[1] + SPARE_ROWS)
        logits = []
        for place in range(tokens.shape[1]):
            scores, caches = self._step(tokens[:, place : place + 1], place, feed, caches)
            logits.append(scores)
        return {"encoder.last": states, "logits": np.stack(logits, 1)}

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array | None:
        """Answer by the artefact's own `generate`; by other settings, search greedily through `step`."""
        if settings is None:
            if "generate" not in self.artefact.programs:
                return None
            feed = fed(self.artefact.inputs, inputs)
            return np.asarray(self.run("generate", feed)["sequences"])
        if int(str(settings.get("num_beams", 1))) > 1:
            return None
        return self._greedy(inputs, settings, listener)

    def generate_beams(
        self, inputs: Batch, beams: int, listener: Listener | None = None
    ) -> Array | None:
        """Return None: the artefact has the checkpoint's own search alone."""
        return None

    def _greedy(
        self, inputs: Batch, settings: Mapping[str, Json], listener: Listener | None
    ) -> Array:
        """Search through `step`; the settings are those of a plain greedy search."""
        start, end, pad, new = (
            int(str(settings[name]))
            for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id", "max_new_tokens")
        )
        _, feed = self._encoded(inputs)
        rows = len(inputs[self.artefact.inputs[0]])
        tokens, active = np.full((rows, 1), start, np.int64), np.ones(rows, bool)
        caches = self._noise(rows, new + SPARE_ROWS)
        for place in range(new):
            scores, caches = self._step(tokens[:, -1:], place, feed, caches)
            if listener:
                listener(tokens, scores)
            best = np.where(active, scores.argmax(-1), pad)
            tokens = np.concatenate([tokens, best[:, None]], 1)
            active &= best != end
            if not active.any():
                break
        return tokens

    def _encoded(self, inputs: Batch) -> tuple[Array, dict[str, Array]]:
        """Return the encoder's states, and what every step gets of the inputs."""
        feed = fed(self.artefact.inputs, inputs)
        outputs = self.run("encode", feed)
        tensors = {**feed, **outputs}
        passed_on = {name: array for name, array in tensors.items() if name in self.step_inputs}
        return outputs["last_hidden_state"], passed_on

    def _step(
        self, token: Array, place: int, feed: Batch, caches: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the scores of the next token, and the caches with the token's row."""
        inputs = {"decoder_input_ids": token, "position": np.array(place, np.int64)}
        answer = self.run("step", {**feed, **inputs, **caches})
        return answer["logits"], {name: answer[f"next_{name}"] for name in caches}

    def _noise(self, rows: int, length: int) -> dict[str, Array]:
        """Return buffers full of noise: a step that looked beyond its position would answer something else."""
        random = np.random.default_rng(SEED)
        most = self.artefact.limit("decoder") or length
        length = (
            length - SPARE_ROWS if length > most else length
        )  # some classes have a mask of that size
        noise = {}
        for name, shape in self.buffers.items():
            assert isinstance(shape, list)
            size = (rows, int(str(shape[1])), length, int(str(shape[3])))
            noise[name] = random.standard_normal(size, np.float32)
        return noise

    def _signature_problems(self) -> Iterator[str]:
        """Say which inputs and outputs are not those that the step's caches need."""
        outputs = {str(value["name"]) for value in self.artefact.signature("step", "outputs")}
        for name in sorted(self.buffers):
            if f"next_{name}" not in outputs:
                yield f"missing next_{name} among the outputs of step"

    def _longest(self, length: int) -> None:
        self._encoded(ones(self.artefact, length))

    def _last_step(self, place: int) -> None:
        _, feed = self._encoded(ones(self.artefact, 2))
        self._step(start_token(self.artefact), place, feed, self._noise(1, place + 1))
