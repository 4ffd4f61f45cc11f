"""Makes towers in int8. Run as a program: what it imports serves nobody.

    python -m embeddings.encoders.quantise text TOWER OUTPUT
    python -m embeddings.encoders.quantise blocks TOWER OUTPUT
    python -m embeddings.encoders.quantise calibrate TOWER < FRAMES > RANGES
    python -m embeddings.encoders.quantise image TOWER OUTPUT RANGES

FRAMES are height and width as two int64, then the bytes of the pixels. When it fails, the last line
of stderr is why.

Texts: weights in int8, and what they are multiplied with rounded as it comes, with one scale for
all of it; or in blocks with scales of their own, which is slower and bears single strong values.
Images: within ranges that are known before, with a scale a tensor. So that one strong channel does
not cost the others their precision, it hands a part of its strength to the weights (SmoothQuant:
Xiao et al. 2023, "SmoothQuant: accurate and efficient post-training quantization for large language
models").
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from embeddings.encoders import programs
from embeddings.encoders.framing import Frames
from embeddings.encoders.layout import PIXELS

Floats = NDArray[np.float32]
# Of each tensor its lowest and its highest value; where it was normalised, of each channel.
Ranges = dict[str, list[list[float]]]

_AT_ONCE = 8  # images
_LEAST = 1e-8  # of a scale: what is always zero has one, too
_BLOCK = 32  # weights
_SMOOTHED = 0.5  # exponent: how much of a channel's strength goes over to the weights


def text(tower: Path, output: Path) -> None:
    """Write a text tower in int8."""
    rounded: dict[str, tuple[str, ...]] = {}

    def multiply(graph: _Graph, node: NodeProto, weights: Floats) -> str:
        name = node.input[0]
        if name not in rounded:
            rounded[name] = graph.add("DynamicQuantizeLinear", [name], n=3)
        return _product(graph, rounded[name], weights)

    _write_text(tower, output, multiply)


def text_in_blocks(tower: Path, output: Path) -> None:
    """Write a text tower in int8 whose weights, and what they meet, have a scale a block."""
    _write_text(tower, output, _product_in_blocks)


def _write_text(
    tower: Path, output: Path, multiply: Callable[[_Graph, NodeProto, Floats], str]
) -> None:
    graph = _Graph(onnx.load(tower))
    for node in graph.read():
        if (weights := graph.weights_of(node)) is not None and node.op_type != "Conv":
            product = multiply(graph, node, weights)
            operation, *others = ("Add", *node.input[2:]) if len(node.input) > 2 else ("Identity",)
            graph.nodes.append(helper.make_node(operation, [product, *others], node.output))
        elif (table := graph.table_of(node)) is not None:
            _look_up(graph, node, table)
        else:
            graph.nodes.append(node)
    graph.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph.write(output)


def _product(graph: _Graph, x: tuple[str, ...], weights: Floats) -> str:
    """Add what the runtime knows as one multiplication; `x` are values, scale and zero."""
    in_int8, scale = _in_int8(weights, axis=1)
    (product,) = graph.add("MatMulInteger", [x[0], graph.constant(in_int8), x[2]])
    (product,) = graph.add("Cast", [product], to=TensorProto.FLOAT)
    (scales,) = graph.add("Mul", [x[1], graph.constant(scale)])
    (product,) = graph.add("Mul", [product, scales])
    return product


def _product_in_blocks(graph: _Graph, node: NodeProto, weights: Floats) -> str:
    channels, others = weights.shape
    padded = np.pad(weights.T, ((0, 0), (0, -channels % _BLOCK)))
    in_int8, scales = _in_int8(padded.reshape(-1, _BLOCK), axis=0)
    places = (in_int8.astype(np.int16) + 128).astype(np.uint8).reshape(others, -1, _BLOCK)
    (product,) = graph.add(
        "MatMulNBits",
        [node.input[0], graph.constant(places), graph.constant(scales)],
        domain="com.microsoft", K=channels, N=others, bits=8, block_size=_BLOCK, accuracy_level=4,
    )  # fmt: skip
    return product


def _look_up(graph: _Graph, node: NodeProto, table: Floats) -> None:
    in_int8, scale = _in_int8(table, axis=0)
    (rows,) = graph.add("Gather", [graph.constant(in_int8), node.input[1]], axis=0)
    (rows,) = graph.add("Cast", [rows], to=TensorProto.FLOAT)
    (scales,) = graph.add("Gather", [graph.constant(scale[:, None]), node.input[1]], axis=0)
    graph.nodes.append(helper.make_node("Mul", [rows, scales], node.output))


def image(tower: Path, output: Path, ranges: Path) -> None:
    """Write an image tower in int8, as calibrated."""
    known: Ranges = json.loads(ranges.read_text())
    graph = _Graph(onnx.load(tower))
    smoothed = _smooth(graph, known)
    rounded: dict[str, str] = {}
    for node in graph.read():
        weights = graph.weights_of(node)
        if weights is not None:
            name = node.input[0]
            factors = smoothed.get(name, np.ones(1, np.float32))
            if name not in rounded:
                rounded[name] = _rounded(graph, name, np.array(known[name]) / factors)
            if name in smoothed:
                weights = weights * factors[:, None]
            given = [rounded[name], _constant_rounded(graph, node, weights), *node.input[2:]]
            del node.input[:]
            node.input.extend(given)
        graph.nodes.append(node)
    graph.write(output)


def _rounded(graph: _Graph, name: str, bounds: NDArray[Any]) -> str:
    """Round a tensor to one of 256 values between its bounds, (2, channels)."""
    low, high = min(float(bounds[0].min()), 0.0), max(float(bounds[1].max()), 0.0)
    scale = max((high - low) / 255, _LEAST)
    values = graph.constant(np.float32(scale)), graph.constant(np.uint8(round(-low / scale)))
    (rounded,) = graph.add("QuantizeLinear", [name, *values])
    (back,) = graph.add("DequantizeLinear", [rounded, *values])
    return back


def _constant_rounded(graph: _Graph, node: NodeProto, weights: Floats) -> str:
    axis = 0 if node.op_type == "Conv" else 1
    in_int8, scale = _in_int8(weights, axis=axis)
    if _is_transposed(node):
        in_int8, axis = np.ascontiguousarray(in_int8.T), 0
    zeros = graph.constant(np.zeros(len(scale), np.int8))
    given = [graph.constant(in_int8), graph.constant(scale), zeros]
    (weights_back,) = graph.add("DequantizeLinear", given, axis=axis)
    return weights_back


def _smooth(graph: _Graph, known: Ranges) -> dict[str, Floats]:
    """Divide the channels of what is normalised just before; return by how much, (channels,)."""
    uses = Counter(name for node in graph.read() for name in node.input)
    uses.update(one.name for one in graph.model.graph.output)
    weights_by_input: dict[str, list[Floats]] = {}
    for node in graph.read():
        if node.op_type != "Conv" and (weights := graph.weights_of(node)) is not None:
            weights_by_input.setdefault(node.input[0], []).append(weights)
    smoothed = {}
    for node in graph.read():
        consumers = weights_by_input.get(node.output[0], [])
        if node.op_type != "LayerNormalization" or uses[node.output[0]] != len(consumers):
            continue
        if not consumers or not all(name in graph.arrays for name in node.input[1:]):
            continue
        strengths = np.abs(np.array(known[node.output[0]], np.float32)).max(axis=0)
        of_weights = np.max([np.abs(one).max(axis=1) for one in consumers], axis=0)
        factors = (np.maximum(strengths, 1e-5) / np.maximum(of_weights, 1e-5)) ** _SMOOTHED
        for place, name in enumerate(node.input[1:], start=1):
            node.input[place] = graph.constant(graph.array(name) / factors)
        smoothed[node.output[0]] = factors
    return smoothed


def calibrate(tower: Path, frames: Frames) -> Ranges:
    """Return between which values a tower multiplies with its weights, seen on frames."""
    model = onnx.load(tower, load_external_data=False)
    graph = _Graph(model)
    names: list[str] = []
    normalised = {one.output[0] for one in graph.read() if one.op_type == "LayerNormalization"}
    for node in graph.read():
        graph.nodes.append(node)
        if graph.has_weights(node) and node.input[0] not in names:
            names.append(node.input[0])
            # Only what is normalised just before can be smoothed, channel by channel.
            channels = graph.channels_of(node) if node.input[0] in normalised else 1
            shape = graph.constant(np.array([-1, channels], np.int64))
            (flat,) = graph.add("Reshape", [node.input[0], shape])
            for operation in ("ReduceMin", "ReduceMax"):
                axes = graph.constant(np.array([0], np.int64))
                (found,) = graph.add(operation, [flat, axes], keepdims=0)
                model.graph.output.append(helper.make_empty_tensor_value_info(found))
    session = _session(graph, tower.parent)
    seen = [
        session.run(None, {PIXELS: frames[start : start + _AT_ONCE]})[1:]
        for start in range(0, len(frames), _AT_ONCE)
    ]
    lowest = [np.min(values, axis=0) for values in zip(*(one[::2] for one in seen), strict=True)]
    highest = [np.max(values, axis=0) for values in zip(*(one[1::2] for one in seen), strict=True)]
    return {
        name: [_short(low), _short(high)]
        for name, low, high in zip(names, lowest, highest, strict=True)
    }


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def _session(graph: _Graph, weights: Path) -> Any:
    graph.finish()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(weights)
    )
    return onnxruntime.InferenceSession(
        graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _in_int8(weights: Floats, *, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Return weights as int8 and the scale of each place along an axis."""
    others = tuple(n for n in range(weights.ndim) if n != axis)
    scale = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / 127, _LEAST)
    return np.rint(weights / scale).astype(np.int8), scale.astype(np.float32).ravel()


class _Graph:
    """An ONNX graph whose nodes are replaced."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []
        self.arrays = {one.name: one for one in model.graph.initializer}
        self._made = 0

    def read(self) -> list[NodeProto]:
        return list(self.model.graph.node)

    def has_weights(self, node: NodeProto) -> bool:
        """Whether it multiplies what comes with constant weights, and does nothing else."""
        if node.op_type not in ("MatMul", "Gemm", "Conv") or node.input[1] not in self.arrays:
            return False
        weights, said = self.arrays[node.input[1]], _attributes(node)
        is_plain = said.get("alpha", 1) == said.get("beta", 1) == 1 and not said.get("transA")
        is_wide = len(weights.dims) == (4 if node.op_type == "Conv" else 2)
        return is_plain and is_wide and weights.data_type == TensorProto.FLOAT

    def weights_of(self, node: NodeProto) -> Floats | None:
        """Return the weights, (channels that come, channels that go); None of other nodes.

        Those of a Conv are as they are, (channels that go, channels that come, height, width).
        """
        if not self.has_weights(node):
            return None
        weights = self.array(node.input[1])
        return weights.T if _is_transposed(node) else weights

    def channels_of(self, node: NodeProto) -> int:
        return int(self.arrays[node.input[1]].dims[1 if _is_transposed(node) else 0])

    def table_of(self, node: NodeProto) -> Floats | None:
        """Return the rows that a node looks up, (rows, channels); None of other nodes."""
        if node.op_type != "Gather" or node.input[0] not in self.arrays:
            return None
        table = self.arrays[node.input[0]]
        if len(table.dims) != 2 or table.data_type != TensorProto.FLOAT:
            return None
        return self.array(node.input[0]) if _attributes(node).get("axis", 0) == 0 else None

    def array(self, name: str) -> Floats:
        return np.asarray(numpy_helper.to_array(self.arrays[name]))

    def constant(self, values: Any) -> str:
        name = self._name()
        self.arrays[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def add(self, operation: str, inputs: list[str], *, n: int = 1, **said: Any) -> tuple[str, ...]:
        """Add a node and return the names of what it gives."""
        outputs = tuple(self._name() for _ in range(n))
        self.nodes.append(helper.make_node(operation, inputs, outputs, **said))
        return outputs

    def finish(self) -> None:
        """Put the new nodes in the place of the old ones, with the constants that they use."""
        used = {name for node in self.nodes for name in node.input}
        graph = self.model.graph
        for field, values in (
            (graph.node, self.nodes),
            (graph.initializer, [one for name, one in self.arrays.items() if name in used]),
        ):
            del field[:]
            field.extend(values)
        del graph.value_info[:]

    def write(self, output: Path) -> None:
        self.finish()
        onnx.save(self.model, output)

    def _name(self) -> str:
        self._made += 1
        return f"int8_{self._made}"


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _is_transposed(node: NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(_attributes(node).get("transB"))


def _frames_of(packed: bytes) -> Frames:
    height, width = np.frombuffer(packed, np.int64, count=2)
    return np.frombuffer(packed, np.uint8, offset=16).reshape(-1, height, width, 3)


def main(what: str, tower: Path, *others: Path) -> None:
    programs.end_with_parent()
    if what == "text":
        text(tower, *others)
    elif what == "blocks":
        text_in_blocks(tower, *others)
    elif what == "image":
        image(tower, *others)
    else:
        json.dump(calibrate(tower, _frames_of(sys.stdin.buffer.read())), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
