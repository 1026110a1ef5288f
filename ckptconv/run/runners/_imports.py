"""What a framework's packages import for purposes that no run here has: left out, or put off until something asks.

To import PyTorch, TF and transformers takes longer than to run a small model. transformers brings in PyTorch's compiler
for marks that the compiler alone reads, and tensors that lie on several machines; and it reads every line of its own
models for the names that they export. TF writes down for each operation which types it takes, for type checkers alone.
The code that computes is the same in any case.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, TypeAlias

COMPILER = "torch._dynamo"
"""PyTorch's compiler: more than a second of processor time, and nothing is compiled here."""
MARKS = ("allow_in_graph", "disable")
"""What transformers and PyTorch ask of the compiler where they do not compile: decorators that tell it something."""
INDEXING, MODE = f"{COMPILER}._trace_wrapped_higher_order_op", "TransformGetItemToIndex"
"""Where the masks of some models take a mode from, and what it is called."""
SWITCHES = f"{COMPILER}.config"
"""What is asked of the compiler where layers are computed again on the way back."""
SCANNER, SCAN = "transformers.utils.import_utils", "fetch__all__"
"""What reads the names that each module of transformers exports."""
FOLDERS = "create_import_structure_from_path"
"""What keeps the names of 128 folders, of the 400 that are read twice."""
EXPORTS = "\n__all__"
OPERATIONS = ("tensorflow", "gen_")
"""The package of TF's generated modules, and how their names begin."""
ModuleChange: TypeAlias = Callable[[Any], None]
"""Changes something in a module that was just imported."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Let what is imported within the block leave out what nothing here needs."""
    finder = _LeanFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def without_compiler(torch: Any) -> None:
    """Put PyTorch's compiler off, and say that this PyTorch was built for one machine alone, as for Windows it is."""
    path = postpone(COMPILER, torch.__path__, dict.fromkeys(MARKS, _unmarked))
    if path is not None:
        postpone(INDEXING, path, {MODE: _mode})
        postpone(SWITCHES, path, {})
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None:
        distributed.is_available = lambda: False


def scan_ends(scanner: Any) -> None:
    """Let transformers look for a module's exports where they stand, not in each line before, and read each file once.

    It finds the same.
    """
    folders = getattr(getattr(scanner, FOLDERS, None), "__wrapped__", None)
    if folders is not None:
        setattr(scanner, FOLDERS, cache(folders))
    usual: Callable[[str], list[str]] | None = getattr(scanner, SCAN, None)
    if usual is not None:
        setattr(scanner, SCAN, lambda content: usual(content[content.rfind(EXPORTS) + 1 :]))


CHANGES: Mapping[str, ModuleChange] = {"torch": without_compiler, SCANNER: scan_ends}


@contextmanager
def without_constraints() -> Iterator[None]:
    """Let type variables that are made within the block have no constraints that are mere text.

    Python compiles each of them: 18,000 in TF's generated modules, a tenth of its import.
    """
    usual: Any = typing.TypeVar

    class Instances(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, usual)

    class Unconstrained(metaclass=Instances):
        def __new__(cls, name: str, *constraints: Any, **options: Any) -> Any:
            is_text = all(isinstance(constraint, str) for constraint in constraints)
            return usual(name, *(() if is_text else constraints), **options)

    setattr(typing, "TypeVar", Unconstrained)  # noqa: B010
    try:
        yield
    finally:
        setattr(typing, "TypeVar", usual)  # noqa: B010


class PostponedModule(ModuleType):
    """A module whose code runs when something of it is asked for that is not at hand; then it is one as any other."""

    def __init__(self, spec: ModuleSpec, at_hand: Mapping[str, Any]) -> None:
        """Take what is known of the module; but its path, for which whoever imports a module within it asks."""
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        self.__package__, self._at_hand = spec.parent, at_hand

    def __getattr__(self, name: str) -> Any:
        at_hand: Mapping[str, Any] = vars(self)["_at_hand"]
        if name in at_hand:
            return at_hand[name]
        run_code(self)
        return getattr(self, name)


def postpone(name: str, within: Sequence[str], at_hand: Mapping[str, Any]) -> Sequence[str] | None:
    """Put a module among those that are imported without running its code; return its path, where it is a package.

    Args: within: the path of its package. at_hand: what may be asked of it before its code runs.
    """
    spec = PathFinder.find_spec(name, within)
    if spec is None or spec.loader is None or name in sys.modules:
        return None
    package, _, last = name.rpartition(".")
    sys.modules[name] = module = PostponedModule(spec, at_hand)
    if package in sys.modules:
        setattr(sys.modules[package], last, module)
    return spec.submodule_search_locations


def run_code(module: ModuleType) -> None:
    """Run the code of a postponed module, if it has not run yet."""
    spec = module.__spec__
    if not isinstance(module, PostponedModule) or spec is None or spec.loader is None:
        return
    del module._at_hand
    vars(module).update(
        {"__path__": spec.submodule_search_locations} if spec.submodule_search_locations else {}
    )
    object.__setattr__(module, "__class__", ModuleType)
    spec.loader.exec_module(module)


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """Stand for a decorator."""
    return _unmarked if function is None else function


def _mode() -> Any:
    """Return a mode, whose module needs no more of the compiler."""
    module = sys.modules[INDEXING]
    run_code(module)
    return getattr(module, MODE)()


class _LeanFinder(MetaPathFinder):
    """Finds some modules as they are, and changes them when they are imported, or how."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, prefix = OPERATIONS
        is_generated = name.startswith(f"{package}.") and name.rpartition(".")[2].startswith(prefix)
        change = CHANGES.get(name)
        if change is None and not is_generated:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]  # a fence may be there
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            while_it_runs = without_constraints if is_generated else nullcontext
            spec.loader = _Changing(spec.loader, change, while_it_runs)
        return spec


class _Changing(Loader):
    """Runs a module's code within some block, and then changes something in it."""

    def __init__(
        self,
        loader: Loader,
        change: ModuleChange | None,
        while_it_runs: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._loader, self._change, self._while_it_runs = loader, change, while_it_runs

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with self._while_it_runs():
            self._loader.exec_module(module)
        if self._change:
            self._change(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
