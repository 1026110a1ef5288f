"""A schema laid on a store: which stored tensor is which tensor of the model. The only matcher there is.

It never refuses: what is missing, left over, misshapen or stored twice is part of the answer, and whoever asks decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ckptconv.base.errors import Problem
from ckptconv.schema.fixes import Healed, RowRange, abreast
from ckptconv.schema.model import Model, applied_fixes
from ckptconv.schema.tensors import NamingName, SchemaTensor
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.tensor import FLOATS, INTEGERS, Stored

WRAPPING = frozenset(
    {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module", "module"}
)
"""Levels that a wrapper of a module puts into names: torch.compile, activation checkpointing, FSDP, DeepSpeed, DDP."""
TIED = "the config ties them, so the model has only one of them"
MADE_OF_ONE_ROW = (
    "healing made them of one row, and only equal rows can be made one again;"
    " `ckptconv flax2pt --take-trained-row` takes the first, which is the one that Flax trains"
)


@dataclass(frozen=True, slots=True)
class Equality:
    """Two tensors of the source that must hold the same bytes for the plan to be right."""

    first: Stored
    second: Stored
    kind: Literal["not equal", "cannot hold"]
    """What it means if they do not: the source contradicts itself, or the target has no place."""
    why: str


@dataclass(slots=True)
class Binding:
    """A schema laid on a store."""

    naming: NamingName
    tensors: Mapping[str, SchemaTensor]
    """The schema, by key."""
    names: Mapping[str, tuple[str, ...]]
    """Key -> the names that the tensor may have in the store; the first is today's."""
    fixes: Mapping[str, Healed]
    """Key -> what was mended in the store."""
    stored: dict[str, Stored] = field(default_factory=dict)
    """Key -> the tensor stored under one of its own names."""
    unknown: dict[str, Stored] = field(default_factory=dict)
    """What is left over, by name."""
    duplicates: list[Problem] = field(default_factory=list)
    """Tensors stored under two spellings."""
    wrapper: str = ""
    """What stands before every name and belongs to none, such as `module.`."""
    inner_wrappers: set[str] = field(default_factory=set)
    """Levels within names that wrap a part of the model."""
    sharers: dict[str, list[str]] = field(default_factory=dict)
    """Key -> keys of the tensors that share its values."""

    def wrapper_notices(self) -> Iterator[str]:
        """Say what was taken off the names: a sentence for what stands before them, and one for what stands within."""
        if self.wrapper:
            whole = all(name.startswith(self.wrapper) for name in self.unknown)
            names = "every name begins" if whole else "the model's names begin"
            yield f"{names} with {self.wrapper!r}, which wraps the model: taken off"
        if self.inner_wrappers:
            levels = ", ".join(map(repr, sorted(self.inner_wrappers)))
            yield f"names hold {levels}, which wraps a part of the model: taken out"

    def owner(self, key: str) -> str | None:
        """Return the key under which the values of a tensor are stored: its own, or one that shares or repeats it."""
        if key in self.stored:
            return key
        tensor = self.tensors.get(key)
        keys = [key]
        if tensor and tensor.tied_to and (tensor.shares or not self.names[key]):
            keys.append(tensor.tied_to)
        keys += [sharer for shared in tuple(keys) for sharer in self.sharers.get(shared, ())]
        return next((candidate for candidate in keys if candidate in self.stored), None)

    def source(self, key: str) -> Stored | None:
        """Return where the values of a tensor lie; None where the store has none."""
        owner = self.owner(key)
        return None if owner is None else self.stored[owner]

    def axes(self, key: str) -> tuple[str, ...]:
        """Return the axes of what holds a tensor's values, in the tensor's own labels."""
        tensor, owner = self.tensors[key], self.tensors[self.owner(key) or key]
        alike = tensor.module.kind == owner.module.kind and self.naming in tensor.spellings
        return tensor.spellings[self.naming if alike else "pytorch"].axes

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape that a tensor must have in the store."""
        shape = self.tensors[key].shape(self.naming)
        fix = self.fixes.get(key)
        return (fix.count, *shape[1:]) if fix else shape

    def misfits(self) -> Iterator[Problem]:
        """Return what the store holds and the schema does not, or not so."""
        for name, stored in self.unknown.items():
            yield Problem("unexpected", name, f"{stored.spec.dtype} {list(stored.spec.shape)}")
        yield from self.duplicates
        for key in self.stored:
            yield from self.misfit(key)

    def misfit(self, key: str) -> Iterator[Problem]:
        """Compare a stored tensor with what the config says of it; a buffer may be anything."""
        tensor, spec = self.tensors[key], self.stored[key].spec
        if tensor.is_buffer:
            return
        expected = self.shape(key)
        if spec.shape != expected:
            labels = ", ".join(tensor.spellings[self.naming].axes)
            yield Problem(
                "shape",
                spec.name,
                f"expected {list(expected)} ({labels}), found {list(spec.shape)}",
            )
        dtypes = INTEGERS if tensor.integers(self.naming) else FLOATS
        if spec.dtype not in dtypes:
            yield Problem(
                "dtype", spec.name, f"expected one of {', '.join(dtypes)}, found {spec.dtype}"
            )

    def missing(self, provided: Collection[str] = ()) -> Iterator[Problem]:
        """Return the tensors that must be there and are not, under any name that could stand for them.

        Args: provided: keys of what comes from elsewhere.
        """
        for key in self.absent():
            if key not in provided:
                yield Problem("missing", self.names[key][0], f"expected {list(self.shape(key))}")

    def absent(self) -> Iterator[str]:
        """Return the keys of the required tensors that have no values here."""
        for key, tensor in self.tensors.items():
            if tensor.required and self.names[key] and self.owner(key) is None:
                yield key

    def drawn(self) -> dict[str, str]:
        """Return the tensors that the store's class draws anew, and the name of what has their values, by name.

        The store lacks their name, and the class reads no other in its place.
        """
        return {
            self.names[key][0]: self.stored[owner].spec.name
            for key, tensor in self.tensors.items()
            if self.naming in tensor.module.drawn_by
            and key not in self.stored
            and (owner := self.owner(key)) is not None
        }

    def problems(self, provided: Collection[str] = ()) -> tuple[Problem, ...]:
        """Return everything for which a conversion refuses the store, sorted; none where it is complete."""
        return tuple(sorted([*self.misfits(), *self.missing(provided)]))

    def repeats(self) -> Iterator[Equality]:
        """Return the pairs in which the store holds one tensor of the model twice, so that both must be equal."""
        for key, tensor in self.tensors.items():
            first = tensor.tied_to
            if tensor.shares and first in self.stored and key in self.stored:
                for pair in self._one_tensor(first, key):
                    yield Equality(*pair, "not equal", TIED)
        for key in self.fixes:
            yield from self.repeated_rows(key)

    def repeated_rows(self, key: str) -> Iterator[Equality]:
        """Return the rows that a fix repeated in a table: only equal ones can be made one again."""
        fix = self.fixes.get(key)
        for run in fix.repeated if fix and key in self.stored else ():
            rows = self.stored[key].rows
            ends = rows(run.start, run.stop - 1), rows(run.start + 1, run.stop)
            yield Equality(*ends, "not equal", MADE_OF_ONE_ROW)

    def _one_tensor(self, first: str, second: str) -> Iterator[tuple[Stored, Stored]]:
        """Return what is one tensor of the model, as it lies in the store: whole, or the rows that a fix moved."""
        fixes = self.fixes.get(first), self.fixes.get(second)
        left, right = self.stored[first], self.stored[second]
        master, alias = self.tensors[first], self.tensors[second]
        if any(fixes):
            ranges = (
                fix.inverse if fix else (RowRange(0, tensor.shape(self.naming)[0]),)
                for fix, tensor in zip(fixes, (master, alias), strict=True)
            )
            for run, twin in abreast(*ranges):
                yield left.rows(run.start, run.stop), right.rows(twin.start, twin.stop)
        elif master.module.kind != alias.module.kind:  # embeddings, in PyTorch's order, and a head
            axes = alias.spellings
            yield left, right.reordered(axes[self.naming].axes, axes["pytorch"].axes)
        else:
            yield left, right


def bind(
    tensors: Iterable[SchemaTensor],
    store: Mapping[str, Stored],
    naming: NamingName,
    *,
    fixes: Iterable[Healed] = (),
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> Binding:
    """Lay a schema on a store.

    Args: store: name -> where the tensor lies. naming: in which the store's names are spelt.
    fixes: what was mended in it. names: key -> names, where they are not those of the whole model, as in a part alone.
    """
    schema = {tensor.key: tensor for tensor in tensors}
    spelt = names or {key: tensor.names_in(naming) for key, tensor in schema.items()}
    keys = _Keys(_keys(spelt))
    mended = {f"{fix.module}.weight": fix for fix in fixes}
    binding = Binding(naming, schema, spelt, {key: mended[key] for key in mended if key in schema})
    binding.wrapper = _wrapper(store, keys)
    for tensor in schema.values():
        if tensor.tied_to and tensor.shares:
            binding.sharers.setdefault(tensor.tied_to, []).append(tensor.key)
    for name, stored in store.items():
        name_alone = name.removeprefix(binding.wrapper)
        key = keys.of(name_alone)
        if key is not None and name_alone not in keys.exact:
            binding.inner_wrappers |= WRAPPING.intersection(name_alone.split("."))
        if key is None:
            binding.unknown[name] = stored
        elif key in binding.stored:
            twin = binding.stored[key].spec.name
            binding.duplicates.append(Problem("duplicate", name, f"the same tensor as {twin}"))
        else:
            binding.stored[key] = stored
    binding.duplicates += _rivals(binding, keys)
    return binding


def joined(tensors: Iterable[SchemaTensor], parts: Iterable[Binding]) -> Binding:
    """Return one binding of what several hold, under PyTorch's names of the whole and in its order of axes."""
    parts, schema = tuple(parts), {tensor.key: tensor for tensor in tensors}
    for part in parts:  # what is a part's tensor by another name has no place in the whole
        schema |= {key: tensor for key, tensor in part.tensors.items() if key not in schema}
    whole = bind(schema.values(), {}, "pytorch")
    for part in parts:
        for key, stored in part.stored.items():
            tensor = whole.tensors.get(key)
            if tensor is None or not tensor.names_in("pytorch"):
                continue
            axes = tensor.spellings["pytorch"].axes
            fits = not tensor.is_buffer and stored.spec.shape == part.shape(key)
            view = stored.reordered(part.axes(key), axes) if fits else stored
            whole.stored[key] = replace(view, spec=view.spec.renamed(tensor.names_in("pytorch")[0]))
    return whole


def excerpt(tensors: Iterable[SchemaTensor], whole: Binding, above: str = "") -> Binding:
    """Return a schema laid on some of what a whole model holds, whichever tensor of it has the values.

    Args: above: what stands before these names in the whole.
    """
    own = bind(tensors, {}, whole.naming)
    for key, tensor in own.tensors.items():
        stored = whole.source(above + key) if above + key in whole.tensors else None
        if stored is not None and not tensor.module.tied:
            own.stored[key] = stored
    return own


def _keys(names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return name -> key; of two tensors that may have one name, the one has it for which it is the better."""
    ranked = (
        (rank, name, key) for key, possible in names.items() for rank, name in enumerate(possible)
    )
    keys: dict[str, str] = {}
    for _, name, key in sorted(ranked, key=lambda entry: entry[0]):
        keys.setdefault(name, key)
    return keys


def bind_whole(model: Model, checkpoint: Checkpoint, fixes: Iterable[Healed] = ()) -> Binding:
    """Lay the schema of a whole model on a checkpoint, which may have been mended.

    Args: fixes: what was mended in it beside what its config records.
    Raises: SourceError: the config records a fix that the model does not have.
    """
    weights = checkpoint.weights
    fixes = (*applied_fixes(model, checkpoint.config), *fixes)
    return bind(model.tensors, weights.tensors, weights.naming, fixes=fixes)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Which tensor a name is, whatever wraps the modules that lead to it."""

    exact: Mapping[str, str]
    """Name -> key."""

    def of(self, name: str) -> str | None:
        """Return the key of a name as it stands, or without the levels that wrap modules; None where there is none."""
        key = self.exact.get(name)
        levels = name.split(".")
        if key is None and not WRAPPING.isdisjoint(levels):
            return self.exact.get(".".join(level for level in levels if level not in WRAPPING))
        return key


def names_alone(
    tensors: Iterable[SchemaTensor], part: str, base: str, separator: str, naming: NamingName
) -> dict[str, tuple[str, ...]]:
    """Return the names that a part's tensors have in a file of its own: with or without the base model's levels.

    Args: part: what stands before the part's names in the whole. base: the attribute that holds the base model, with
    dots where it lies deeper: each class of a family may begin at another level.
    separator: between the levels of a name.
    """
    above, levels = part + separator, base.split(".") if base else []
    starts = [separator.join([*levels[:count], ""]) for count in range(1, len(levels) + 1)]
    result = {}
    for tensor in tensors:
        whole = [name for name in tensor.names_in(naming) if name.startswith(above)]
        short = [name.removeprefix(above) for name in whole]
        bare = [name.removeprefix(start) for start in reversed(starts) for name in short]
        below = [starts[-1] + name.removeprefix(starts[-1]) for name in short] if starts else []
        result[tensor.key] = tuple(dict.fromkeys([*short, *bare, *below]))
    return result


def _wrapper(store: Mapping[str, Stored], keys: _Keys) -> str:
    """Return the levels that stand before the model's names and belong to none: what wraps a model puts them there.

    Only where no name is known as it stands, and none would be known without other levels: of two models in one
    store, nothing tells which is meant.
    """
    if any(name in keys.exact for name in store):
        return ""
    hits = Counter[str]()
    for name in store:
        for end in (place + 1 for place, letter in enumerate(name) if letter in "./"):
            if keys.of(name[end:]):
                hits[name[:end]] += 1
    likely = max(hits, key=lambda prefix: (hits[prefix], -len(prefix)), default="")
    return likely if all(prefix.startswith(likely) for prefix in hits) else ""


def _rivals(binding: Binding, keys: _Keys) -> Iterator[Problem]:
    """Name a second model beside one whose names are known by what wraps it alone, such as `ema.` beside `module.`.

    A second model holds half of the first one's tensors or more; a head that ends in the same names has fewer.
    """
    if not binding.inner_wrappers or any(
        stored.spec.name.removeprefix(binding.wrapper) in keys.exact
        for stored in binding.stored.values()
    ):
        return
    hits = Counter[str]()
    for name in binding.unknown:
        for end in (place + 1 for place, letter in enumerate(name) if letter in "./"):
            if keys.of(name[end:]) in binding.stored:
                hits[name[:end]] += 1
    for prefix, count in sorted(hits.items()):
        if 2 * count >= len(binding.stored):
            yield Problem(
                "duplicate",
                f"{prefix}*",
                f"{count} names that end as the model's own: nothing tells which of the two models is meant;"
                " save the one alone",
            )
