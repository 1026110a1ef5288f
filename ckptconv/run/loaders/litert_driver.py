"""Generates with ai-edge-litert and numpy: `Model(folder).generate(input_ids=ids, attention_mask=mask)`.

The search is that of `generation_config.json`, as transformers makes it: greedy or beams, with its penalties.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

OUT = np.float32(-1.0e9)
LOWEST = np.float32(-np.inf)


def log_softmax(scores: Any) -> Any:
    """Return the logarithm of each token's probability."""
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float32))


class Model:
    """An artefact in memory."""

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        folder = Path(folder)
        self.record = json.loads((folder / "artefact.json").read_text())
        file = folder / self.record["programs"]["encode"]["file"]
        self.interpreter = Interpreter(str(file), num_threads=threads)
        self.encode = self.interpreter.get_signature_runner("encode")
        self.step = self.interpreter.get_signature_runner("step")
        self.rows, self.length, self.max_length = (
            self.record["sizes"][name] for name in ("batch", "length", "max_length")
        )
        self.search = self.record["search"]

    def padded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Fill rows and lengths up to the fixed ones."""
        filled = {}
        for name, array in inputs.items():
            array = np.asarray(array)
            shape = [self.rows, self.length] if array.ndim == 2 else [self.rows, *array.shape[1:]]
            if any(size > limit for size, limit in zip(array.shape, shape, strict=True)):
                raise ValueError(f"{name}: {array.shape} is more than the fixed {tuple(shape)}")
            array = np.pad(
                array, [(0, shape[0] - len(array)), *([(0, 0)] * (array.ndim - 1))], mode="edge"
            )
            fill = self.record["pad"] if name == "input_ids" else 0
            widths = [(0, limit - size) for size, limit in zip(array.shape, shape, strict=True)]
            filled[name] = np.pad(array, widths, constant_values=fill)
        return filled

    def begin(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what every step takes, and empty caches."""
        fixed = self.encode(**inputs)
        self.states = fixed.pop("last_hidden_state")
        takes = self.step.get_input_details()
        own = {
            name: np.zeros(detail["shape"], np.float32)
            for name, detail in takes.items()
            if "_self_" in name
        }
        return {name: value for name, value in {**inputs, **fixed}.items() if name in takes}, own

    def advance(
        self, tokens: Any, position: int, fixed: dict[str, Any], own: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Run one token a row; return logits (rows, vocabulary), and the caches."""
        place = np.array(position, np.int64)
        result = self.step(
            decoder_input_ids=tokens.reshape(-1, 1).astype(np.int64), position=place, **fixed, **own
        )
        return result.pop("logits"), {
            name.removeprefix("next_"): value for name, value in result.items()
        }

    def generate(self, **inputs: Any) -> Any:
        """Answer: (rows, length) int64, from the start token on; of beams, the best answer of each row."""
        rows, search = len(next(iter(inputs.values()))), self.search
        if search["beams"] > self.rows:
            raise ValueError(
                f"{search['beams']} beams need a file of at least so many rows; this one has {self.rows}"
            )
        if search["beams"] == 1:
            each = [
                {name: array[at : at + self.rows] for name, array in inputs.items()}
                for at in range(0, rows, self.rows)
            ]
            parts = [self.greedy(part) for part in each]
        else:
            parts = [
                self.beam({name: array[at : at + 1] for name, array in inputs.items()})
                for at in range(rows)
            ]
        width = max(part.shape[1] for part in parts)
        fill = search["pad"] if search["beams"] == 1 else search["pad"] or search["ends"][0]
        return np.concatenate(
            [
                np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=fill)
                for part in parts
            ]
        )

    def greedy(self, inputs: dict[str, Any]) -> Any:
        """Take the best token of each row, step by step."""
        rows, search = len(next(iter(inputs.values()))), self.search
        fixed, own = self.begin(self.padded(inputs))
        tokens = np.full((self.rows, 1), search["start"], np.int64)
        active = np.arange(self.rows) < rows
        while tokens.shape[1] < search["max_length"] and active.any():
            logits, own = self.advance(tokens[:, -1], tokens.shape[1] - 1, fixed, own)
            best = np.where(active, self.processed(tokens, logits).argmax(-1), search["pad"])
            tokens = np.concatenate([tokens, best[:, None]], 1)
            active &= ~np.isin(best, search["ends"])
        return tokens[:rows]

    def beam(self, inputs: dict[str, Any]) -> Any:
        """Search beams for one input: they are the rows of the file."""
        search, count = self.search, self.search["beams"]
        wide = {name: np.repeat(np.asarray(array), count, 0) for name, array in inputs.items()}
        fixed, own = self.begin(self.padded(wide))
        running = [[search["start"]] for _ in range(count)]
        scores = np.where(np.arange(count) == 0, 0, OUT).astype(np.float32)
        done: list[tuple[np.float32, list[int]]] = []
        while True:
            length = len(running[0])
            rows = np.array(running + [running[0]] * (self.rows - count), np.int64)
            logits, own = self.advance(rows[:, -1], length - 1, fixed, own)
            logits = self.processed(rows[:count], log_softmax(logits[:count]))
            sums = (logits + scores[:, None]).reshape(-1)
            keep = max(2, 1 + len(search["ends"])) * count
            best = np.argsort(-sums, kind="stable")[:keep]
            origins, words = best // logits.shape[1], best % logits.shape[1]
            ended = np.isin(words, search["ends"]) | (length + 1 >= search["max_length"])
            for place in np.flatnonzero(ended[:count]):
                if not (search["early_stopping"] is True and len(done) == count):
                    done.append(
                        (
                            self.rated(sums[best[place]], length),
                            [*running[origins[place]], int(words[place])],
                        )
                    )
            done = sorted(done, key=lambda pair: -pair[0])[:count]
            alive = np.argsort(-(sums[best] + ended * OUT), kind="stable")[:count]
            scores = (sums[best] + ended * OUT)[alive]
            running = [[*running[origins[place]], int(words[place])] for place in alive]
            order = np.array([*origins[alive], *range(count, self.rows)])
            own = {name: array[order] for name, array in own.items()}
            longest = search["early_stopping"] == "never" and search["length_penalty"] > 0
            possible = self.rated(scores[0], search["max_length"] - 1 if longest else length)
            full = len(done) == count
            if ended.all() or (
                full and (search["early_stopping"] is True or possible <= done[-1][0])
            ):
                return np.array([done[0][1]], np.int64)

    def rated(self, score: Any, tokens: int) -> Any:
        """Divide a score by a number of new tokens, to the power of the penalty."""
        return np.float32(score / np.float32(float(tokens) ** self.search["length_penalty"]))

    def processed(self, tokens: Any, scores: Any) -> Any:
        """Apply the penalties of the search, in the order of transformers."""
        search, count, scores = (
            self.search,
            tokens.shape[1],
            scores[: len(tokens)].astype(np.float32),
        )
        present = np.take_along_axis(scores, tokens, 1)
        penalty = np.float32(search["repetition_penalty"])
        np.put_along_axis(
            scores, tokens, np.where(present < 0, present * penalty, present / penalty), 1
        )
        size = search["no_repeat_ngram_size"]
        for row, line in enumerate(tokens.tolist()):
            for at in range(count - size + 1 if size else 0):
                if line[at : at + size - 1] == line[count - size + 1 :]:
                    scores[row, line[at + size - 1]] = LOWEST
            for word in search["bad_words"]:
                if len(word) == 1 or (
                    count >= len(word) and line[count - len(word) + 1 :] == list(word[:-1])
                ):
                    scores[row, word[-1]] = LOWEST
        if count < search["min_length"]:
            scores[:, search["ends"]] = LOWEST
        forced = [search["forced_bos"]] if count == 1 and search["forced_bos"] is not None else []
        forced = (
            search["forced_eos"]
            if search["forced_eos"] and count == search["max_length"] - 1
            else forced
        )
        if forced:
            scores[:] = LOWEST
            scores[:, forced] = 0
        scores[:, search["suppressed"]] = LOWEST
        if count == 1 + (search["forced_bos"] is not None):
            scores[:, search["begin_suppressed"]] = LOWEST
        return scores
