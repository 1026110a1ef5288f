"""The vocabulary in which families say what a model is made of, and the tensors that come of it in every naming.

A *module* is a layer at a path: a linear map, a norm, an embedding. A family lists modules and knows no framework; a
*naming* (see `namings/`) knows how one framework spells and stores each kind. Their product are *schema tensors*: one
logical tensor each, with its name and its axes in every naming. Sizes are apart from axis labels on purpose: a square
matrix `d d` could not say which axis is which, and square matrices are where a forgotten transpose passes every shape
check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.schema.formulas import Formula, Zeros

NamingName: TypeAlias = Literal["pytorch", "tf", "flax"]
NAMING_NAMES: tuple[NamingName, ...] = ("pytorch", "tf", "flax")

Path: TypeAlias = tuple[str, ...]

INDEX_DTYPES: Mapping[NamingName, str] = {"pytorch": "int64", "tf": "int32", "flax": "int32"}
MAX_LAYERS = 10_000
"""The deepest models have some hundred."""


@dataclass(frozen=True, slots=True)
class Module:
    """One layer of a model, in every naming."""

    kind: str
    """A key of each naming's table of kinds: linear, norm, embedding ..."""
    paths: Mapping[NamingName, Path]
    """Where it sits in each naming, level by level; a naming that lacks it is absent."""
    sizes: Mapping[str, int]
    """Axis label -> length."""
    roles: tuple[str, ...]
    """Its tensors: weight, bias. A `parameter` has the one role `value`."""
    presence: Literal["required", "zeros", "made", "dropped"] = "required"
    """What an absent tensor means: an error; or zeros in the target, and said; or the values of
    `formula`, which some classes store and others compute; or nothing, because it is a buffer that
    every model makes anew and no target gets."""
    formula: Formula | None = None
    """For what is `made`: its values. A target without a place for it holds no others."""
    computed_by: tuple[NamingName, ...] = ()
    """Namings that spell a tensor which their class computes: read where a file has it, never written."""
    why: str = ""
    """For what is not required: the reason, as shown to the user."""
    part: str = ""
    """Which part of the whole it belongs to: encoder, cross-attention, decoder, head, bridge."""
    tied_to: str | None = None
    """PyTorch path of the module whose tensors these repeat."""
    tied: bool = False
    """True: one tensor with two names, so it may be stored once and is written once.
    False: a tensor of its own, that a naming without a place for it holds only when equal."""
    repeated_by: tuple[NamingName, ...] = ()
    """Namings that store a tied tensor once more under this name, where PyTorch has one with two names."""
    drawn_by: tuple[NamingName, ...] = ()
    """Namings whose class draws a tied tensor anew where a file lacks this name, whatever else has its values."""
    copied: bool = False
    """True: one tensor in PyTorch, but a copy of its own in every target: a shared encoder."""


def level(text: str | Path) -> Path:
    """Return the levels of a path written with dots; `()` for an empty one."""
    if isinstance(text, tuple):
        return text
    return tuple(text.split(".")) if text else ()


def _module(kind: str, path: str, sizes: Mapping[str, int], roles: tuple[str, ...]) -> Module:
    return Module(kind, dict.fromkeys(NAMING_NAMES, level(path)), sizes, roles)


def linear(path: str, out: int, inp: int, *, bias: bool = True) -> Module:
    """A dense layer, y = W x + b, with W of shape (out, inp)."""
    return _module(
        "linear", path, {"out": out, "in": inp}, ("weight", "bias") if bias else ("weight",)
    )


def conv1d(path: str, out: int, inp: int) -> Module:
    """GPT-2's `Conv1D`: a dense layer that PyTorch and TF store as (in, out), Flax as (out, in)."""
    return _module("conv1d", path, {"out": out, "in": inp}, ("weight", "bias"))


def norm(path: str, dim: int) -> Module:
    """A layer norm over `dim` features: gain and offset."""
    return _module("norm", path, {"dim": dim}, ("weight", "bias"))


def affine(path: str, dim: int) -> Module:
    """Gain and offset alone, where another config would norm: MobileBERT's `NoNorm`."""
    return _module("affine", path, {"dim": dim}, ("weight", "bias"))


def grouped_linear(path: str, out: int, inp: int, groups: int) -> Module:
    """A dense layer of `groups` blocks on the diagonal, each from its share of the inputs to that of the outputs."""
    sizes = {"group": groups, "in": inp // groups, "out": out // groups, "outs": out}
    return _module("grouped_linear", path, sizes, ("weight", "bias"))


def separable_conv(path: str, out: int, inp: int, kernel: int) -> Module:
    """A convolution of each input by itself along the sequence, then a dense layer over the inputs."""
    sizes = {"out": out, "in": inp, "kernel": kernel}
    return _module("separable_conv", path, sizes, ("depthwise", "pointwise", "bias"))


def convolution(path: str, out: int, inp: int, kernel: int, *, bias: bool = True) -> Module:
    """A convolution along the sequence, from all inputs to all outputs."""
    sizes = {"out": out, "in": inp, "kernel": kernel}
    return _module("convolution", path, sizes, ("weight", "bias") if bias else ("weight",))


def weight_norm_conv(path: str, out: int, inp: int, kernel: int, groups: int) -> Module:
    """A convolution in groups along the sequence, whose weight is a direction times a gain for each of `kernel`.

    torch 2 stores both as a parametrization, and before it as `weight_g` and `weight_v`. TF has no class with it.
    """
    sizes = {"out": out, "in": inp // groups, "kernel": kernel}
    module = _module("weight_norm_conv", path, sizes, ("bias", "gain", "direction"))
    return replace(module, paths={"pytorch": level(path), "flax": level(path)})


def conv2d(path: str, out: int, inp: int, high: int, wide: int, *, bias: bool = True) -> Module:
    """A convolution over an image: the projection of patches."""
    sizes = {"out": out, "in": inp, "high": high, "wide": wide}
    return _module("conv2d", path, sizes, ("weight", "bias") if bias else ("weight",))


def embedding(path: str, row: int, dim: int) -> Module:
    """A table of `row` vectors of `dim` features."""
    return _module("embedding", path, {"row": row, "dim": dim}, ("weight",))


def word_embedding(path: str, row: int, dim: int) -> Module:
    """An embedding that TF's families make by hand and so spell otherwise (`weight`)."""
    return _module("word_embedding", path, {"row": row, "dim": dim}, ("weight",))


def shared_embedding(path: str, row: int, dim: int) -> Module:
    """The embedding that encoder, decoder and head of one piece share; TF once called it `weight`."""
    return _module("shared_embedding", path, {"row": row, "dim": dim}, ("weight",))


def gain(path: str, dim: int) -> Module:
    """A norm that has a gain alone, which every naming calls `weight`: T5's."""
    return parameter(f"{path}.weight", dim=dim)


def parameter(path: str, **sizes: int) -> Module:
    """A bare tensor that is no layer's weight; the last level of the path is its name.

    The keywords are its axes in PyTorch's order; every naming keeps that order.
    """
    return _module("parameter", path, sizes, ("value",))


def index(path: str, **sizes: int) -> Module:
    """Integers that follow from the config, and that a class stores all the same. The keywords are its axes."""
    return _module("index", path, sizes, ("value",))


def buffer(path: str, why: str) -> Module:
    """A PyTorch buffer that old versions saved and every model makes anew: read past, with a reason."""
    return Module("buffer", {"pytorch": level(path)}, {}, ("value",), presence="dropped", why=why)


Modules: TypeAlias = Iterable[Module]


def unread(modules: Modules, why: str) -> Iterator[Module]:
    """Mark modules that old files hold and no class reads: read past in every naming, with a reason."""
    return (replace(module, presence="dropped", why=why) for module in modules)


def computed(
    modules: Modules, formula: Formula, *, why: str, by: Iterable[NamingName] = ()
) -> Iterator[Module]:
    """Mark modules whose values a formula gives: where a class stores them they are written, absent or not.

    `by` names the namings that spell them but whose class computes them.
    """
    return (
        replace(module, presence="made", formula=formula, why=why, computed_by=tuple(by))
        for module in modules
    )


def zeros_in(naming: NamingName, modules: Modules, why: str) -> Iterator[Module]:
    """Modules that one naming's class always has and the others lack: zeros there, and nothing else."""
    return computed(only_in(naming, modules), Zeros(), why=why)


def under(
    path: str, modules: Modules, *, tf: str | Path | None = None, flax: str | Path | None = None
) -> tuple[Module, ...]:
    """Put modules below `path`; `tf` and `flax` are that naming's spelling where it differs.

    A spelling with a dot inside a level is given level by level: `("ffn.0",)`.

    An empty path adds no level, so `under("", base, tf="bert")` is the extra level of TF's main layer.
    """
    levels: dict[NamingName, Path] = {
        "pytorch": level(path),
        "tf": level(path if tf is None else tf),
        "flax": level(path if flax is None else flax),
    }

    def moved(module: Module) -> Module:
        paths = {naming: levels[naming] + rest for naming, rest in module.paths.items()}
        tied_to = (
            module.tied_to
            if module.tied_to is None
            else ".".join((*levels["pytorch"], module.tied_to))
        )
        return replace(module, paths=paths, tied_to=tied_to)

    return tuple(moved(module) for module in modules)


def layers(path: str, count: int, modules: Modules) -> Iterator[Module]:
    """Repeat modules as `path.0`, `path.1` ... (TF spells the numbers its own way).

    Raises: SourceError: more layers than any model has; a hostile config would fill the memory.
    """
    if count > MAX_LAYERS:
        raise SourceError(
            f"the config asks for {count} layers of {path}; ckptconv takes at most {MAX_LAYERS}"
        )
    once = tuple(modules)
    for index in range(count):
        yield from under(f"{path}.{index}", once)


def zeros_if_absent(modules: Modules, why: str) -> Iterator[Module]:
    """Mark modules that a checkpoint may lack and whose values cannot matter; the target gets zeros."""
    return (replace(module, presence="zeros", why=why) for module in modules)


def only_in(naming: NamingName, modules: Modules) -> Iterator[Module]:
    """Leave modules to one naming: the others have no place for them and do not need them."""
    return (replace(module, paths={naming: module.paths[naming]}) for module in modules)


def held_by(namings: Iterable[NamingName], modules: Modules) -> Iterator[Module]:
    """Leave modules to some namings: the others have no place for them."""
    keep = set(namings)
    for module in modules:
        paths = {naming: path for naming, path in module.paths.items() if naming in keep}
        yield replace(module, paths=paths)


def part(name: str, modules: Modules) -> Iterator[Module]:
    """Say which part of the whole modules belong to, unless they say it themselves."""
    return (module if module.part else replace(module, part=name) for module in modules)


def repeats(
    module: Module,
    of: str,
    *,
    tied: bool,
    held_by: Iterable[NamingName] = NAMING_NAMES,
    repeated_by: Iterable[NamingName] = (),
    drawn_by: Iterable[NamingName] = (),
) -> Module:
    """Mark a module whose tensors repeat those of the module at `of` (a path beside it).

    `held_by` names the namings that have a place for it when it is not tied, `repeated_by` those whose class
    has it whatever the config says of ties, `drawn_by` those whose class reads no other name in its place.
    """
    keep = set(held_by)
    paths = {naming: path for naming, path in module.paths.items() if naming in keep}
    return replace(
        module,
        paths=paths,
        tied_to=of,
        tied=tied,
        repeated_by=tuple(repeated_by),
        drawn_by=tuple(drawn_by),
    )


def copies(modules: Modules, of: Mapping[Path, Module]) -> Iterator[Module]:
    """Mark the modules that share their tensors with a module of the other side, by PyTorch path.

    Source: `_tie_encoder_decoder_weights` in modeling_utils.py: it walks both sides by name and shares
    what is called weight or bias.
    """
    for module in modules:
        twin = of.get(module.paths.get("pytorch", ()))
        if (
            twin is None
            or module.presence == "dropped"
            or module.kind == "parameter"
            or twin.sizes != module.sizes
        ):
            yield module
        else:
            yield replace(module, tied_to=".".join(twin.paths["pytorch"]), copied=True)


@dataclass(frozen=True, slots=True)
class Leaf:
    """How a naming spells and stores one tensor of one kind of module."""

    names: tuple[str, ...]
    """The first is written; the others are old spellings that are read as well."""
    axes: tuple[str, ...]
    """Axis labels in storage order; `1` is an axis of length one."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How one framework spells and stores every kind of module."""

    name: NamingName
    separator: str
    number: str
    """How a layer number follows its list's name: `{}.{}`, `{}_._{}`, `{}/{}`."""
    suffix: str
    kinds: Mapping[tuple[str, str], Leaf]
    """(kind, role) -> leaf."""

    def spell(self, path: Path, leaves: Iterable[str]) -> tuple[str, ...]:
        """Return the full tensor names of leaves below a path."""
        levels: list[str] = []
        for step in path:
            if step.isdigit() and levels:
                levels[-1] = self.number.format(levels[-1], step)
            else:
                levels.append(step)
        return tuple(
            self.separator.join([*levels, leaf] if leaf else levels) + self.suffix
            for leaf in leaves
        )


def kinds(text: str) -> dict[tuple[str, str], Leaf]:
    """Parse a naming's table: `kind role leaf[|old spelling] axes...`, one line each.

    A leaf of `-` means that the module's path is the whole name; axes of `*` keep PyTorch's order.
    """
    table = {}
    for line in text.strip().splitlines():
        kind, role, names, *axes = line.split()
        table[kind, role] = Leaf(
            tuple("" if name == "-" else name for name in names.split("|")), tuple(axes)
        )
    return table


@dataclass(frozen=True, slots=True)
class Spelling:
    """One tensor in one naming."""

    names: tuple[str, ...]
    """The first is written; all are read."""
    axes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SchemaTensor:
    """One logical tensor: its name and axes in each naming, and what its absence means."""

    key: str
    """PyTorch's name, or that of the one naming that has it; identifies the tensor."""
    sizes: Mapping[str, int]
    spellings: Mapping[NamingName, Spelling]
    module: Module = field(repr=False)
    tied_to: str | None = None
    """Key of the tensor that this one repeats."""

    @property
    def shares(self) -> bool:
        """True where this is the same tensor as the one it is tied to, so that either will do."""
        return self.tied_to is not None and (self.module.tied or self.module.copied)

    @property
    def required(self) -> bool:
        """True where a checkpoint must hold the values, under this name or one that shares them."""
        return self.module.presence == "required" and not self.module.tied

    def integers(self, naming: NamingName) -> str:
        """Return the dtype in which a naming stores it, where it holds integers; empty where it holds floats."""
        return INDEX_DTYPES[naming] if self.module.kind == "index" else ""

    @property
    def is_buffer(self) -> bool:
        """True where every model makes the values anew, so that no target gets them."""
        return self.module.presence == "dropped"

    @property
    def layer(self) -> int | None:
        """Number of its layer: the first of its path; None for what lies in none."""
        return next((int(level) for level in self.key.split(".") if level.isdigit()), None)

    @property
    def is_embedding(self) -> bool:
        """True for what lies before all layers: tables of vectors, and what stands beside them."""
        return "embedding" in self.module.kind or "embeddings" in self.key.split(".")

    def names_in(self, naming: NamingName) -> tuple[str, ...]:
        """Return the names under which a naming stores it, today's first; none where it has no place for it."""
        return self.spellings[naming].names if naming in self.spellings else ()

    def is_written_in(self, naming: NamingName) -> bool:
        """Tell whether a target holds it: there is a place, and no other tensor stands for it."""
        once = self.tied_to and self.module.tied and naming not in self.module.repeated_by
        stored = naming in self.spellings and naming not in self.module.computed_by
        return stored and not self.is_buffer and not once

    def shape(self, naming: NamingName) -> tuple[int, ...]:
        """Return the shape that `naming` stores."""
        return tuple(1 if axis == "1" else self.sizes[axis] for axis in self.spellings[naming].axes)


class Spellings(Mapping[NamingName, Spelling]):
    """How one tensor is spelt in each naming that has it; worked out where it is asked for.

    Most runs ask for two of the three namings or one, and of 100,000 tensors each takes 50 MB.
    """

    __slots__ = ("_module", "_namings", "_role", "_spelt")

    def __init__(self, module: Module, role: str, namings: Mapping[NamingName, Naming]) -> None:
        self._module, self._role, self._namings = module, role, namings
        self._spelt: tuple[tuple[NamingName, Spelling], ...] = ()

    def __getitem__(self, name: NamingName) -> Spelling:
        for spelt, spelling in self._spelt:
            if spelt == name:
                return spelling
        path, naming = self._module.paths[name], self._namings[name]
        leaf = naming.kinds[self._module.kind, self._role]
        axes = tuple(self._module.sizes) if leaf.axes == ("*",) else leaf.axes
        spelling = Spelling(naming.spell(path, leaf.names), axes)
        self._spelt += ((name, spelling),)
        return spelling

    def __contains__(self, name: object) -> bool:
        return name in self._module.paths

    def __iter__(self) -> Iterator[NamingName]:
        return iter(self._module.paths)

    def __len__(self) -> int:
        return len(self._module.paths)


def expand(modules: Modules, namings: Mapping[NamingName, Naming]) -> tuple[SchemaTensor, ...]:
    """Return every tensor of the modules, spelled in every naming."""
    namings = dict(namings)  # of a registry, which looks for each name anew
    return tuple(_row(module, role, namings) for module in modules for role in module.roles)


def _row(module: Module, role: str, namings: Mapping[NamingName, Naming]) -> SchemaTensor:
    home = namings["pytorch" if "pytorch" in module.paths else next(iter(module.paths))]
    spellings = Spellings(module, role, namings)
    key = spellings[home.name].names[0]
    tied_to = None
    if module.tied_to is not None:
        leaf = home.kinds[module.kind, role].names[0]
        (tied_to,) = home.spell(level(module.tied_to), (leaf,))
    return SchemaTensor(key, module.sizes, spellings, module, tied_to)
