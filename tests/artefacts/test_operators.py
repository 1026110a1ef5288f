"""Every operator of the lowerings answers what PyTorch answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]
TOLERANCE = {"float64": 1e-12, "float32": 3e-5, "float16": 2e-3, "bfloat16": 2e-2}


def differences(answers: list[tuple[str, Any]], results: Any) -> Iterator[str]:
    """Say which answers are not PyTorch's: dtype, shape, numbers, NaN and infinities."""
    import torch

    for (name, expected), result in zip(answers, results, strict=True):
        pairs = (
            [(expected, result)]
            if isinstance(expected, torch.Tensor)
            else list(zip(expected, result, strict=True))
        )
        for right, ours in pairs:
            dtype = str(right.dtype).removeprefix("torch.")
            array = np.asarray(ours).astype(dtype if dtype != "bfloat16" else "float32")
            right = (right.float() if dtype == "bfloat16" else right).numpy()
            if array.shape != right.shape:
                yield f"{name}: shape {array.shape} is not {right.shape}"
            elif dtype in TOLERANCE:
                if not np.allclose(
                    array, right, TOLERANCE[dtype], TOLERANCE[dtype], equal_nan=True
                ):
                    yield f"{name}: {array} is not {right}"
            elif not np.array_equal(array, right):
                yield f"{name}: {array} is not {right}"


@pytest.mark.soak
def test_tensorflow() -> None:
    """All calls in one graph of TensorFlow, whose inputs have free shapes."""
    import tensorflow as tf

    import operators
    from ckptconv.artefacts.lowering.graph import GraphScope, run
    from ckptconv.artefacts.lowering.tf import BACKEND, array_of

    calls = operators.calls()
    assert {f"aten.{name}" for name in calls} == set(BACKEND.table)
    module, inputs, answers = operators.graph_of(calls)
    arrays = [tf.constant(array_of(tensor)) for tensor in inputs]
    specs = [tf.TensorSpec([None] * array.ndim, array.dtype) for array in arrays]
    function = tf.function(
        lambda *x: run(module, x, GraphScope(BACKEND)), input_signature=specs, autograph=False
    )
    assert list(differences(answers, function(*arrays))) == []


def test_a_large_product_is_right_for_any_number_of_rows() -> None:
    """Of one row, few and many: each has a form of its own in TensorFlow, which one graph holds."""
    import tensorflow as tf
    import torch

    from ckptconv.artefacts.lowering.graph import GraphScope, run
    from ckptconv.artefacts.lowering.tf import BACKEND

    layer = torch.nn.Linear(512, 600)
    batch = torch.export.Dim("batch", max=200)
    program = torch.export.export(layer, (torch.randn(3, 1, 512),), dynamic_shapes=({0: batch},))
    weight, bias = (tf.constant(tensor.detach().numpy()) for tensor in layer.parameters())
    function = tf.function(
        lambda x: run(program.graph_module, [weight, bias, x], GraphScope(BACKEND))[0],
        input_signature=[tf.TensorSpec([None, 1, 512])],
        autograph=False,
    )
    operations = {
        node.op
        for inner in function.get_concrete_function().graph.as_graph_def().library.function
        for node in inner.node_def
    }
    assert {"MatMul", "BatchMatMulV2"} <= operations
    for rows in (1, 2, 8, 63, 64, 70):
        x = torch.randn(rows, 1, 512)
        expected = layer(x).detach().numpy()
        np.testing.assert_allclose(function(tf.constant(x.numpy())), expected, 1e-4, 1e-5)


@pytest.mark.soak
def test_jax() -> None:
    """All calls in one program of JAX."""
    import jax

    import operators
    from ckptconv.artefacts.lowering.graph import GraphScope, run
    from ckptconv.artefacts.lowering.jax import BACKEND, array_of

    calls = operators.calls()
    assert {f"aten.{name}" for name in calls} == set(BACKEND.table)
    module, inputs, answers = operators.graph_of(calls)
    with jax.enable_x64(True):
        function = jax.jit(lambda *x: run(module, x, GraphScope(BACKEND)))
        results = function(*[array_of(tensor) for tensor in inputs])
        assert list(differences(answers, results)) == []
