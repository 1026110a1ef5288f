"""When is a difference an error? The yardstick, and what the models answered held against it.

The yardstick is PyTorch's own rounding: its float32 answer against its float64 answer, from the same
weights. A faithful conversion is as far from float64 as PyTorch itself is, give or take the order of
its additions; a wrong one is hundreds of times further. So the rule needs no tolerance that depends
on the model: error <= FACTOR x yardstick, for the mean and for the worst element.

Generated tokens are judged by the same noise. Two right models may choose different tokens only where the best ones are
so near each other that rounding decides. So where the sides part, PyTorch's float64 says how far apart their choices
are, and the yardstick at that very step says how far float32 may be off. After a tie nothing is compared: the texts go
on apart.

The factors were measured, not chosen: every pair that TF or Flax can hold (`tests/support/pairs.py`, one model each,
3,866 quantities; CPU, transformers 4.57.6). Ratios of honest conversions, 99 in 100 below the first number:

                              TF (44 pairs)                Flax (26 pairs)
                              RMS           worst          RMS           worst
    states, encoder           1.20   1.31   1.68   2.09    1.33   1.45   2.10   2.23
    states, decoder           1.27   1.44   1.85   2.63    1.18   1.42   1.85   2.52
    self-attention            1.46   1.79   2.03   2.97    1.29   1.43   1.92   2.29
    cross-attention           1.45   1.75   2.10   2.78    1.47   1.66   2.00   2.23
    logits                    1.33   1.45   2.11   2.45    1.22   1.37   1.90   1.95
    logits of cached steps    1.44   1.48   1.69   1.69    1.44   1.48   2.46   2.65
    loss                      0.98   1.09   0.98   1.09    0.33   0.33   0.33   0.33

TF once more with other weights (45 pairs, 2,734 quantities): at most 2.04 and 2.73. They do not grow with the
length: at 512 tokens CTRL, XGLM, GPT-J, RoFormer and DeBERTa-v2 in TF, XGLM, GPT-J and LLaMA in Flax stay at 1.2
and 1.9 at most, since the reference makes tables of sines in float64 as well (`runners/pytorch.py`). PyTorch's own
error was at most 2.7e-6 of a quantity. A single number, the loss, is right by luck as often as not: its
yardstick is at least the RMS error of the logits that it is the mean of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.strict_json import Json
from ckptconv.base.workers import finish, workers
from ckptconv.run.children import Answer
from ckptconv.run.modalities import Modality
from ckptconv.run.runners import Array, Batch
from ckptconv.run.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Difference:
    """How far `found` is from a reference, over all elements."""

    compared: int
    """Elements."""
    differing: int
    """Elements that are not equal; a NaN on either side is never equal."""
    worst: float
    """Largest absolute difference; infinite where either side has a NaN."""
    where: tuple[int, ...]
    """Index of the worst element (the first NaN, if there is one)."""
    rms: float
    """Root of the mean squared difference; infinite where either side has a NaN."""
    reference_rms: float
    """Root of the mean square of the reference, over its finite elements."""
    reference_max: float
    """Largest magnitude of the reference, over its finite elements."""
    nans: int
    """Elements that are NaN on either side."""

    @property
    def relative(self) -> float:
        """RMS difference over the RMS of the reference; infinite against a reference of zeros."""
        if self.rms == 0:
            return 0.0
        return self.rms / self.reference_rms if self.reference_rms else float("inf")


@dataclass(frozen=True, slots=True)
class Exact:
    """A reference, and what is measured of it alone; made once for all that are compared with it."""

    values: NDArray[np.float64]
    rms: float
    """Root of the mean square, over its finite elements."""
    largest: float
    """Largest magnitude, over its finite elements."""

    @classmethod
    def of(cls, array: Array) -> Exact:
        """Measure a reference; integers beyond 2**53 lose bits."""
        values = np.asarray(array, np.float64)
        finite = np.isfinite(values)
        numbers = values.reshape(-1) if finite.all() else values[finite]
        largest = float(max(numbers.max(), -numbers.min())) if numbers.size else 0.0
        return cls(values, _rms(numbers, largest), largest)


def difference(actual: Array, reference: Array | Exact) -> Difference:
    """Compare two arrays of real numbers of the same shape, in float64.

    Equal infinities are equal. Integers beyond 2**53 lose bits here.

    Raises: ValueError: the shapes differ, or there is nothing to compare.
    """
    exact = reference if isinstance(reference, Exact) else Exact.of(reference)
    right = exact.values
    _require_comparable(actual, right)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.asarray(np.subtract(actual, right, dtype=np.float64))
        np.abs(apart, out=apart)
        where, nans = np.unravel_index(int(np.argmax(apart)), apart.shape), 0
        if not np.isfinite(apart[where]):  # a NaN is the largest of all
            left = np.asarray(actual, np.float64)
            nans = int(np.count_nonzero(np.isnan(left) | np.isnan(right)))
            apart[left == right] = 0.0
            apart[np.isnan(apart)] = np.inf
            where = np.unravel_index(int(np.argmax(apart)), apart.shape)
        worst = float(apart[where])
    return Difference(
        compared=int(apart.size),
        differing=int(np.count_nonzero(apart)),
        worst=worst,
        where=tuple(int(n) for n in where),
        rms=_rms(apart, worst),
        reference_rms=exact.rms,
        reference_max=exact.largest,
        nans=nans,
    )


def _require_comparable(actual: Array, reference: Array) -> None:
    if actual.shape != reference.shape:
        raise ValueError(
            f"shape {list(actual.shape)} cannot be compared to {list(reference.shape)}"
        )
    if actual.size == 0:
        raise ValueError("there is nothing to compare")


def _rms(values: Array, largest: float) -> float:
    """Return the root mean square, scaled by the largest magnitude so that squares neither overflow nor vanish."""
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    scaled = np.asarray(values / largest)
    return largest * float(np.sqrt(np.mean(np.square(scaled, out=scaled))))


MAPS = (".attention", ".cross")
"""How the names of attention maps end."""
ATTENTION_PLACES = 300
"""Attention maps are asked for up to so many places a row: they grow with the square, and a layer has them a head."""


def is_map(name: str, rank: int) -> bool:
    """Tell whether a quantity is an attention map, of shape (batch, heads, queries, keys)."""
    return name.endswith(MAPS) and rank == 4


def _pads_blocks(name: str, shape: tuple[int, ...], length: int) -> bool:
    """Tell whether a map in blocks, of shape (batch, blocks, heads, queries, keys), has more queries than a row."""
    return name.endswith(MAPS) and len(shape) == 5 and shape[1] * shape[3] > length


def batch_of(probes: Mapping[str, Array], probe: str) -> dict[str, Array]:
    """Return the inputs of one probe."""
    split = ((key.partition("."), array) for key, array in probes.items())
    return {name: array for (own, _, name), array in split if own == probe}


@dataclass(frozen=True, slots=True)
class Places:
    """How the inputs of a model become places."""

    modality: Modality
    facts: Mapping[str, Json]
    """As `Modality.facts` returns them."""

    def valid(self, batch: Batch, name: str, shape: tuple[int, ...]) -> Array | None:
        """Return which places of a quantity count, shape (batch, length), or () for a single number.

        Those that are not padding, in rows with at least one such place in the encoder. None: there are
        fewer places than inputs (Funnel's blocks pool them), so that some are of both; or more, since the class pads
        the last block by itself (LongT5): what padding attends to is rounding.

        Args: batch: one probe. name, shape: the quantity's.
        """
        if name == "loss":
            return np.asarray(True)
        places = (shape[0], shape[2]) if is_map(name, len(shape)) else shape[:2]
        if name.startswith("encoder."):
            valid = self.modality.encoder_mask(batch, self.facts, places[1]) == 1
        else:
            encoder = self.modality.encoder_mask(batch, self.facts) == 1
            valid = (batch["decoder_attention_mask"] == 1) & encoder.any(axis=1, keepdims=True)
        if places == valid.shape:
            return np.asarray(valid)
        if _pads_blocks(name, shape, valid.shape[1]):
            return None
        return np.ones(places, bool) if valid.size and valid.all() else None

    def wants_maps(self, batch: Batch) -> bool:
        """Tell whether a probe is short enough to ask for attention maps."""
        encoder = self.modality.encoder_mask(batch, self.facts).shape[1]
        return max(int(encoder), int(batch["decoder_input_ids"].shape[1])) <= ATTENTION_PLACES


Side: TypeAlias = Literal["source", "target"]

RMS_FACTOR = 4.0
"""How many times the yardstick an RMS error may be: about twice what any honest conversion needed."""
MAX_FACTOR = 8.0
"""The same for the worst element, which scatters more."""

RESULTS = ("encoder.last", "logits")
"""What all sides must answer; a class may keep the states in between to itself."""

EPSILON = float(np.finfo(np.float32).eps)
"""Floor of the yardstick, relative to the RMS of the reference: some quantities (a sum of two table
rows) happen to be almost exact in PyTorch, and no other framework has to be as lucky."""

LOOSE = 1e-2
"""A yardstick that is so large, relative to the RMS of the reference, measures nothing: PyTorch's float32 is no
answer to this model then, or its cached steps are not what its full pass says."""

KINDS = {"attention": "self-attention", "cross": "cross-attention"}


def least(own: Difference) -> float:
    """Return the least yardstick of a quantity, from PyTorch's own error of it."""
    return max(EPSILON * own.reference_rms, float(np.finfo(np.float64).tiny))


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one probe, on both sides, against the float64 reference."""

    probe: str
    name: str
    """`encoder.0`, `encoder.1.attention`, ..., `decoder.2.cross`, `logits`, `loss`, `cached`; see frameworks."""
    source: Difference | None
    """Source against reference, over what is valid; None where it cannot be compared."""
    target: Difference | None
    own: Difference | None
    """PyTorch's float32 against its float64."""
    judged: tuple[Side, ...]
    """The sides that are held against the yardstick: those that do not give it."""
    floor: float = 0.0
    """Least yardstick."""
    tolerance: Tolerance | None = None
    problem: str = ""
    """Why it cannot be compared: a shape."""
    peak: float = 0.0
    """Least yardstick of the worst element: how far PyTorch's own errors of this kind reach above their RMS in any
    probe, times their RMS in this one."""

    @property
    def part(self) -> Literal["encoder", "decoder"]:
        """Whose it is; logits, loss and cached steps are the decoder's."""
        return "encoder" if self.name.startswith("encoder.") else "decoder"

    @property
    def layer(self) -> int | None:
        """Number of the layer, 0 for the embeddings; None for what the whole side gives."""
        number = self.name.split(".")[1:2]
        return int(number[0]) if number and number[0].isdigit() else None

    @property
    def kind(self) -> str:
        """What it is, in words: `encoder states`, `decoder self-attention`, `logits` ..."""
        _, *rest = self.name.split(".")
        if not rest:
            return {"cached": "cached logits"}.get(self.name, self.name)
        return f"{self.part} {KINDS.get(rest[-1], 'states')}"

    @property
    def errors(self) -> tuple[Difference, ...]:
        """The errors of the sides that are judged; () where they cannot be."""
        by_side = {"source": self.source, "target": self.target}
        errors = tuple(error for side in self.judged if (error := by_side[side]) is not None)
        return errors if len(errors) == len(self.judged) else ()

    @property
    def ratios(self) -> tuple[float, float]:
        """Error over yardstick, as RMS and at the worst element; infinite where nothing was compared."""
        if self.own is None or not self.errors:
            return float("inf"), float("inf")
        floor = max(least(self.own), self.floor)
        rms, worst = (
            max(error.rms for error in self.errors),
            max(error.worst for error in self.errors),
        )
        return rms / max(self.own.rms, floor), worst / max(self.own.worst, self.peak, floor)

    @property
    def matches(self) -> bool:
        """True where both ratios are within their factors, or the tolerance holds, and neither side has a NaN."""
        if self.problem or self.own is None or not self.errors:
            return False
        if any(error.nans or not np.isfinite(error.worst) for error in (self.own, *self.errors)):
            return False
        if self.tolerance:
            allowed = self.tolerance.atol + self.tolerance.rtol * self.own.reference_max
            return all(error.worst <= allowed for error in self.errors)
        rms, worst = self.ratios
        return rms <= RMS_FACTOR and worst <= MAX_FACTOR and self.own.relative <= LOOSE


@dataclass(frozen=True, slots=True)
class Fork:
    """The first step of a row at which not all sides chose one token."""

    row: int
    step: int
    """After the start token."""
    source: int
    """Token; -1: the row had already ended."""
    target: int
    gap: float
    """How far apart the choices are in float64: logits of a greedy search, log-probabilities of a beam search."""
    noise: float
    """How far float32 may be off there."""

    @property
    def is_tie(self) -> bool:
        """True where rounding may choose."""
        return self.gap <= self.noise


@dataclass(frozen=True, slots=True)
class Generation:
    """What both sides generated from the probes, with the same settings."""

    name: str
    settings: Mapping[str, Json]
    source: tuple[tuple[int, ...], ...]
    """Tokens of each row after the start token, the end included."""
    target: tuple[tuple[int, ...], ...]
    forks: tuple[Fork, ...]

    @property
    def rows(self) -> int:
        """Rows that were generated."""
        return len(self.source)

    @property
    def compared(self) -> int:
        """Tokens of the source that were compared: all of a row, or those before its fork and the one there."""
        steps = {fork.row: fork.step + 1 for fork in self.forks}
        return sum(
            min(len(tokens), steps.get(row, len(tokens))) for row, tokens in enumerate(self.source)
        )

    @property
    def distinct(self) -> int:
        """Different tokens that the source generated; 1 proves little."""
        return len({token for row in self.source for token in row})

    @property
    def mismatches(self) -> tuple[Fork, ...]:
        """Forks that rounding does not explain."""
        return tuple(fork for fork in self.forks if not fork.is_tie)

    @property
    def ties(self) -> tuple[Fork, ...]:
        """Forks that rounding explains."""
        return tuple(fork for fork in self.forks if fork.is_tie)

    @property
    def matches(self) -> bool:
        """True where something was generated, and no fork is a mismatch."""
        return self.compared > 0 and not self.mismatches


def judge_tokens(
    name: str, settings: Mapping[str, Json], source: Answer, target: Answer, reference: Answer
) -> Generation:
    """Compare what the sides generated under `name`; `reference` is one of them, or the third."""
    tokens = _alike([answer.arrays[f"{name}/tokens"] for answer in (source, target, reference)])
    measure = _own_gap if settings.get("own") else _greedy_gap
    if int(str(settings.get("num_beams", 1))) > 1:
        measure = _beam_gap
    forks = []
    for row, step in first_apart(tokens):
        chosen = [int(side_tokens[row, step]) for side_tokens in tokens]
        gap, noise = measure(name, reference, row, step, chosen)
        forks.append(Fork(row, step, chosen[0], chosen[1], gap, noise))
    return Generation(name, settings, _rows(tokens[0]), _rows(tokens[1]), tuple(forks))


def _alike(tokens: Sequence[Array]) -> list[Array]:
    """Return the tokens of all sides in one length: a model's own search ends when it ends."""
    length = max(side_tokens.shape[1] for side_tokens in tokens)
    return [
        np.pad(side_tokens, ((0, 0), (0, length - side_tokens.shape[1])), constant_values=-1)
        for side_tokens in tokens
    ]


def first_apart(tokens: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Return row and step where not all sides agree for the first time, of each row that has one."""
    apart = np.logical_or.reduce([side_tokens != tokens[0] for side_tokens in tokens[1:]])
    for row in np.flatnonzero(apart.any(axis=1)):
        yield int(row), int(apart[row].argmax())


def agreed(tokens: Sequence[Array]) -> Array:
    """Return True for the steps whose logits all sides computed from the same tokens, shape (rows, steps)."""
    agree = tokens[0] >= 0
    for row, step in first_apart(tokens):
        agree[row, step + 1 :] = False
    return np.asarray(agree)


def _rows(tokens: Array) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(token) for token in row if token >= 0) for row in tokens)


def _greedy_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return how far the chosen tokens' logits lie apart in float64, and the yardstick's noise at that step."""
    exact = reference.arrays[f"float64/{name}/cached"]
    if min(chosen) < 0 or step >= exact.shape[1]:
        return float("inf"), 0.0
    logits = exact[row, step]
    rounded = reference.arrays[f"float32/{name}/cached"][row, step]
    noise = max(float(np.abs(rounded - logits).max()), EPSILON * float(np.abs(logits).max()))
    return float(logits.max() - logits[list(chosen)].min()), MAX_FACTOR * noise


def _beam_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return the nearest decision of a row's search in float64, in units of what a sum of so many steps may be off by.

    What a search drops early may come up late, so every decision counts, whichever token it shows in.
    """
    margins = reference.arrays[f"{name}/margins"][row]
    sums = 2 * MAX_FACTOR * _noise(reference) * np.arange(1, len(margins) + 1)
    nearest = int(np.argmin(margins / sums))
    return float(margins[nearest]), float(sums[nearest])


def _noise(reference: Answer) -> float:
    """Return how far a logit of the reference's greedy search is off in float32, at its worst."""
    rounded, exact = (
        reference.arrays[f"{precision}/greedy/cached"] for precision in ("float32", "float64")
    )
    valid = reference.arrays["greedy/tokens"][:, : exact.shape[1]] >= 0
    return max(
        float(np.abs(rounded - exact)[valid].max()), EPSILON * float(np.abs(exact[valid]).max())
    )


def _own_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return the nearest decision of a model's own search in float64, in units of what one score may be off by.

    Of a greedy search that is the one at the step; of beams any, since what is dropped early may come up late. There
    is no gap where PyTorch itself chooses otherwise in float64 up to this step.
    """
    rounded, exact = _alike([reference.arrays[f"{name}/{kind}"] for kind in ("tokens", "exact")])
    if step < rounded.shape[1] and (rounded != exact)[row, : step + 1].any():
        return 0.0, 0.0
    margins = reference.arrays.get(f"{name}/margins")
    place = step if margins is not None and margins.shape[1] > 1 else 0
    if margins is None or place >= margins.shape[1]:  # of an older trace; or after the end
        return float("inf"), 0.0
    return float(margins[row, place]), MAX_FACTOR * _noise(reference)


@dataclass(frozen=True, slots=True)
class Measuring:
    """The answers of all sides to the same probes."""

    probes: Mapping[str, Array]
    places: Places
    source: Answer
    target: Answer
    reference: Answer
    """One of the two, or a third."""
    tolerance: Tolerance | None = None

    @property
    def judged(self) -> tuple[Side, ...]:
        """The sides that do not give the yardstick."""
        if self.reference is self.source:
            return ("target",)
        return ("source",) if self.reference is self.target else ("source", "target")

    def quantities(self) -> Iterator[Quantity]:
        """Compare, in the order of the data flow, what the reference has in float64 with every side's float32."""
        quantities = tuple(self._measured())
        crests: dict[str, float] = {}
        for quantity in quantities:
            if quantity.own and quantity.own.rms and np.isfinite(quantity.own.worst):
                # of what is almost exact, one element that is off stands far above the RMS, and means nothing
                crest = quantity.own.worst / max(quantity.own.rms, least(quantity.own))
                crests[quantity.kind] = max(crest, crests.get(quantity.kind, 0.0))
        for quantity in quantities:
            rms = quantity.own.rms if quantity.own else 0.0
            yield replace(quantity, peak=crests.get(quantity.kind, 0.0) * rms)

    def _measured(self) -> Iterator[Quantity]:
        """Compare each quantity by itself, on every core; what has none is said in a notice."""
        with workers() as pool:
            places = (rest.partition("/") for rest in self._names())
            measured = finish(
                [pool.submit(self._quantity, probe, name) for probe, _, name in places]
            )
        spread: dict[str, float] = {}
        for quantity in filter(None, measured):
            if quantity.name == "logits" and quantity.own:
                spread[quantity.probe] = quantity.own.rms
            floor = spread.get(quantity.probe, 0.0) if quantity.name == "loss" else 0.0
            yield replace(quantity, floor=floor)

    def not_compared(self) -> dict[str, list[str]]:
        """Return why -> the quantities that were left out for it, as `PROBE NAME`."""
        reasons: dict[str, list[str]] = {}
        for rest in self._names():
            probe, _, name = rest.partition("/")
            why = self._gap(probe, name)
            if why:
                reasons.setdefault(why, []).append(f"{probe} {name}")
        exact = {f"float32/{name}" for name in self._names()}
        unmeasured = {
            key
            for answer in self._sides()
            for key in answer.arrays
            if key.startswith("float32/") and key not in exact
        }
        names = sorted(key.partition("/")[2].replace("/", " ") for key in unmeasured)
        return reasons | ({"PyTorch's class does not report it": names} if names else {})

    def _sides(self) -> tuple[Answer, Answer, Answer]:
        return self.source, self.target, self.reference

    def _names(self) -> list[str]:
        """Return `PROBE/QUANTITY` of the reference."""
        keys = (key.partition("/") for key in self.reference.arrays)
        return [rest for precision, _, rest in keys if precision == "float64"]

    def _gap(self, probe: str, name: str) -> str:
        """Say why a quantity that is not a result cannot be compared; empty where it can."""
        key = f"{probe}/{name}"
        if name in RESULTS:
            return ""
        if any(f"float32/{key}" not in answer.arrays for answer in self._sides()):
            return "reported by some of the classes only"
        exact = self.reference.arrays[f"float64/{key}"]
        if self._valid(probe, name, exact) is None:
            return "their places are not the tokens', and some of them are padding"
        if name.endswith(MAPS) and any(
            answer.arrays[f"float32/{key}"].shape != exact.shape for answer in self._sides()
        ):
            return "the classes lay these attention maps out in different ways"
        return ""

    def _quantity(self, probe: str, name: str) -> Quantity | None:
        if self._gap(probe, name):
            return None
        exact = self.reference.arrays[f"float64/{probe}/{name}"]

        def failed(problem: str) -> Quantity:
            return Quantity(probe, name, None, None, None, self.judged, problem=problem)

        key = f"float32/{probe}/{name}"
        source, target, own = (answer.arrays.get(key) for answer in self._sides())
        if source is None or target is None or own is None:
            return failed("reported by one side only")
        valid = self._valid(probe, name, exact)
        if valid is None:
            return failed("fewer states than tokens, some of them padding")
        if name == "cached":  # one side may have come to its end sooner
            source, target, own, exact, valid = _shortest(source, target, own, exact, valid)
        if {array.shape for array in (source, target, own)} != {exact.shape}:
            return failed(
                f"the shapes differ: source {list(source.shape)}, target {list(target.shape)}"
            )
        if not valid.any():
            return None
        right = Exact.of(_chosen(exact, valid))

        def error(array: Array) -> Difference:
            return difference(_chosen(array, valid), right)

        measured = error(own)
        return Quantity(
            probe,
            name,
            measured if self.reference is self.source else error(source),
            measured if self.reference is self.target else error(target),
            measured,
            self.judged,
            tolerance=self.tolerance,
        )

    def _valid(self, probe: str, name: str, exact: Array) -> Array | None:
        """Return which places of a quantity count, shape (batch, length), or () for a single number.

        Those of `Places.valid`; of cached steps, those that all sides computed from the same tokens.
        """
        if name == "cached":
            tokens = [answer.arrays[f"{probe}/tokens"] for answer in self._sides()]
            return agreed(tokens)[:, : exact.shape[1]]
        return self.places.valid(batch_of(self.probes, probe), name, exact.shape)


def _shortest(*arrays: Array) -> tuple[Array, ...]:
    """Return as many steps of each array, shape (rows, steps, ...), as all of them have."""
    steps = min(array.shape[1] for array in arrays)
    return tuple(array[:, :steps] for array in arrays)


def _chosen(array: Array, valid: Array) -> Array:
    """Return the elements of valid places; of attention maps (batch, heads, queries, keys), those of valid queries."""
    if valid.ndim == 0:
        return np.atleast_1d(array)
    if array.ndim == 4 and valid.shape == (array.shape[0], array.shape[2]):
        array = array.transpose(0, 2, 1, 3)
    return np.asarray(array[valid])
