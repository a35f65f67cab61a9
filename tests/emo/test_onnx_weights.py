"""ONNX files as users have them, made by ``torch.onnx`` in its two ways, become the model again."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import emo
from emo.__main__ import main
from emo.checkpoints.onnx_weights import read_onnx_weights
from emo.export.checkpoint_import import Origin, Target, import_file
from emo.models.heads.model import Model
from emo_serve.manifest import MANIFEST_FILE, MODEL_FILE, read_manifest
from tests.emo.parity import upstream_state

SIDE = 64
SQUARE = torch.zeros(1, 3, SIDE, SIDE)


def varied_model() -> Model:
    """Norms and biases included, no two of its tensors are alike."""
    model = emo.create("emo_1m")
    emo.load_upstream(model, upstream_state("emo_1m"))
    return model.eval()


def fresh_model() -> Model:
    """A network as training begins: many of its norms and biases are equal, or zero."""
    torch.manual_seed(0)
    return emo.create("emo_2m", 7).eval()


def write(
    model: nn.Module,
    path: Path,
    opset: int = 18,
    *,
    dynamo: bool = True,
    pictures: Tensor = SQUARE,
    **options: Any,  # noqa: ANN401  of the exporter
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (pictures,), path, dynamo=dynamo, opset_version=opset, verbose=False, **options)
    return path


@pytest.fixture(scope="module")
def varied_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(varied_model(), tmp_path_factory.mktemp("varied") / "net.onnx")


def assert_same_answers(model: nn.Module, other: nn.Module) -> None:
    pictures = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, SIDE, SIDE), np.float32))
    with torch.no_grad():
        wanted, found = model(pictures), other(pictures)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(
    ("make", "opset", "dynamo"),
    [(varied_model, 17, False), (varied_model, 13, False), (fresh_model, 18, True), (fresh_model, 17, False)],
)
def test_a_classifier_that_torch_exported_comes_back(
    make: Callable[[], Model], opset: int, dynamo: bool, tmp_path: Path
) -> None:
    model = make()
    exported = read_onnx_weights(write(model, tmp_path / "net.onnx", opset, dynamo=dynamo))
    assert exported.architecture == ("emo_1m" if model.num_classes == 1000 else "emo_2m")
    assert exported.side == SIDE
    assert exported.model.num_classes == model.num_classes
    assert_same_answers(model, exported.model)


def test_the_present_exporter_s_file_comes_back_with_all_norms_and_biases(varied_file: Path) -> None:
    assert_same_answers(varied_model(), read_onnx_weights(varied_file).model)


def test_a_file_that_ends_in_probabilities_and_keeps_its_weights_beside_it_is_taken(tmp_path: Path) -> None:
    model = varied_model()
    file = write(nn.Sequential(model, nn.Softmax(-1)), tmp_path / "net.onnx", external_data=True)
    assert len(list(tmp_path.iterdir())) == 2
    assert_same_answers(model, read_onnx_weights(file).model)


def test_norms_that_were_not_folded_are_taken_with_their_own_epsilon(tmp_path: Path) -> None:
    model = varied_model()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-2
    options: dict[str, Any] = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    file = write(model, tmp_path / "net.onnx", 17, dynamo=False, **options)
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("BatchNormalization") == sum(isinstance(norm, nn.BatchNorm2d) for norm in model.modules())
    assert_same_answers(model, read_onnx_weights(file).model)


def test_a_file_for_oblong_pictures_says_nothing_of_the_side_to_serve(tmp_path: Path) -> None:
    model = fresh_model()
    file = write(model, tmp_path / "net.onnx", 17, dynamo=False, pictures=torch.zeros(1, 3, 96, 64))
    exported = read_onnx_weights(file)
    assert exported.side is None
    assert_same_answers(model, exported.model)


def test_import_serves_it_rearranged_at_its_own_size(
    varied_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = import_file(varied_file, Target(tmp_path / "models", "mine", "1"), Origin(), architecture="emo_1m")
    manifest = read_manifest(folder / MANIFEST_FILE)
    assert manifest.input.shape == (-1, SIDE, SIDE, 3)
    assert manifest.card.architecture == "emo_1m"
    assert len(onnx.load(folder / MODEL_FILE).graph.node) < len(onnx.load(varied_file).graph.node)
    assert "answers as the file does" in capsys.readouterr().out


def test_an_imported_file_must_be_the_architecture_that_was_asked_for(varied_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is emo_1m, not emo_5m"):
        import_file(varied_file, Target(tmp_path / "models", "mine", "1"), Origin(), architecture="emo_5m")
    assert not (tmp_path / "models").exists()


def halve_a_constant(proto: onnx.ModelProto) -> None:
    """The scale of an attention."""
    tensors = [*proto.graph.initializer, *(node.attribute[0].t for node in proto.graph.node if node.attribute)]
    scale = next(tensor for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT and not tensor.dims)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / 2, scale.name))


def swap_two_layers(proto: onnx.ModelProto) -> None:
    first, second, *_ = (node for node in proto.graph.node if node.op_type == "Conv")
    first.input[1], second.input[1] = second.input[1], first.input[1]


def drop_the_last_layer(proto: onnx.ModelProto) -> None:
    proto.graph.node.remove(next(node for node in proto.graph.node if node.op_type == "Gemm"))


def repeat_the_last_layer(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(next(node for node in proto.graph.node if node.op_type == "Gemm"))


def keep_halves(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def take_bytes(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8


def ask_for_a_newer_runtime(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 1000


def answer_with_a_map(proto: onnx.ModelProto) -> None:
    """Beside what all the layers compute."""
    proto.graph.output[0].name = next(node.output[0] for node in proto.graph.node if node.op_type == "Conv")
    proto.graph.output[0].type.tensor_type.ClearField("shape")


def leave_another_width(proto: onnx.ModelProto) -> None:
    while sum(node.op_type == "Conv" for node in proto.graph.node) > 20:
        proto.graph.node.pop()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (halve_a_constant, "has the layers of EMO, but computes something else"),
        (swap_two_layers, r"the weight of a layer is \(\(24, 1, 3, 3\), torch.float32\), wanted is \(\(24, 3, 3, 3\)"),
        (drop_the_last_layer, "before nothing there should be a Gemm"),
        (repeat_the_last_layer, "1 more layers with weights follow its last"),
        (keep_halves, "torch.float16"),
        (take_bytes, r"wanted is one of float32 \(N, 3, H, W\)"),
        (ask_for_a_newer_runtime, "other.onnx cannot be run: .*opset"),
        (answer_with_a_map, "its answers differ by inf"),
        (leave_another_width, "is no EMO classifier: 80 channels leave .* 168 .emo_1m., .*; emo-serve add takes any"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_with_the_reason(
    change: Callable[[onnx.ModelProto], None], reason: str, varied_file: Path, tmp_path: Path
) -> None:
    proto = onnx.load(varied_file)
    change(proto)
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=reason):
        read_onnx_weights(tmp_path / "other.onnx")


@pytest.mark.parametrize("content", [None, b"", b"no graph" * 20])
def test_a_file_that_is_none_ends_the_command_with_a_message(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["import", str(file), "--name", "mine", "--models", str(tmp_path / "models")])
    assert ended.value.code == 2
    assert str(file) in capsys.readouterr().err


def test_what_is_served_here_is_no_file_to_import() -> None:
    file = Path(__file__).parents[2] / "models" / "emo-1m" / "3" / MODEL_FILE
    with pytest.raises(ValueError, match=r"as torch\.onnx writes it, not rearranged by a runtime"):
        read_onnx_weights(file)
