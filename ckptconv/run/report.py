"""What running both models showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptconv.run.answers import Answer
from ckptconv.run.coverage import Coverage
from ckptconv.run.runners import Array
from ckptconv.run.tokens import Generation
from ckptconv.run.yardstick import Quantity


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """Every quantity and every generated token, judged; and what each side answered."""

    quantities: tuple[Quantity, ...]
    """In the order of the data flow, probe by probe."""
    generations: tuple[Generation, ...]
    texts: tuple[tuple[str, str, str], ...]
    """Text, the source's answer, the target's answer."""
    loading: tuple[str, ...]
    """Tensors that the target's class missed, did not expect, or found in another shape."""
    notices: tuple[str, ...]
    """What was left out, chosen, or done otherwise than a user might think: one sentence each."""
    source: Answer
    target: Answer
    reference: Answer
    """PyTorch's: the source's or the target's own, or that of a temporary conversion of the source."""
    probes: Mapping[str, Array]
    """As `Modality.make_probes` returns them."""
    coverage: Coverage | None = None
    """Which elements of the weights had an influence on all this; None where it was not measured."""

    @property
    def matches(self) -> bool:
        """True where something was compared, and everything that was matches."""
        return (
            bool(self.quantities)
            and all(quantity.matches for quantity in self.quantities)
            and all(generation.matches for generation in self.generations)
            and all(source == target for _, source, target in self.texts)
            and not self.loading
        )

    @property
    def outside(self) -> tuple[Quantity, ...]:
        """The quantities that do not match; the first is where the data flow leaves the yardstick."""
        return tuple(quantity for quantity in self.quantities if not quantity.matches)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Each side's answer, and PyTorch's where it is a third one."""
        sides = (self.source, self.target)
        return sides if any(side is self.reference for side in sides) else (*sides, self.reference)
