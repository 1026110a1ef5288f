"""Modules x namings: how a framework spells and stores each kind of module, and the tensors that come of it.

A schema tensor is one logical tensor, with its name and its axes in every naming. Sizes are apart from axis labels
on purpose: a square matrix `d d` could not say which axis is which, and square matrices are where a
forgotten transpose passes every shape check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptconv.schema.vocabulary import Module, Modules, NamingName, Path, level


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

    def spell(self, path: Path, leaf: str) -> str:
        """Return the full tensor name of a leaf below a path."""
        levels: list[str] = []
        for step in path:
            if step.isdigit() and levels:
                levels[-1] = self.number.format(levels[-1], step)
            else:
                levels.append(step)
        return self.separator.join([*levels, leaf] if leaf else levels) + self.suffix


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


def expand(modules: Modules, namings: Mapping[NamingName, Naming]) -> tuple[SchemaTensor, ...]:
    """Return every tensor of the modules, spelled in every naming."""
    return tuple(_row(module, role, namings) for module in modules for role in module.roles)


def _row(module: Module, role: str, namings: Mapping[NamingName, Naming]) -> SchemaTensor:
    spellings: dict[NamingName, Spelling] = {}
    for name, path in module.paths.items():
        naming = namings[name]
        leaf = naming.kinds[module.kind, role]
        axes = tuple(module.sizes) if leaf.axes == ("*",) else leaf.axes
        spellings[name] = Spelling(
            tuple(naming.spell(path, spelling) for spelling in leaf.names), axes
        )
    home = namings["pytorch" if "pytorch" in module.paths else next(iter(module.paths))]
    leaf_name = home.kinds[module.kind, role].names[0]
    key = home.spell(module.paths[home.name], leaf_name)
    tied_to = module.tied_to and home.spell(level(module.tied_to), leaf_name)
    return SchemaTensor(key, module.sizes, spellings, module, tied_to)
