"""From what the children answered to quantities: which elements count, and how far each side is from float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ckptconv.compare.difference import Difference, difference
from ckptconv.run.answers import Answer
from ckptconv.run.places import MAPS, Places
from ckptconv.run.runners import Array, Batch
from ckptconv.run.tokens import agreed
from ckptconv.run.yardstick import RESULTS, Quantity, Side, Tolerance


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
        spread: dict[str, float] = {}
        for rest in self._names():
            probe, _, name = rest.partition("/")
            floor = spread.get(probe, 0.0) if name == "loss" else 0.0
            quantity = self._quantity(probe, name, floor)
            if quantity is None:
                continue  # and said in a notice
            if name == "logits" and quantity.own:
                spread[probe] = quantity.own.rms
            yield quantity

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
            return "fewer places than tokens, some of them padding"
        if name.endswith(MAPS) and any(
            answer.arrays[f"float32/{key}"].shape != exact.shape for answer in self._sides()
        ):
            return "the classes lay these attention maps out in different ways"
        return ""

    def _quantity(self, probe: str, name: str, floor: float) -> Quantity | None:
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
        right = _chosen(exact, valid)

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
            floor,
            self.tolerance,
        )

    def _valid(self, probe: str, name: str, exact: Array) -> Array | None:
        """Return which places of a quantity count, shape (batch, length), or () for a single number.

        Those of `Places.valid`; of cached steps, those that all sides computed from the same tokens.
        """
        if name == "cached":
            tokens = [answer.arrays[f"{probe}/tokens"] for answer in self._sides()]
            return agreed(tokens)[:, : exact.shape[1]]
        return self.places.valid(self._batch(probe), name, exact.shape)

    def _batch(self, probe: str) -> Batch:
        """Return the inputs of one probe."""
        inputs = ((key.partition("."), array) for key, array in self.probes.items())
        return {name: array for (own, _, name), array in inputs if own == probe}


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
