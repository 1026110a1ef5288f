"""The interpreter of traced programs: walks an ATen graph and lets a backend spell each operator.

A backend is a table of operators (`tf_ops`, `jax_ops`) and the few things that are no operator: constants, loops,
branches. The walk itself is the same for every backend. Output dtypes and static shapes are those that PyTorch
computed while it traced (`node.meta["val"]`), so that type promotion is never guessed twice.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, Protocol, TypeAlias

import torch

from ckptconv.base.errors import SourceError

Value: TypeAlias = Any
"""A tensor of a backend, a number, or a size that is known when the artefact runs."""
Entry: TypeAlias = Callable[..., Value]
"""`entry(call, *args, **kwargs)` with the arguments of the ATen operator, nodes replaced by their values."""
Function: TypeAlias = Callable[[Sequence[Value]], Sequence[Value]]
"""A program: its inputs, flat -> its outputs, flat."""

PRESERVED = ("linear.default", "matmul.default")
"""Composite operators that both backends have: decomposed, they would transpose every weight at every call."""
CHECKS = ("aten._assert_", "aten.sym_constrain_range", "aten._local_assert")
"""Prefixes of operators that only check what tracing assumed; the artefact states its limits itself."""
IGNORED_ARGUMENTS = ("device", "pin_memory", "layout", "memory_format", "non_blocking", "generator")
INLINE = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
"""Higher-order operators that only change PyTorch's modes -> position of their graph among the arguments."""
LOOPS = ("while_loop", "cond")
CALL = "ckptconv.call.default"
"""The operator that stands for a whole program; see `calls`."""
NUMBERS: dict[Any, Entry] = {
    operator.add: lambda x, y: x + y,
    operator.sub: lambda x, y: x - y,
    operator.mul: lambda x, y: x * y,
    operator.floordiv: lambda x, y: x // y,
    operator.mod: lambda x, y: x % y,
    operator.neg: lambda x: -x,
}
"""Arithmetic on sizes."""
EXTREMES: dict[Any, str] = {torch.sym_min: "smallest", torch.sym_max: "largest"}
"""Of two sizes -> the backend's method."""


class Backend(Protocol):
    """What a lowering tells the interpreter."""

    name: str
    """For messages: `TensorFlow`, `JAX`."""
    table: Mapping[str, Entry]
    """`aten.add.Tensor` -> how the backend spells it."""

    def constant(self, tensor: torch.Tensor) -> Value:
        """Return a small tensor that the graph itself holds."""

    def size(self, value: Value, axis: int) -> Value:
        """Return the size of an axis: an int where it is static."""

    def smallest(self, x: Value, y: Value) -> Value:
        """Return the smaller of two sizes."""

    def largest(self, x: Value, y: Value) -> Value:
        """Return the larger of two sizes."""

    def finish(self, value: Value, meta: torch.Tensor) -> Value:
        """Give a result the dtype and the static shape that PyTorch computed."""

    def loop(
        self, condition: Entry, body: Entry, carried: Sequence[Value], metas: Sequence[Any]
    ) -> Sequence[Value]:
        """Repeat `body(*carried)` while `condition(*carried)`."""

    def branch(
        self, predicate: Value, true: Entry, false: Entry, operands: Sequence[Value]
    ) -> Sequence[Value]:
        """Run one of two graphs."""


def registrar(table: dict[str, Entry]) -> Callable[..., Callable[[Entry], Entry]]:
    """Return a decorator that adds an entry to a backend's table, under the names of the operators that it takes."""

    def entry(*names: str) -> Callable[[Entry], Entry]:
        def register(function: Entry) -> Entry:
            table.update({f"aten.{name}": function for name in names})
            return function

        return register

    return entry


@dataclass(frozen=True, slots=True)
class GraphScope:
    """Values of the sizes that were free while PyTorch traced, by symbol."""

    backend: Backend
    programs: Mapping[str, Function] = field(default_factory=dict)
    """What a graph may call by name."""
    symbols: dict[Any, Value] = field(default_factory=dict)

    def bind(self, value: Value, meta: Any) -> None:
        """Learn the sizes of an input, or of a result that depend on values."""
        if isinstance(meta, torch.SymInt):
            if meta.node.expr.is_Symbol:
                self.symbols.setdefault(meta.node.expr, value)
        elif isinstance(meta, torch.Tensor):
            for axis, size in enumerate(meta.shape):
                if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                    self.symbols.setdefault(size.node.expr, self.backend.size(value, axis))

    def size(self, size: int | torch.SymInt) -> Value:
        """Return the value of a size that PyTorch computed."""
        return size if isinstance(size, int) else self.evaluate(size.node.expr)

    def evaluate(self, expression: Any) -> Value:
        """Compute a SymPy expression of sizes."""
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol:
            if expression not in self.symbols:
                raise SourceError(f"a size of the traced program depends on values: {expression}")
            return self.symbols[expression]
        rule = RULES.get(type(expression).__name__)
        if rule is None:
            raise SourceError(
                f"a size of the traced program is not an expression that can be lowered: {expression}"
            )
        return rule(self, *(self.evaluate(argument) for argument in expression.args))


def _fold(rule: Entry) -> Entry:
    def folded(scope: GraphScope, first: Value, *rest: Value) -> Value:
        for value in rest:
            first = rule(scope, first, value)
        return first

    return folded


RULES: dict[str, Entry] = {
    "Add": _fold(lambda scope, x, y: x + y),
    "Mul": _fold(lambda scope, x, y: x * y),
    "Pow": lambda scope, x, y: x**y,
    "FloorDiv": lambda scope, x, y: x // y,
    "CleanDiv": lambda scope, x, y: x // y,
    "Mod": lambda scope, x, y: x % y,
    "PythonMod": lambda scope, x, y: x % y,
    "ModularIndexing": lambda scope, x, divisor, modulus: (x // divisor) % modulus,
    "Max": _fold(lambda scope, x, y: scope.backend.largest(x, y)),
    "Min": _fold(lambda scope, x, y: scope.backend.smallest(x, y)),
}
"""SymPy class -> how a size of it is computed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator: what its entry may ask for beside its arguments."""

    node: torch.fx.Node
    scope: GraphScope

    @property
    def meta(self) -> Any:
        """Return PyTorch's result without data; the first of several."""
        value = self.node.meta["val"]
        return value[0] if isinstance(value, (tuple, list)) else value

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the result."""
        dtype: torch.dtype = self.meta.dtype
        return dtype

    @property
    def shape(self) -> tuple[Value, ...]:
        """Return the shape of the result."""
        return tuple(self.scope.size(size) for size in self.meta.shape)

    def argument(self, position: int) -> Any:
        """Return PyTorch's view of an argument: a tensor without data, or a number."""
        node = self.node.args[position]
        return node.meta["val"] if isinstance(node, torch.fx.Node) else node

    def promoted(self, *positions: int) -> torch.dtype:
        """Return the dtype in which PyTorch compares or selects some arguments."""
        stands = [_stand_in(self.argument(position)) for position in positions]
        dtype: torch.dtype = torch.result_type(*stands)
        return dtype


def _stand_in(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty((1,) * value.ndim, dtype=value.dtype)
    return {torch.SymInt: 1, torch.SymFloat: 1.0, torch.SymBool: True}.get(type(value), value)


def decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Reduce a traced program to the core operators, without mutation and views that alias.

    Raises: SourceError: PyTorch cannot, as where a class reads a position as a number.
    """
    rules = torch.export.default_decompositions()
    for name in PRESERVED:
        packet, overload = name.split(".")
        rules.pop(getattr(getattr(torch.ops.aten, packet), overload), None)
    # Without examples PyTorch inserts no checks of them, which fail on inputs that a class does not use.
    program.example_inputs = None
    try:
        return program.run_decompositions(rules)
    except Exception as error:  # PyTorch's are of many classes
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise SourceError(
            f"PyTorch cannot reduce the class to core operators\n{type(error).__name__}: {line}"
        ) from error


def each_axis(amounts: Sequence[int], axes: int) -> list[int]:
    """Return an amount an axis; PyTorch says one for all axes as one number, as for `padding="valid"`."""
    return list(amounts) * axes if len(amounts) == 1 else list(amounts)


def graphs(module: torch.fx.GraphModule) -> Iterator[torch.fx.GraphModule]:
    """Yield a graph and those of its loops and branches."""
    return (inner for inner in module.modules() if isinstance(inner, torch.fx.GraphModule))


def checks(graph: torch.fx.Graph) -> set[torch.fx.Node]:
    """Return the calls that only check what tracing assumed, and what is computed for these alone, or for nothing."""
    unused: set[torch.fx.Node] = set()
    for node in reversed(graph.nodes):
        is_check = str(node.target).startswith(CHECKS)
        is_read = node.users.keys() - unused or node.meta.get("unbacked_bindings")
        if node.op == "call_function" and (is_check or not is_read):
            unused.add(node)
    return unused


def missing(module: torch.fx.GraphModule, backend: Backend) -> Counter[str]:
    """Count the operators of a program that the backend has no entry for."""
    names: Counter[str] = Counter()
    for inner in graphs(module):
        unused = checks(inner.graph)
        for node in inner.graph.nodes:
            called = node.op == "call_function" and node not in unused
            if called and not _is_known(node.target, backend):
                names[_name(node.target)] += 1
    return names


def _name(target: Any) -> str:
    """Return an operator's name; Python spells a function of its own with its address."""
    return target.__name__ if isinstance(target, FunctionType) else str(target)


def _is_known(target: Any, backend: Backend) -> bool:
    name = str(target)
    built_in = target in NUMBERS or target in EXTREMES or target is operator.getitem
    return built_in or name in (*LOOPS, *INLINE, CALL) or name in backend.table


def require(programs: Mapping[str, torch.export.ExportedProgram], backend: Backend) -> None:
    """Refuse programs with an operator that has no entry.

    Raises:
        SourceError: Names every such operator, and the program that calls it.
    """
    lines = [
        f"  {name}: {operator_name} ({count} call{'s' if count > 1 else ''})"
        for name, program in programs.items()
        for operator_name, count in sorted(missing(program.graph_module, backend).items())
    ]
    if lines:
        header = f"the traced programs call operators that cannot be written for {backend.name}:"
        raise SourceError("\n".join([header, *lines]))


def run(module: torch.fx.GraphModule, arguments: Sequence[Value], scope: GraphScope) -> Any:
    """Interpret a graph; every placeholder takes one argument."""
    values: dict[str, Value] = {}
    inputs = iter(arguments)

    def resolve(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, lambda node: values[node.name])

    unused = checks(module.graph)
    for node in module.graph.nodes:
        if node in unused:
            continue
        if node.op == "placeholder":
            values[node.name] = next(inputs)
            scope.bind(values[node.name], node.meta.get("val"))
        elif node.op == "get_attr":
            attribute = operator.attrgetter(node.target)(module)
            graph = isinstance(attribute, torch.fx.GraphModule)
            values[node.name] = attribute if graph else scope.backend.constant(attribute)
        elif node.op == "output":
            return resolve(node.args[0])
        else:
            arguments_, options = resolve(node.args), dict(resolve(node.kwargs))
            values[node.name] = _call(node, arguments_, options, scope)
            if node.meta.get("unbacked_bindings"):
                scope.bind(values[node.name], node.meta.get("val"))
    raise AssertionError("a graph has no output")


def _call(
    node: torch.fx.Node, arguments: Sequence[Any], options: dict[str, Any], scope: GraphScope
) -> Value:
    """Compute one node."""
    name, target = str(node.target), node.target
    if target is operator.getitem:
        return arguments[0][arguments[1]]
    if target in NUMBERS:
        return NUMBERS[target](*arguments)
    if target in EXTREMES:
        return getattr(scope.backend, EXTREMES[target])(*arguments)
    if name in INLINE:
        position = INLINE[name]
        return run(arguments[position], arguments[position + 1 :], scope)
    if name == CALL:
        return scope.programs[arguments[0]](arguments[1])
    if name == "while_loop":
        return _loop(node, arguments, scope)
    if name == "cond":
        predicate, true, false, operands = arguments
        return scope.backend.branch(
            predicate, _callable(true, scope), _callable(false, scope), operands
        )
    for ignored in IGNORED_ARGUMENTS:
        options.pop(ignored, None)
    try:
        result = scope.backend.table[name](Call(node, scope), *arguments, **options)
        return _finished(result, node.meta["val"], scope.backend)
    except Exception as error:
        error.add_note(f"in {node.format_node()}, a {node.meta['val']}")
        raise


def _finished(result: Value, meta: Any, backend: Backend) -> Value:
    if isinstance(meta, torch.Tensor):
        return backend.finish(result, meta)
    if isinstance(meta, (tuple, list)):
        return tuple(_finished(*pair, backend) for pair in zip(result, meta, strict=True))
    return result


def _callable(
    module: torch.fx.GraphModule, scope: GraphScope, extra: Sequence[Value] = ()
) -> Entry:
    """Return a graph as a function; its own sizes are forgotten after each run."""

    def call(*arguments: Value) -> Any:
        return run(module, [*arguments, *extra], replace(scope, symbols=dict(scope.symbols)))

    return call


def _loop(node: torch.fx.Node, arguments: Sequence[Any], scope: GraphScope) -> Sequence[Value]:
    condition, body, carried, extra = arguments
    metas = [
        argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument
        for argument in node.args[2]
    ]
    return scope.backend.loop(
        _callable(condition, scope, extra), _callable(body, scope, extra), carried, metas
    )


def inputs(program: torch.export.ExportedProgram) -> list[tuple[str, torch.Tensor | None]]:
    """Return name and tensor of a program's placeholders, in order; the tensor of what the user gives is None."""
    order: list[tuple[str, torch.Tensor | None]] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            state = program.state_dict
            order.append(
                (
                    spec.target,
                    state[spec.target] if spec.target in state else program.constants[spec.target],
                )
            )
        else:
            order.append((spec.arg.name, None))
    return order
