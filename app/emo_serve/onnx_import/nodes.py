"""The nodes and constants of an ONNX graph under construction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

NETWORK = "network/"
"""Prefix of all names of the network, to keep them apart from those of added nodes."""

_TYPES = {
    "uint8": TensorProto.UINT8,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
}


@dataclass(slots=True)
class Nodes:
    """Nodes of a graph or of the body of a Scan; tensors are referred to by name."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def op(self, kind: str, inputs: Sequence[str], **attributes: int | list[int]) -> str:
        """Add a node with one output; returns its name."""
        return self.named(kind, inputs, f"serving/{len(self.nodes)}", **attributes)

    def named(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> str:
        """Add a node whose output has this name."""
        self.several(kind, inputs, [output], **attributes)
        return output

    def several(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | list[int]) -> None:
        """Add a node whose outputs have these names."""
        node = helper.make_node(kind, inputs, outputs)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        name = f"serving/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def floats(self, *values: float) -> str:
        """Add a constant float32 (len,)."""
        return self.constant(np.asarray(values, np.float32))

    def numbers(self, *values: int) -> str:
        """Add a constant int64 (len,)."""
        return self.constant(np.asarray(values, np.int64))

    def number(self, value: int) -> str:
        """Add a constant int64 ()."""
        return self.constant(np.asarray(value, np.int64))

    def cast(self, values: str, dtype: Literal["uint8", "float32", "float16", "int64"]) -> str:
        """Convert to another type."""
        return self.op("Cast", [values], to=_TYPES[dtype])

    def columns(self, table: str, first: int, last: int) -> str:
        """Slice columns out of the last axis."""
        return self.op("Slice", [table, self.numbers(first), self.numbers(last), self.numbers(-1)])
