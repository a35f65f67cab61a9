"""Toy models with real ONNX graphs, and pictures for them, for the tests of the server.

The toy classifier names the strongest colour channel of the picture; the toy detector finds quadrants of pure colour;
the toy segmenter names the strongest colour channel around each pixel.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as PillowImage

from emo_serve.manifest import (
    MANIFEST_FILE,
    DetectionDefaults,
    Golden,
    GoldenOutput,
    Manifest,
    ModelCard,
    Preprocessing,
    Task,
    Tensor,
    sha256_of,
    write_manifest,
)

COLOURS = ("red", "green", "blue")
SIDE = 32
PATIENCE_SECONDS = 20  # when a test that should not wait gives up
OPSET = 17
IR_VERSION = 8
RGB: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}

CARD = ModelCard(
    architecture="toy",
    training_data="none",
    recipe="none",
    seed=0,
    metrics={},
    measured_on="nothing",
    intended_use="tests",
    terms="none",
)


def write_classifier(
    root: Path,
    name: str = "toy-classifier",
    version: str = "1",
    *,
    side: int = SIDE,
    golden_shift: float = 0.0,
    turn: int = 0,
    width: int = 3,
    groups: tuple[str, ...] | None = None,
) -> Path:
    """The folder of a complete classifier of ``COLOURS``; a ``golden_shift`` makes its self-test fail.

    A ``turn`` turns outputs and labels by so many places, so that names stay right as long as both are of one model; it
    is less sure of them, too. The weights are 2 x 3 x ``width`` numbers, a multiple of 3.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),  # (N, S, S, 3) -> (N, 3)
        helper.make_node("MatMul", ["means", "spread"], ["many"]),  # (N, 3) -> (N, width)
        helper.make_node("MatMul", ["many", "gather"], ["turned"]),  # (N, width) -> (N, 3)
        helper.make_node("Mul", ["turned", "sharpness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    spread = np.tile(np.eye(3, dtype=np.float32), width // 3)  # (3, width)
    constants: dict[str, NDArray[np.generic]] = {
        "spread": spread * np.float32(3 / width),
        "gather": np.roll(spread, -turn, axis=0).T.copy(),  # (width, 3)
        "sharpness": np.asarray(10 / 255 / (turn + 1), np.float32),
    }
    outputs = (Tensor(name="scores", dtype="float32", shape=(-1, 3)),)
    labels = COLOURS[turn:] + COLOURS[:turn]
    folder = root / name / version
    return _write(folder, "classify", nodes, constants, outputs, side, golden_shift, "crop", labels, groups)


def write_detector(
    root: Path,
    name: str = "toy-detector",
    version: str = "1",
    *,
    side: int = SIDE,
    golden_shift: float = 0.0,
) -> Path:
    """The folder of a complete detector: one box a quadrant, scored 1 for the pure colour that fills it.

    White, grey and black quadrants score 0 for every colour.
    """
    half = side / 2
    boxes = np.asarray(
        [[[x, y, x + half, y + half] for y in (0.0, half) for x in (0.0, half)]], np.float32
    )  # (1, 4, 4), quadrants in reading order
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),  # (N, S, S, 3) -> (N, 3, S, S)
        helper.make_node(
            "AveragePool", ["planes"], ["means"], kernel_shape=[side // 2] * 2, strides=[side // 2] * 2
        ),  # (N, 3, 2, 2)
        helper.make_node("Reshape", ["means", "flat"], ["columns"]),  # (N, 3, 4)
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),  # (N, 3, 4) -> (N, 4, 3)
        helper.make_node("Div", ["rows", "white"], ["units"]),
        helper.make_node("ReduceSum", ["units", "last"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["units", "two"], ["doubled"]),
        helper.make_node("Sub", ["doubled", "sums"], ["purity"]),  # own channel minus the two others
        helper.make_node("Relu", ["purity"], ["scores"]),
        helper.make_node("Mul", ["sums", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "quadrants"], ["boxes"]),  # (N, 4, 1) + (1, 4, 4) -> (N, 4, 4)
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "flat": np.asarray([0, 3, 4], np.int64),
        "white": np.asarray(255, np.float32),
        "last": np.asarray([2], np.int64),
        "two": np.asarray(2, np.float32),
        "zero": np.asarray(0, np.float32),
        "quadrants": boxes,
    }
    outputs = (
        Tensor(name="boxes", dtype="float32", shape=(-1, 4, 4)),
        Tensor(name="scores", dtype="float32", shape=(-1, 4, 3)),
    )
    return _write(root / name / version, "detect", nodes, constants, outputs, side, golden_shift)


def write_models(root: Path) -> None:
    """Write a toy model of each task."""
    root.mkdir(exist_ok=True)
    write_classifier(root)
    write_detector(root)
    write_segmenter(root)


def write_segmenter(
    root: Path,
    name: str = "toy-segmenter",
    version: str = "1",
    *,
    side: int = SIDE,
    mode: Literal["stretch", "fit"] = "stretch",
    golden_shift: float = 0.0,
) -> Path:
    """The folder of a complete segmenter: the strongest colour channel of each cell of 4 x 4 pixels."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),  # (N, S, S, 3) -> (N, 3, S, S)
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Div", ["means", "white"], ["logits"]),  # (N, 3, S / 4, S / 4)
    ]
    constants = {"white": np.asarray(255, np.float32)}
    outputs = (Tensor(name="logits", dtype="float32", shape=(-1, 3, side // 4, side // 4)),)
    return _write(root / name / version, "segment", nodes, constants, outputs, side, golden_shift, mode)


def _write(  # noqa: PLR0913, PLR0917  a folder has many parts
    folder: Path,
    task: Task,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    outputs: tuple[Tensor, ...],
    side: int,
    golden_shift: float,
    mode: Literal["crop", "stretch", "fit"] = "stretch",
    labels: Sequence[str] = COLOURS,
    groups: tuple[str, ...] | None = None,
) -> Path:
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        nodes,
        folder.parent.name,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", side, side, 3])],
        [helper.make_tensor_value_info(o.name, TensorProto.FLOAT, ["batch", *o.shape[1:]]) for o in outputs],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    manifest = Manifest(
        name=folder.parent.name,
        version=folder.name,
        task=task,
        input=Tensor(name="image", dtype="uint8", shape=(-1, side, side, 3)),
        outputs=outputs,
        preprocessing=Preprocessing(
            mode=mode,
            height=side,
            width=side,
            resize=side if mode == "crop" else None,
            interpolation="bilinear",
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
        ),
        detection=DetectionDefaults() if task == "detect" else None,
        groups=groups,
        sha256={file: sha256_of(folder / file) for file in ("model.onnx", "labels.txt")},
        golden=_golden(folder / "model.onnx", outputs, side, golden_shift),
        card=CARD,
    )
    write_manifest(manifest, folder / MANIFEST_FILE)
    return folder


def _golden(model: Path, outputs: tuple[Tensor, ...], side: int, shift: float) -> Golden:
    """A picture of the input's own size, so that any correct preprocessing leaves it as it is."""
    image = quadrants("red", "green", "blue", "red", side=side)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answers = session.run([output.name for output in outputs], {"image": image[None]})
    return Golden(
        image_png_base64=base64.b64encode(encode_image(image)).decode(),
        outputs=tuple(
            GoldenOutput(
                name=output.name,
                indices=tuple(range(answer.size)),
                values=tuple(float(value) + shift for value in answer.ravel()),
                tolerance=1e-4,
            )
            for output, answer in zip(outputs, answers, strict=True)
        ),
    )


def quadrants(
    top_left: str, top_right: str, bottom_left: str, bottom_right: str, side: int = SIDE
) -> NDArray[np.uint8]:
    """A picture (side, side, 3) of four colours named as in ``RGB``."""
    half = side // 2
    image = np.empty((side, side, 3), np.uint8)
    image[:half, :half] = RGB[top_left]
    image[:half, half:] = RGB[top_right]
    image[half:, :half] = RGB[bottom_left]
    image[half:, half:] = RGB[bottom_right]
    return image


def plain(colour: str, width: int = 48, height: int = 40) -> NDArray[np.uint8]:
    """A picture (height, width, 3) of one colour named as in ``RGB``."""
    return np.full((height, width, 3), RGB[colour], np.uint8)


def encode_image(image: NDArray[np.uint8], image_format: Literal["PNG", "JPEG"] = "PNG") -> bytes:
    """The picture as the bytes of a file."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, image_format)
    return buffer.getvalue()


def oriented_jpeg(image: NDArray[np.uint8], orientation: int) -> bytes:
    """The picture enlarged to 1601x801 pixels, as a JPEG with this EXIF orientation."""
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    buffer = io.BytesIO()
    PillowImage.fromarray(image).resize((1601, 801)).save(buffer, "JPEG", quality=95, subsampling=0, exif=metadata)
    return buffer.getvalue()
