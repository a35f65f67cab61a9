"""Versions of a model that must not be served, and must not keep others from being served."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from emo_serve.manifest import sha256_of
from tests.support import write_classifier

NAME = "toy-classifier"


def endless(root: Path, version: str, name: str = NAME) -> Path:
    """A version whose graph never ends on any picture."""
    return _looping(root, version, name, [], {"begins": np.asarray(True)})  # noqa: FBT003  # NumPy's own signature


def endless_but_for_its_golden_picture(root: Path, version: str) -> Path:
    """A version that passes its self-test, and never ends on most other pictures.

    The quadrants of the golden picture are red, green, blue and red: as much of green as of blue.
    """
    condition = [
        helper.make_node("Gather", ["real_means", "one"], ["green"], axis=1),
        helper.make_node("Gather", ["real_means", "two"], ["blue"], axis=1),
        helper.make_node("Sub", ["green", "blue"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("ReduceMax", ["distance"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "little"], ["begins"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "one": np.asarray([1], np.int64),
        "two": np.asarray([2], np.int64),
        "little": np.asarray(0.01, np.float32),
    }
    return _looping(root, version, NAME, condition, constants)


def endless_on_pure_colours(root: Path, version: str) -> Path:
    """A version that is served, and never ends on a picture of one pure colour."""
    condition = [
        helper.make_node("ReduceMax", ["real_means"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "much"], ["begins"]),
    ]
    return _looping(root, version, NAME, condition, {"much": np.asarray(250, np.float32)})


def _looping(
    root: Path, version: str, name: str, condition: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]]
) -> Path:
    """A version whose graph never ends where ``begins``, which the condition computes."""
    folder = write_classifier(root, name, version)
    model = onnx.load(folder / "model.onnx")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Identity", ["state"], ["next_state"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, None),
        ],
    )
    nodes = list(model.graph.node)
    position = next(index for index, node in enumerate(nodes) if node.output[0] == "means")
    nodes[position].output[0] = "real_means"
    loop = helper.make_node("Loop", ["", "begins", "real_means"], ["means"], body=body)
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: position + 1], *condition, loop, *nodes[position + 1 :]])
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    sign(folder)
    return folder


def with_weights_elsewhere(root: Path, version: str, location: str) -> Path:
    """A version whose graph wants its weights read from that place."""
    folder = write_classifier(root, NAME, version)
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "spread":
            size = len(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder)
    return folder


def sign(folder: Path) -> None:
    """Put the digests of the files as they are into the manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["sha256"] = {name: sha256_of(folder / name) for name in manifest["sha256"]}
    path.write_text(json.dumps(manifest), encoding="utf-8")


def put_fifo(path: Path) -> None:
    """Let a FIFO, into which nobody writes, take the place of the file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
