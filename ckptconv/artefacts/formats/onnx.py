"""ONNX: `encoder.onnx`, `decoder_step.onnx` and `generate.onnx`, which point into one safetensors file of weights.

The weights keep the bytes and the orientation that the checkpoint has: where a graph needs a transposed matrix, or
half precision widened, it says so in a node that onnxruntime evaluates once, when it loads. So each is stored once,
all graphs share them, and they are the checkpoint's bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.artefacts.formats import ArtefactFormat, UsageExample, Work
from ckptconv.artefacts.stored import CONSTANTS, WEIGHTS, StoredTensor, stored_tensors
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json

OPSET = 20
FILES = {"encode": "encoder.onnx", "step": "decoder_step.onnx", "generate": "generate.onnx"}
INLINE_BYTES = 1024
"""A constant below this stays in the graph."""
PRODUCER = "ckptconv"
TRITON = "config.pbtxt"
TRITON_TYPES = {"int64": "TYPE_INT64", "float": "TYPE_FP32", "bool": "TYPE_BOOL"}


def write(work: Work) -> dict[str, Json]:
    """Write the graphs; return what the record says of each."""
    programs = {"encode": work.traced.encode, "step": work.traced.step}
    if work.generate is not None:
        programs["generate"] = work.generate
    shelf = _Shelf(work.folder, work.traced.model)
    graphs = {name: _graph(name, program, shelf) for name, program in programs.items()}
    shelf.write_constants()
    record: dict[str, Any] = {}
    for name, graph in graphs.items():
        shelf.point(graph)
        (work.folder / FILES[name]).write_bytes(_serialized(graph))
        record[name] = {"file": FILES[name], "opset": OPSET, **_signature(graph)}
    (work.folder / TRITON).write_text(
        triton_config(record["generate" if work.generate else "encode"])
    )
    return {"programs": record, "weights": [*sorted(shelf.used)]}


def triton_config(program: Mapping[str, Any]) -> str:
    """Return a model configuration for Triton's ONNX Runtime backend: the inputs that have no default."""
    lines = [
        f'default_model_filename: "{program["file"]}"',
        'backend: "onnxruntime"',
        "max_batch_size: 0",
    ]
    for side, values in (("input", program["inputs"]), ("output", program["outputs"])):
        shown = [value for value in values if value["shape"]]
        blocks = [
            f'  {{ name: "{value["name"]}", data_type: {TRITON_TYPES[value["dtype"]]},'
            f" dims: [ {', '.join(str(size) if isinstance(size, int) else '-1' for size in value['shape'])} ] }}"
            for value in shown
        ]
        lines.append(f"{side} [\n" + ",\n".join(blocks) + "\n]")
    return "\n".join(lines) + "\n"


def translated(name: str, program: Any) -> Any:
    """Return a program as PyTorch's exporter translates it. Raises SourceError: it has no such operator."""
    torch = import_module("torch")
    try:
        exported = torch.onnx.export(
            program.exported,
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=list(program.inputs),
            output_names=list(program.outputs),
        )
    except torch.onnx.OnnxExporterError as error:
        raise SourceError(f"{name}: {_cause(error)}") from error
    return exported.model


def _graph(name: str, program: Any, shelf: _Shelf) -> Any:
    """Return a program as an ONNX model whose weights have been taken out, to be pointed at."""
    model, optimizer = translated(name, program), import_module("onnxscript.optimizer")
    weights = _taken_out(model, program, shelf)
    optimizer.optimize_ir(model)
    _put_back(model, weights, shelf)
    _hoist(model)
    _add_controls(model, program)
    _crop(model, program)
    _strip(model)
    _name_axes(model)
    return model


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost cause, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _serialized(model: Any) -> bytes:
    """Return a model's bytes, without what a runtime finds out, or needs for messages alone."""
    proto = import_module("onnx_ir").to_proto(model)
    _compact(proto.graph)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _compact(graph: Any) -> None:
    """Take the names of nodes and the shapes of what lies between out of a graph, and of those in it."""
    del graph.value_info[:]
    for node in graph.node:
        node.ClearField("name")
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _compact(attribute.g)


def _taken_out(model: Any, program: Any, shelf: _Shelf) -> dict[str, Any]:
    """Make inputs of what is stored outside, so that nothing is folded into other bytes; return name -> value."""
    graph = model.graph
    values: dict[str, Any] = {}
    for target, value in list(graph.initializers.items()):
        name = shelf.name(program, target, value)
        if not name:
            continue
        del graph.initializers[target]
        value.const_value = None
        if name in values:
            value.replace_all_uses_with(values[name])
        else:
            values[name] = value
            graph.inputs.append(value)
    return values


def _put_back(model: Any, values: Mapping[str, Any], shelf: _Shelf) -> None:
    """Make initializers of them again, under the names of what is stored; those without a use are dropped.

    What the optimizer computed is stored outside as well where it is large: a row of numbers for every word.
    """
    graph, outside = model.graph, dict(values)
    for name, value in list(graph.initializers.items()):
        constant = shelf.constant(value) if value.uses() else ""
        if value.uses() and not constant:
            continue
        del graph.initializers[name]
        if constant in outside:
            value.replace_all_uses_with(outside[constant])
        elif constant:
            outside[constant] = value
    for value in values.values():
        graph.inputs.remove(value)
    for name, value in outside.items():
        if value.uses():
            value.name = name
            graph.initializers[name] = value


def _hoist(model: Any) -> None:
    """Move what a loop does to weights alone out of it: it is the same each time."""
    ir = import_module("onnx_ir")
    graph = model.graph
    initial, count = set(graph.initializers.values()), 0
    for node in list(ir.traversal.RecursiveGraphIterator(graph)):
        if node.graph is graph or node.op_type not in ("Transpose", "Cast", "Reshape"):
            continue
        if node.inputs[0] in initial and all(value in initial for value in node.inputs):
            node.graph.remove(node)
            node.name = node.outputs[0].name = f"hoisted_{count}"
            count += 1
            graph.insert_before(graph[0], node)


def _add_controls(model: Any, program: Any) -> None:
    """Give each control its default; a caller sets sizes as numbers, of which the graph makes vectors."""
    ir, numpy = import_module("onnx_ir"), import_module("numpy")
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs}
    for name, control in program.controls.items():
        value = inputs[name]
        kind = ir.DataType.FLOAT if control.kind == "number" else ir.DataType.INT64
        default = numpy.asarray(control.default, kind.numpy())
        if control.kind != "size":
            value.const_value = ir.tensor(default, name=name)
            graph.initializers[name] = value
            continue
        size = ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(kind))
        size.const_value = ir.tensor(default, name=name)
        value.name = f"{name}_places"
        _replace_input(graph, value, size)
        axis = ir.Value(name=f"{name}_axis", shape=ir.Shape([1]), type=ir.TensorType(kind))
        axis.const_value = ir.tensor(numpy.array([1], numpy.int64), name=axis.name)
        graph.initializers[axis.name] = axis
        graph.initializers[name] = size
        shaped = _node("Reshape", [size, axis], f"{name}_shape")
        filled = _node("ConstantOfShape", [shaped.outputs[0]], f"{name}_vector")
        value.replace_all_uses_with(filled.outputs[0])
        for node in (filled, shaped):
            graph.insert_before(graph[0], node)


def _node(operator: str, inputs: Sequence[Any], name: str, **attributes: Any) -> Any:
    """Return a node with one output; both have the name."""
    node = import_module("onnx_ir").node(operator, inputs, attributes or None, name=name)
    node.outputs[0].name = name
    return node


def _replace_input(graph: Any, value: Any, replacement: Any) -> None:
    """Put another value in the place of a graph's input."""
    place = list(graph.inputs).index(value)
    graph.inputs.remove(value)
    graph.inputs.insert(place, replacement)


def _crop(model: Any, program: Any) -> None:
    """Cut the answers to the columns that count, as `generate` of transformers does."""
    if "length" not in program.outputs:
        return
    ir, numpy = import_module("onnx_ir"), import_module("numpy")
    graph = model.graph
    outputs = {value.name: value for value in graph.outputs}
    sequences, length = outputs["sequences"], outputs["length"]
    constants = {}
    for name, number in (("crop_start", 0), ("crop_axis", 1)):
        value = ir.Value(name=name, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64))
        value.const_value = ir.tensor(numpy.array([number], numpy.int64), name=name)
        graph.initializers[name] = constants[name] = value
    sequences.name = "sequences_whole"
    length.name = "sequences_length"
    end = _node("Reshape", [length, constants["crop_axis"]], "crop_end")
    start, axis = constants["crop_start"], constants["crop_axis"]
    cut = _node("Slice", [sequences, start, end.outputs[0], axis], "sequences")
    answer = cut.outputs[0]
    answer.type = sequences.type
    answer.shape = ir.Shape(["batch", "answer"])
    for node in (end, cut):
        graph.append(node)
    graph.outputs[list(graph.outputs).index(sequences)] = answer
    graph.outputs.remove(length)


def _strip(model: Any) -> None:
    """Take out what the exporter notes of its own: paths, stack traces, versions."""
    ir = import_module("onnx_ir")
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, None, None
    model.domain, model.model_version = None, None
    model.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()
    model.graph.doc_string = None
    model.graph.name = PRODUCER


TEXT = {0: "batch", 1: "length"}
AXES = {
    "attention_mask": TEXT,
    "input_ids": TEXT,
    "input_values": TEXT,
    "self": {0: "batch", 2: "places"},
    "cross": {0: "batch", 2: "encoder_length"},
    "last_hidden_state": {0: "batch", 1: "encoder_length"},
    "sequences": {0: "batch", 1: "answer"},
}
"""Names of free axes, by what a value's name is or says; every other first axis is the batch."""


def _name_axes(model: Any) -> None:
    """Give free axes names that say what they are; what lies between is left to the runtime to infer."""
    ir = import_module("onnx_ir")
    graph = model.graph
    ends = {*graph.inputs, *graph.outputs}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for value in node.outputs:
            if value not in ends and not value.is_graph_output():
                value.shape, value.type = None, None
    for value in ends:
        names = _axes(value.name)
        value.shape = ir.Shape(
            [
                size if isinstance(size, int) else names.get(axis, f"axis_{axis}")
                for axis, size in enumerate(value.shape)
            ]
        )


def _axes(name: str) -> dict[int, str]:
    """Return the names of a value's free axes."""
    kind = next((part for part in ("self", "cross") if f"_{part}_" in name), name)
    return AXES.get(kind, {0: "batch"})


def _signature(model: Any) -> dict[str, Json]:
    """Return the inputs and outputs of a model: name, dtype, and sizes, free ones by name."""
    return {"inputs": _values(model.graph.inputs), "outputs": _values(model.graph.outputs)}


def _values(values: Sequence[Any]) -> Json:
    return [
        {
            "name": value.name,
            "dtype": value.dtype.name.lower(),
            "shape": [size if isinstance(size, int) else str(size) for size in value.shape],
        }
        for value in values
    ]


class _Shelf:
    """What lies outside of the graphs: the checkpoint's weights, and large constants that the class computes."""

    def __init__(self, folder: Path, model: Any) -> None:
        """Look at the weights that are there."""
        self.folder, self.state = folder, model.state_dict()
        self.weights = stored_tensors(folder / WEIGHTS)
        self.used: set[str] = set()
        """Names of the weights that some graph uses."""
        self.constants: dict[str, Any] = {}
        """Name -> array, of what is no weight."""
        by_storage = {self.state[name].data_ptr(): name for name in self.weights}
        self.names = {
            name: by_storage[tensor.data_ptr()]
            for name, tensor in self.state.items()
            if tensor.data_ptr() in by_storage
        }
        """Name in the class's state dict -> name of the stored tensor, which is another one where they are tied."""

    def name(self, program: Any, target: str, value: Any) -> str:
        """Return under which name an initializer is stored outside; empty: it stays in the graph."""
        parameter = program.weights.get(target)
        if parameter in self.names:
            return self.names[parameter]
        return self.constant(value)

    def constant(self, value: Any) -> str:
        """Return under which name a computed tensor is stored outside; empty: it stays in the graph."""
        array = value.const_value.numpy()
        if array.nbytes < INLINE_BYTES:
            return ""
        name = f"constant.{sha256(str((array.dtype.str, array.shape)).encode() + array.tobytes()).hexdigest()[:16]}"
        self.constants[name] = array
        return name

    def write_constants(self) -> None:
        """Write the constants, where there are any."""
        if self.constants:
            save = import_module("safetensors.numpy").save_file
            save(dict(sorted(self.constants.items())), self.folder / CONSTANTS)
        self.others = stored_tensors(self.folder / CONSTANTS) if self.constants else {}

    def point(self, model: Any) -> None:
        """Point every initializer that is stored outside at its bytes; widen what is stored in half precision."""
        graph = model.graph
        for name in [
            name for name in graph.initializers if name in self.weights or name in self.others
        ]:
            value = graph.initializers[name]
            inside = name in self.weights
            self.used |= {name} if inside else set()
            stored = self.weights[name] if inside else self.others[name]
            self._point(graph, value, stored, WEIGHTS if inside else CONSTANTS)

    def _point(self, graph: Any, value: Any, stored: StoredTensor, file: str) -> None:
        ir = import_module("onnx_ir")
        kind = ir.DataType[DTYPES[stored.dtype]]
        wide = value.dtype
        value.shape, value.type = ir.Shape(stored.shape), ir.TensorType(kind)
        value.const_value = ir.ExternalTensor(
            file,
            stored.offset,
            stored.nbytes,
            kind,
            shape=value.shape,
            name=value.name,
            base_dir=str(self.folder),
        )
        if wide is not None and wide != kind:
            cast = _node("Cast", [value], f"{value.name}.widened", to=wide.value)
            cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(wide), value.shape
            users = [use for use in value.uses() if use.node is not cast]
            for user, index in users:
                user.replace_input_with(index, cast.outputs[0])
            graph.insert_before(graph[0], cast)


DTYPES = {
    "F64": "DOUBLE",
    "F32": "FLOAT",
    "F16": "FLOAT16",
    "BF16": "BFLOAT16",
    "I64": "INT64",
    "I32": "INT32",
    "I16": "INT16",
    "I8": "INT8",
    "U8": "UINT8",
    "BOOL": "BOOL",
}
"""As safetensors spells them -> as ONNX does."""

FORMAT = ArtefactFormat(
    name="onnx",
    extra="onnx",
    modules=("torch", "transformers", "onnx", "onnxscript", "onnx_ir"),
    runner="onnxruntime",
    write=write,
    example=UsageExample(
        "onnxruntime, numpy and a tokenizer library",
        "import onnxruntime",
        """def generate(input_ids, attention_mask):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = onnxruntime.InferenceSession(HERE / "generate.onnx", options)
    return model.run(["sequences"], {"input_ids": input_ids, "attention_mask": attention_mask})[0]
""",
    ),
)
