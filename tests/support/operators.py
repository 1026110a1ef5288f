"""Calls of every ATen operator that the lowerings have an entry for, with the inputs on which frameworks differ.

NaN, infinities, signed zeros, ties, negative indices, integers against floats, half precision, empty and 0-d tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

Arguments: TypeAlias = tuple[Any, ...]
NAN, INF = float("nan"), float("inf")
BINARY_INTEGERS = ("bitwise_and", "bitwise_or", "bitwise_xor")


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return random numbers."""
    return torch.randn(*shape).to(dtype)


def whole(
    *shape: int, low: int = -5, high: int = 6, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """Return random integers."""
    return torch.randint(low, high, shape).to(dtype)


def coins(*shape: int) -> torch.Tensor:
    """Return random truth values."""
    return torch.rand(*shape) < 0.5


def edges() -> torch.Tensor:
    """Return numbers on which frameworks differ."""
    return torch.tensor(
        [NAN, INF, -INF, 0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 1e-30, -3e5, 7.25]
    )


def ties() -> torch.Tensor:
    """Return rows whose highest and lowest values stand several times, with NaN and -inf."""
    rows = [
        [1, 3, 3, 0, 0],
        [NAN, 3, NAN, 1, 0],
        [-INF] * 5,
        [INF, 2, INF, -INF, -INF],
        [0.0, -0.0, 0.0, -0.0, -1],
    ]
    return torch.tensor(rows)


def distinct(*shape: int) -> torch.Tensor:
    """Return different numbers in random order."""
    count = int(torch.tensor(shape).prod())
    return (torch.randperm(count).to(torch.float32) - count / 3).reshape(shape)


def unary(*names: str) -> dict[str, list[Arguments]]:
    """Return calls of operators of one tensor."""
    halves = (torch.float16, torch.bfloat16)
    return {
        f"{name}.default": [
            (edges(),),
            (normal(3, 4),),
            *((normal(5, dtype=half),) for half in halves),
        ]
        for name in names
    }


def binary(
    name: str, numbers: tuple[Any, ...] = (2, -1.5), *, integers: bool = True
) -> dict[str, list[Arguments]]:
    """Return calls of an operator of two tensors, or of a tensor and a number."""
    x = edges()
    calls: list[Arguments] = [
        (x[:, None], x),
        (normal(2, 3), normal(3)),
        (whole(4), normal(2, 4)),
        (normal(3, dtype=torch.float16), normal(2, 3)),
    ]
    if integers:
        calls += [(whole(3, 4), whole(4, low=1)), (whole(4, dtype=torch.int32), whole(4, low=1))]
    return {
        f"{name}.Tensor": calls,
        f"{name}.Scalar": [(normal(4), number) for number in numbers] + [(whole(4), 3)],
    }


def _reductions() -> dict[str, list[Arguments]]:
    special = torch.stack([edges(), edges().flip(0), torch.ones(14)])
    return {
        **{
            f"{name}.default": [
                (normal(2, 3, 4), [1]),
                (special, [-1], True),
                (whole(3, 4), [0, 1]),
            ]
            for name in ("amax", "amin")
        },
        **{f"{name}.default": [(normal(2, 3),), (whole(4),)] for name in ("max", "min")},
        **{
            f"{name}.dim": [
                (distinct(3, 4), 1),
                (distinct(3, 4), 0, True),
                (ties(), -1),
                (distinct(2, 3, 4), 1),
            ]
            for name in ("max", "min")
        },
        **{
            f"{name}.default": [
                (ties(), -1),
                (ties(), 0, True),
                (distinct(2, 3),),
                (whole(3, 4), 1),
                (normal(3, 4, dtype=torch.float16), -1),
            ]
            for name in ("argmax", "argmin")
        },
        "sum.dim_IntList": [
            (normal(2, 3), [1]),
            (whole(2, 3), [-1], True),
            (coins(2, 3), [0]),
            (normal(2, 3), None),
        ],
        "sum.default": [(normal(2, 3),), (coins(3),), (whole(3, dtype=torch.int32),)],
        "mean.dim": [
            (normal(2, 3), [-1], True),
            (normal(2, 3, dtype=torch.float16), [0]),
            (normal(2, 3), None),
        ],
        "mean.default": [(normal(2, 3),)],
        "linalg_vector_norm.default": [
            (normal(2, 3), 2, [-1], True),
            (normal(2, 3, dtype=torch.float16), 2, [0]),
            (normal(2, 3),),
            (normal(2, 3), 1, [1]),
            (normal(2, 3), 3, [0, 1]),
            (normal(2, 3), float("inf"), [1]),
            (normal(2, 3), float("-inf"), None, True),
            (normal(2, 3), 0, [0]),
        ],
        "prod.dim_int": [(normal(2, 3), 1), (whole(2, 3), 0, True)],
        "prod.default": [(normal(4),), (whole(3, low=1),)],
        "any.default": [(coins(3),), (whole(3),)],
        "all.default": [(coins(3),), (whole(3),)],
        **{f"{name}.dim": [(coins(3, 2), 1), (normal(3, 2), 0, True)] for name in ("any", "all")},
        **{
            f"{name}.dims": [(coins(3, 2), [1]), (coins(3, 2), [0, 1], True), (coins(2, 2), None)]
            for name in ("any", "all")
        },
        "cumsum.default": [
            (normal(3, 4), 1),
            (coins(3, 4), 0),
            (whole(5, dtype=torch.int32), -1),
            (normal(2, 3), -1),
        ],
        "cumprod.default": [(normal(3, 4), 1), (whole(4), 0)],
        "topk.default": [
            (distinct(3, 7), 4),
            (distinct(7, 3), 2, 0),
            (distinct(3, 7), 3, -1, False),
            (torch.randperm(9), 4),
        ],
        "sort.default": [
            (distinct(3, 7),),
            (distinct(3, 7), 0, True),
            (whole(3, 7), -1),
            (ties(), -1, True),
        ],
        "_softmax.default": [
            (normal(2, 5), -1, False),
            (ties(), -1, False),
            (normal(3, 2), 0, False),
        ],
        "softmax.int": [(normal(2, 5), -1), (normal(2, 5), 1, torch.float64)],
        "_log_softmax.default": [
            (normal(2, 5), -1, False),
            (ties(), -1, False),
            (normal(3, 2), 0, False),
        ],
        "log_softmax.int": [(normal(2, 5), -1)],
        "_safe_softmax.default": [
            (normal(2, 5), -1),
            (torch.tensor([[-INF, -INF], [0.0, -INF]]), -1),
        ],
    }


def _lookups() -> dict[str, list[Arguments]]:
    index = torch.tensor([[0, 2, 1], [2, 0, 1]])
    unique = torch.tensor([[0, 2, 3], [3, 0, 1]])
    return {
        "embedding.default": [
            (normal(7, 3), whole(2, 4, low=0, high=7)),
            (normal(7, 3), whole(2, low=0, high=7), 1),
        ],
        "index_select.default": [
            (normal(3, 4), 1, torch.tensor([3, 0, 0])),
            (normal(3), 0, torch.tensor([2])),
        ],
        "gather.default": [
            (normal(2, 4), 1, index),
            (normal(3, 3), 0, index),
            (normal(2, 4, 3), 1, whole(2, 5, 3, low=0, high=4)),
            (coins(2, 3), -1, index),
        ],
        "scatter.src": [
            (normal(2, 4), 1, unique, normal(2, 3)),
            (normal(4, 3), 0, torch.tensor([[1, 0, 3], [0, 2, 1]]), normal(3, 4)),
        ],
        "scatter.value": [(normal(2, 4), 1, unique, 7.0), (whole(2, 4), -1, unique, 3)],
        "scatter_add.default": [
            (normal(2, 4), 1, index, normal(2, 3)),
            (whole(3, 3), 0, index, whole(2, 3)),
        ],
        "scatter_reduce.two": [
            (normal(2, 4), 1, index, normal(2, 3), "sum"),
            (normal(2, 4), 1, index, normal(2, 3), "amax"),
            (normal(2, 4), 1, index, normal(2, 3), "amin"),
        ],
        "index.Tensor": [
            (normal(3, 4), [torch.tensor([0, -1])]),
            (normal(3, 4), [None, torch.tensor([[0, -1]])]),
            (normal(3, 4), [torch.tensor([0, 2]), torch.tensor([[1], [-2]])]),
            (normal(2, 3, 4, 5), [None, torch.tensor([0, 2]), torch.tensor([1, 3])]),
            (normal(2, 3, 4), [torch.tensor([0, 1]), None, torch.tensor([1, 3])]),
            (coins(3), [torch.tensor([2])]),
        ],
        "index_put.default": [
            (normal(3, 4), [torch.tensor([0, -1])], normal(2, 4)),
            (normal(3, 4), [None, torch.tensor([3, 1])], normal(3, 2)),
            (normal(3, 4), [torch.tensor([1, 1])], torch.tensor(2.0), True),
            (normal(3, 4), [coins(3, 4)], torch.tensor(9.0)),
            (normal(3, 4), [coins(3)], torch.tensor([9.0])),
            (
                normal(2, 3, 4, 5),
                [None, torch.tensor([0, 2]), torch.tensor([1, 3])],
                normal(2, 2, 5),
            ),
            (normal(2, 3, 4), [torch.tensor([0, 1]), None, torch.tensor([1, 3])], normal(2, 3)),
        ],
        "masked_fill.Scalar": [(normal(3, 4), coins(4), -INF), (whole(3), coins(3), 2)],
        "masked_fill.Tensor": [(normal(3, 4), coins(3, 1), torch.tensor(2.0))],
        "where.self": [
            (coins(3, 4), normal(4), normal(3, 1)),
            (coins(3), whole(3), normal(3)),
            (coins(3), torch.tensor(1), normal(3, dtype=torch.float16)),
        ],
        "where.ScalarOther": [(coins(3), normal(3), 2.5)],
        "where.ScalarSelf": [(coins(3), 1.5, normal(3))],
        "where.Scalar": [(coins(3), 1.5, 2.5)],
    }


def _shapes() -> dict[str, list[Arguments]]:
    return {
        "alias.default": [(normal(2),)],
        "clone.default": [(normal(2),)],
        "detach.default": [(normal(2),)],
        "lift_fresh_copy.default": [(normal(2),)],
        "_to_copy.default": [
            (normal(3), {"dtype": dtype})
            for dtype in (torch.int64, torch.float16, torch.bool, torch.float64)
        ]
        + [
            (whole(3), {"dtype": torch.bool}),
            (coins(3), {"dtype": torch.float32}),
            (torch.tensor([2.7, -2.7]), {"dtype": torch.int32}),
        ],
        "unsqueeze.default": [(normal(2, 3), 1), (normal(2), -1)],
        "permute.default": [(normal(2, 3, 4), [2, 0, 1]), (normal(2, 3), [-1, 0])],
        "flip.default": [(normal(2, 3), [1]), (normal(2, 3), [0, -1])],
        "view.default": [(normal(2, 6), [3, -1]), (normal(4), [2, 2])],
        "_unsafe_view.default": [(normal(2, 6), [3, 4])],
        "reshape.default": [(normal(2, 6), [-1])],
        "squeeze.dims": [(normal(1, 2, 1), [0, 1])],
        "squeeze.dim": [(normal(1, 2), 0), (normal(1, 2), 1)],
        "squeeze.default": [(normal(1, 2, 1),)],
        "expand.default": [
            (normal(2, 1), [2, 3]),
            (normal(3), [2, -1]),
            (torch.tensor(1.0), [2, 2]),
        ],
        "repeat.default": [(normal(2, 3), [2, 1]), (normal(3), [2, 2])],
        "slice.Tensor": [
            (normal(5, 3), 0, 1, 4),
            (normal(5, 3), 1, -2),
            (normal(5), 0, 0, 2**63 - 1),
            (normal(5), 0, 0, -1),
            (normal(7), 0, 1, 7, 2),
            (normal(5), 0, 2, 99),
        ],
        "select.int": [(normal(3, 4), 0, 1), (normal(3, 4), 1, -1)],
        "slice_scatter.default": [
            (normal(5, 3), normal(2, 3), 0, 1, 3),
            (normal(3, 6), normal(3, 3), 1, 0, 6, 2),
            (normal(4), normal(2), 0, -2),
        ],
        "select_scatter.default": [
            (normal(3, 4), normal(4), 0, 1),
            (normal(3, 4), normal(3), 1, -1),
        ],
        "copy.default": [(normal(2, 3), normal(3)), (normal(2), whole(2))],
        "cat.default": [
            ([normal(2, 3), normal(1, 3)],),
            ([normal(2, 1), normal(2, 2)], -1),
            ([torch.zeros(0), normal(2)],),
            ([whole(2), normal(2)],),
        ],
        "stack.default": [([normal(2), normal(2)], 1), ([whole(2), whole(2)],)],
        "split_with_sizes.default": [(normal(5, 2), [2, 3]), (normal(2, 4), [1, 1, 2], -1)],
        "unbind.int": [(normal(2, 3),), (normal(2, 3), 1)],
        "constant_pad_nd.default": [
            (normal(2, 3), [1, 2], 0.5),
            (normal(2, 3), [0, 1, 2, 0]),
            (normal(2, 5), [-1, 2]),
            (whole(3), [1, 1], 7),
        ],
        "diagonal.default": [(normal(3, 4),), (normal(3, 4), 1), (normal(2, 3, 3), -1, 1, 2)],
        "full.default": [
            ([2, 3], 1.5),
            ([2], 3),
            ([], True),
            ([2], -INF, {"dtype": torch.float16}),
        ],
        "new_full.default": [(normal(1), [2], 3.0)],
        "full_like.default": [(normal(2, 3), 2), (whole(2), 3)],
        "fill.Scalar": [(normal(2), 3)],
        "fill.Tensor": [(normal(2), torch.tensor(3.0))],
        **{
            f"{name}.default": [([2, 3],), ([2], {"dtype": torch.int64})]
            for name in ("zeros", "ones")
        },
        **{f"{name}_like.default": [(whole(2),), (normal(2),)] for name in ("zeros", "ones")},
        **{f"new_{name}.default": [(whole(2), [3])] for name in ("zeros", "ones")},
        "scalar_tensor.default": [
            (1.5, {"dtype": torch.float32}),
            (3, {"dtype": torch.int64}),
            (True, {"dtype": torch.bool}),
        ],
        "arange.start_step": [
            (0, 5, 1),
            (1, 8, 3),
            (5, 0, -2),
            (0.0, 1.0, 0.25),
            (0, 4, 1, {"dtype": torch.float32}),
        ],
    }


def _numbers() -> dict[str, list[Arguments]]:
    shifts = [(whole(4, low=0), whole(4, low=0)), (torch.tensor([-7, 9]), torch.tensor([1, 2]))]
    quotients = [
        (edges()[:, None], edges()),
        (torch.tensor([1.0, -1.0, 7.0]), torch.tensor([0.1, 0.1, -2.0])),
        (torch.tensor([-7, 7]), torch.tensor([2, -2])),
    ]
    modes = ("floor", "trunc", None)
    return {
        **binary("add"),
        **binary("sub"),
        **binary("mul"),
        **binary("div"),
        **binary("rsub"),
        **{
            key: calls
            for name in ("eq", "ne", "lt", "le", "gt", "ge")
            for key, calls in binary(name).items()
        },
        "div.Tensor_mode": [
            (*pair, {"rounding_mode": mode}) for pair in quotients for mode in modes
        ],
        "div.Scalar_mode": [(normal(4), 0.3, {"rounding_mode": mode}) for mode in modes],
        "floor_divide.default": quotients,
        "floor_divide.Scalar": [(torch.tensor([-7, 7]), 2), (normal(3), 0.3)],
        "remainder.Tensor": quotients,
        "remainder.Scalar": [(torch.tensor([-7, 7]), 3), (torch.tensor([-7.5, 7.5]), 2)],
        "fmod.Tensor": quotients,
        "fmod.Scalar": [(torch.tensor([-7, 7]), 3), (torch.tensor([-7.5, 7.5]), 2)],
        "maximum.default": [(edges()[:, None], edges()), (whole(3), whole(3))],
        "minimum.default": [(edges()[:, None], edges()), (whole(3), whole(3))],
        "atan2.default": [(edges()[:, None], edges())],
        "clamp.default": [
            (edges(), -1.0, 2),
            (edges(), None, 0.5),
            (edges(), 1.0),
            (whole(4), 0, 2),
            (edges(), 2.0, 1.0),
        ],
        "clamp.Tensor": [(normal(4), torch.tensor(-0.5), torch.tensor(0.5))],
        "clamp_min.default": [(edges(), 0.5)],
        "clamp_min.Tensor": [(normal(3), normal(3))],
        "clamp_max.default": [(edges(), 0.5)],
        "clamp_max.Tensor": [(normal(3), normal(3))],
        "hardtanh.default": [(edges(),), (normal(4), -0.5, 2.0)],
        "pow.Tensor_Scalar": [(edges(), power) for power in (2, 3, 0.5, -0.5, -1, 1, 2.5, 0)]
        + [(whole(4), 2), (whole(4), 0.5)],
        "pow.Scalar": [(2, normal(3)), (10000.0, normal(3)), (2, whole(3, low=0)), (2.5, whole(3))],
        "pow.Tensor_Tensor": [
            (normal(3).abs(), normal(3)),
            (whole(3, low=1), whole(3, low=0)),
            (torch.tensor(1.3, dtype=torch.float64), whole(3, low=0)),
        ],
        **{
            f"logical_{name}.default": [(coins(4), coins(4)), (whole(4), normal(4))]
            for name in ("and", "or", "xor")
        },
        "logical_not.default": [(coins(3),), (whole(3),), (edges(),)],
        "bitwise_not.default": [(coins(3),), (whole(3),)],
        **{
            f"{name}.Tensor": [(coins(4), coins(4)), (whole(4), whole(4))]
            for name in BINARY_INTEGERS
        },
        **{f"{name}.Scalar": [(whole(4), 3), (coins(4), True)] for name in BINARY_INTEGERS},
        **{
            f"{name}.Tensor": shifts
            for name in ("bitwise_left_shift", "bitwise_right_shift", "__lshift__", "__rshift__")
        },
        **{
            f"{name}.Tensor_Scalar": [(whole(4), 2)]
            for name in ("bitwise_left_shift", "bitwise_right_shift")
        },
        **{f"{name}.Scalar": [(whole(4), 2)] for name in ("__lshift__", "__rshift__")},
        "isnan.default": [(edges(),)],
        "isinf.default": [(edges(),)],
        "gelu.default": [
            (torch.tensor([NAN, -3.0, -0.5, 0.0, 0.5, 3.0]),),
            (normal(4), {"approximate": "tanh"}),
            (normal(4, dtype=torch.bfloat16),),
        ],
        "elu.default": [(edges(),), (normal(4), 0.7)],
        "leaky_relu.default": [(edges(),), (normal(4), 0.2)],
        "round.default": [(edges(),), (whole(3),)],
        "round.decimals": [(normal(5), {"decimals": 2}), (100 * normal(5), {"decimals": -1})],
        "softplus.default": [(torch.tensor([-30.0, -1.0, 0.0, 3.0, 15.0]),)],
    }


def _layers() -> dict[str, list[Arguments]]:
    x, w, v = normal(2, 4, 5), normal(4), normal(4)
    return {
        "linear.default": [
            (normal(2, 3), normal(4, 3), normal(4)),
            (normal(2, 5, 3), normal(4, 3)),
            (normal(3), normal(4, 3), normal(4)),
        ],
        "matmul.default": [
            (normal(2, 3), normal(3, 4)),
            (normal(2, 5, 2, 3), normal(2, 5, 3, 4)),
            (normal(3), normal(3, 2)),
            (normal(2, 3), normal(3)),
            (normal(2, 5, 3), normal(3, 4)),
            (normal(2, 1, 5, 3), normal(4, 3, 2)),
            (normal(3), normal(3)),
        ],
        "bmm.default": [(normal(2, 3, 4), normal(2, 4, 5))],
        "mm.default": [(normal(3, 4), normal(4, 5))],
        "addmm.default": [
            (normal(5), normal(3, 4), normal(4, 5)),
            (normal(3, 5), normal(3, 4), normal(4, 5), {"beta": 0.5, "alpha": 2}),
        ],
        "baddbmm.default": [
            (normal(2, 3, 5), normal(2, 3, 4), normal(2, 4, 5), {"beta": 0.5, "alpha": 2})
        ],
        "convolution.default": [
            (normal(2, 4, 9), normal(6, 4, 3), normal(6), [2], [1], [1], False, [0], 1),
            (normal(2, 4, 9), normal(6, 2, 3), None, [1], [0], [2], False, [0], 2),
            (
                normal(2, 3, 8, 7),
                normal(5, 3, 3, 2),
                normal(5),
                [2, 1],
                [1, 0],
                [1, 1],
                False,
                [0, 0],
                1,
            ),
            (normal(2, 3, 8, 7), normal(5, 3, 3, 2), None, [2], [1], [1], False, [0], 1),
            (normal(2, 4, 8), normal(4, 1, 3), normal(4), [1], [1], [1], False, [0], 4),
        ],
        "native_layer_norm.default": [
            (normal(2, 3, 4), [4], w, v, 1e-5),
            (normal(2, 4), [4], None, None, 1e-12),
            (normal(2, 3, 4), [3, 4], normal(3, 4), None, 1e-5),
        ],
        "native_group_norm.default": [
            (x, w, v, 2, 4, 5, 2, 1e-5),
            (x, None, None, 2, 4, 5, 4, 1e-5),
        ],
        "_native_batch_norm_legit_no_training.default": [
            (x, w, v, normal(4), normal(4).abs(), 0.1, 1e-5)
        ],
        "var.correction": [
            (normal(2, 5), [1], {"correction": 1}),
            (normal(2, 5), [-1], {"correction": 0, "keepdim": True}),
        ],
        "avg_pool1d.default": [(normal(2, 3, 8), [2])],
        "avg_pool2d.default": [(normal(2, 3, 6, 6), [2, 3], [2, 1])],
        "sort.stable": [
            (distinct(3, 5), {"stable": True, "dim": 0, "descending": True}),
            (ties(), {"stable": True}),
        ],
        "_local_scalar_dense.default": [],
        "item.default": [],
        "sym_size.int": [],
        "sym_numel.default": [],
        "empty.memory_format": [],
        "empty_like.default": [],
        "new_empty.default": [],
    }


def calls() -> dict[str, list[Arguments]]:
    """Return operator -> arguments of its calls; a dict at the end holds what is passed by keyword.

    An operator without calls answers a number, or memory that holds anything.
    """
    torch.manual_seed(7)
    ones = unary(
        "abs",
        "neg",
        "ceil",
        "floor",
        "trunc",
        "relu",
        "sign",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cos",
        "cosh",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log10",
        "log1p",
        "log2",
        "reciprocal",
        "rsqrt",
        "sigmoid",
        "silu",
        "sin",
        "sinh",
        "sqrt",
        "tan",
        "tanh",
    )
    ones["abs.default"].append((whole(4),))
    ones["sign.default"].append((whole(4),))
    ones["sqrt.default"].append((whole(4, low=0),))
    return ones | _numbers() | _reductions() | _lookups() | _shapes() | _layers()


def overload(name: str) -> Callable[..., Any]:
    """Return an operator by its name, `add.Tensor`."""
    packet, kind = name.rsplit(".", 1)
    return getattr(getattr(torch.ops.aten, packet), kind)  # type: ignore[no-any-return]


def graph_of(
    calls: dict[str, list[Arguments]],
) -> tuple[torch.fx.GraphModule, list[torch.Tensor], list[tuple[str, Any]]]:
    """Return one graph of all calls, the tensors that it takes, and PyTorch's own answers with their names."""
    from torch._subclasses import FakeTensorMode

    graph, inputs, answers, outputs, mode = torch.fx.Graph(), [], [], [], FakeTensorMode()
    for name, variants in calls.items():
        for variant, arguments in enumerate(variants):
            options = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
            positional = arguments[:-1] if options else arguments
            placed: dict[int, torch.fx.Node] = {}

            def place(
                tensor: torch.Tensor, placed: dict[int, torch.fx.Node] = placed
            ) -> torch.fx.Node:
                if id(tensor) not in placed:
                    node = graph.placeholder(f"x{len(inputs)}")
                    node.meta["val"] = mode.from_tensor(tensor)
                    inputs.append(tensor)
                    placed[id(tensor)] = node
                return placed[id(tensor)]

            expected = overload(name)(*positional, **options)
            nodes = torch.utils._pytree.tree_map_only(torch.Tensor, place, list(positional))
            node = graph.call_function(overload(name), tuple(nodes), options)
            node.meta["val"] = torch.utils._pytree.tree_map_only(
                torch.Tensor, mode.from_tensor, expected
            )
            answers.append((f"{name} {variant}", expected))
            outputs.append(node)
    graph.output(tuple(outputs))
    return torch.fx.GraphModule(torch.nn.Module(), graph), inputs, answers
