"""Which modules look as their class made them: a cross-attention that was never trained is the commonest mistake.

A module looks new when every tensor of it is what an initialisation leaves behind:

- its weights have the mean, spread and shape (kurtosis, bounds) of one of the draws below, each within 5 standard
  errors of what so many drawn elements would show; rows of zeros, as of a padding token, are left out;
- its biases are exactly 0; or, for torch's own linear layers, within the bounds of the weights' draw;
- the gain of a norm is exactly 1 and its offset exactly 0.

One step of any optimizer moves a bias off 0, so the first alone decides only for layers without a bias, and of
at least 4,096 elements. A norm or a table of embeddings tells nothing by itself (of a table of positions, only the
rows of short texts are ever trained): it counts where layers beside it are new.

Draws, with S = `initializer_range` or `init_std` of the side's config, in the classes of transformers 4.57.6:
N(0, S) everywhere; N(0, S / sqrt(2 layers)) for GPT-2's output projections; N(0, S) cut at 2 S in TF's classes;
U(-b, b) with b = 1 / sqrt(inputs) in a bare `torch.nn.Linear`; a cut normal of spread b in a bare `flax.linen.Dense`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt

from ckptconv.compare.statistics import Statistics
from ckptconv.schema.config import Config
from ckptconv.schema.tensors import SchemaTensor

DEFAULT_RANGE = 0.02
"""`initializer_range` of nearly all config classes."""
ERRORS = 5.0
"""Standard errors: one in 1.7 million draws is farther off."""
SLACK = 0.002
"""Relative, for what rounding to float16 or bfloat16 does to a spread."""
ENOUGH = 4096
"""Elements from which the weights alone decide; the spread is then known to 1.1 % and the kurtosis to 0.08."""
PADDING = 0.05
"""Share of zeros that a padding row may make."""
NORMS, TABLES = ("norm", "affine"), ("embedding", "word_embedding")
UNIFORM = 1.8
"""Kurtosis of a uniform draw."""
CUT = 0.8796, 2.3655
"""Spread and kurtosis of a standard normal cut at 2."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How weights begin."""

    name: str
    """As shown to the user: `N(0, 0.02)`."""
    std: float
    kurtosis: float
    bound: float | None = None
    """Largest absolute value that it can give; None: any."""

    @property
    def uniform(self) -> bool:
        """True for torch's own layers, which draw their biases too."""
        return self.kurtosis == UNIFORM


@dataclass(frozen=True, slots=True)
class NewModule:
    """A module that looks as its class made it."""

    path: str
    """In PyTorch's spelling."""
    part: str
    rows: tuple[SchemaTensor, ...]
    draw: Draw | None
    """None for a norm, whose values are not drawn."""

    @property
    def decides(self) -> bool:
        """True where this module by itself shows that it was not trained."""
        return is_decisive(self.rows[0])


def is_decisive(row: SchemaTensor) -> bool:
    """Tell whether a row's module is one by which new weights are recognised: a layer with weights."""
    matters = row.module.presence == "required" and not row.shares
    return matters and row.module.kind not in (*NORMS, *TABLES, "parameter")


def new_modules(
    rows: Iterable[SchemaTensor], statistics: Mapping[str, Statistics], sides: Mapping[str, Config]
) -> Iterator[NewModule]:
    """Return the modules that look new, in the tables' order.

    Args: statistics: by row key. sides: `encoder` and `decoder`, or one of them.
    """
    for path, module in _modules(rows).items():
        by_role = {row.key.rpartition(".")[2]: statistics.get(row.key) for row in module}
        measured = {
            role: figures
            for role, figures in by_role.items()
            if figures is not None and figures.numel
        }
        if len(measured) < len(module):
            continue
        if module[0].module.kind in NORMS:
            if _is_norm(measured):
                yield NewModule(path, module[0].module.part, module, None)
            continue
        draw = next(
            (figures for figures in _draws(module, sides) if _fits(figures, measured)), None
        )
        if draw:
            yield NewModule(path, module[0].module.part, module, draw)


def _modules(rows: Iterable[SchemaTensor]) -> dict[str, tuple[SchemaTensor, ...]]:
    """Group the rows whose values matter and are their own by module; bare parameters are left out."""
    modules: dict[str, tuple[SchemaTensor, ...]] = {}
    for row in rows:
        if row.module.presence == "required" and not row.shares and row.module.kind != "parameter":
            path = row.key.rpartition(".")[0]
            modules[path] = (*modules.get(path, ()), row)
    return modules


def _is_norm(figures: Mapping[str, Statistics]) -> bool:
    """Tell whether a gain is 1 throughout, and an offset 0."""
    return all(
        tensor.constant and tensor.minimum == (role != "bias") for role, tensor in figures.items()
    )


def _draws(module: Sequence[SchemaTensor], sides: Mapping[str, Config]) -> Iterator[Draw]:
    """Return every draw that this module's class may have used."""
    side = "encoder" if module[0].module.part == "encoder" else "decoder"
    config = sides.get(side) or next(iter(sides.values()))
    sizes = module[0].sizes
    for spread in dict.fromkeys((_range(config), DEFAULT_RANGE)):
        yield Draw(f"N(0, {spread:g})", spread, 3.0)
        yield Draw(f"N(0, {spread:g}) cut at {2 * spread:g}", CUT[0] * spread, CUT[1], 2 * spread)
        layers = config.get("num_hidden_layers")
        if isinstance(layers, int) and layers > 0:
            yield Draw(f"N(0, {spread:g} / sqrt({2 * layers}))", spread / sqrt(2 * layers), 3.0)
    if module[0].module.kind == "linear":
        bound = 1 / sqrt(max(1, sizes["in"]))
        yield Draw(f"U(-{bound:.3g}, {bound:.3g})", bound / sqrt(3), UNIFORM, bound)
        yield Draw(f"N(0, {bound:.3g}) cut", bound, CUT[1], 2 * bound / CUT[0])


def _range(config: Config) -> float:
    """Return the spread that a config asks for."""
    for key in ("initializer_range", "init_std"):
        value = config.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    return DEFAULT_RANGE


def _fits(draw: Draw, figures: Mapping[str, Statistics]) -> bool:
    """Tell whether all tensors of a module are what a draw leaves."""
    weights = [tensor for role, tensor in figures.items() if role != "bias"]
    bias = figures.get("bias")
    if not all(_drawn(draw, tensor) for tensor in weights):
        return False
    if bias is None:
        return all(tensor.numel >= ENOUGH for tensor in weights)
    if bias.constant and bias.minimum == 0:
        return True
    ample = draw.uniform and all(tensor.numel >= ENOUGH for tensor in weights)
    return ample and _within(draw, bias) and not bias.constant


def _drawn(draw: Draw, figures: Statistics) -> bool:
    """Tell whether a tensor's mean, spread, kurtosis and bounds are those of so many drawn elements."""
    drawn = figures.numel - figures.zeros
    if (
        not figures.finite
        or figures.constant
        or drawn < (1 - PADDING) * figures.numel
        or not _within(draw, figures)
    ):
        return False
    share = drawn / figures.numel
    std, kurtosis = figures.std / sqrt(share), figures.kurtosis * share
    mean_error = draw.std / sqrt(drawn)
    std_error = draw.std * sqrt((draw.kurtosis - 1) / (4 * drawn))
    kurtosis_error = sqrt(24 / figures.sampled)
    return (
        abs(figures.mean) <= ERRORS * mean_error
        and abs(std - draw.std) <= ERRORS * std_error + SLACK * draw.std
        and not isnan(kurtosis)
        and abs(kurtosis - draw.kurtosis) <= ERRORS * kurtosis_error
    )


def _within(draw: Draw, figures: Statistics) -> bool:
    """Tell whether no element is farther out than a draw can give, but for rounding."""
    return draw.bound is None or max(-figures.minimum, figures.maximum) <= draw.bound * (
        1 + SLACK * 2
    )
