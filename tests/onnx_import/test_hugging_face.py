"""``emo-serve add --from-hf`` of a folder: its configuration is followed, or refused by the name of a field."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from emo_serve.__main__ import main
from tests.onnx_import.hf_folders import (
    BICUBIC,
    CLASSES,
    CONFIG,
    HALF,
    LABELS,
    SQUARE,
    VIT,
    Processor,
    add,
    answers,
    scores_by_hand,
    write_folder,
)
from tests.onnx_import.networks import ANCHORS, SIDE, _cells, _centred, cell_boxes, write_network


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (VIT, scores_by_hand(SQUARE)),
        (VIT | {"size": SIDE, "image_processor_type": None, "feature_extractor_type": "ViTFeatureExtractor"}, None),
        (VIT | {"resample": 3, "image_mean": 0.25}, scores_by_hand(SQUARE, mean=0.25, resample=BICUBIC)),
        (VIT | {"do_normalize": False}, scores_by_hand(SQUARE, mean=0, std=1)),
        (VIT | {"rescale_factor": 1 / 127.5}, scores_by_hand(SQUARE, factor=1 / 127.5)),
        (
            VIT | {"do_rescale": False, "image_mean": [100.0] * 3, "image_std": [50.0] * 3},
            scores_by_hand(SQUARE, mean=100, std=50, factor=1),
        ),
        (
            HALF
            | {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": SIDE}, "crop_pct": 0.875},
            scores_by_hand((48, 36), (8, 2)),
        ),
        (
            HALF
            | {
                "image_processor_type": "MobileNetV2ImageProcessorFast",
                "size": {"shortest_edge": 40},
                "crop_size": {"height": SIDE, "width": SIDE},
                "do_center_crop": True,
            },
            scores_by_hand((53, 40), (10, 4)),
        ),
        (
            {
                "image_processor_type": "MobileViTImageProcessor",
                "size": {"shortest_edge": 40},
                "crop_size": SIDE,
                "do_center_crop": True,
                "do_flip_channel_order": True,
            },
            scores_by_hand((53, 40), (10, 4), mean=0, std=1, is_bgr=True),
        ),
    ],
)
def test_scores_are_those_of_the_same_steps_by_hand(
    tmp_path: Path, processor: Processor, expected: NDArray[np.float64] | None
) -> None:
    given = {name: value for name, value in processor.items() if value is not None}
    assert add(write_folder(tmp_path / "theirs", processor=given), tmp_path / "models") == 0
    wanted = scores_by_hand(SQUARE) if expected is None else expected
    np.testing.assert_allclose(answers(tmp_path / "models")["scores"], wanted, rtol=2e-3)
    assert (tmp_path / "models/theirs/1/labels.txt").read_text().splitlines() == list(LABELS.values())


def test_what_the_configuration_says_is_printed_as_options_and_given_ones_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "theirs")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"mine {number}" for number in range(CLASSES)))
    assert add(folder, tmp_path / "models", "--interpolation", "bicubic", "--labels", str(labels)) == 0
    output = capsys.readouterr().out
    assert "--task classify" in output
    assert f"--mean 127.5,127.5,127.5 --std 127.5,127.5,127.5 --size {SIDE}x{SIDE} --resize stretch" in output
    assert "--interpolation" not in output.splitlines()[0]
    np.testing.assert_allclose(
        answers(tmp_path / "models")["scores"], scores_by_hand(SQUARE, resample=BICUBIC), rtol=2e-3
    )
    assert "mine 0" in (tmp_path / "models/theirs/1/labels.txt").read_text()


def test_several_labels_at_a_time_are_sigmoids_and_names_that_come_again_get_their_number(tmp_path: Path) -> None:
    config = CONFIG | {"problem_type": "multi_label_classification", "id2label": LABELS | {"7": "part 3"}}
    assert add(write_folder(tmp_path / "theirs", config), tmp_path / "models") == 0
    odds = scores_by_hand(SQUARE)
    scores = answers(tmp_path / "models")["scores"].astype(np.float64)
    np.testing.assert_allclose((scores / (1 - scores)) / (scores / (1 - scores)).sum(), odds, rtol=5e-3)
    assert (tmp_path / "models/theirs/1/labels.txt").read_text().splitlines()[7] == "part 3 (7)"


@pytest.mark.parametrize(("family", "is_softmax"), [("detr", True), ("yolos", True), ("rt_detr", False)])
def test_detectors_of_the_detr_family_find_what_is_there(tmp_path: Path, family: str, is_softmax: bool) -> None:
    folder = tmp_path / "theirs"
    (folder / "onnx").mkdir(parents=True)
    nodes, constants = _cells()
    constants |= {"table": _centred(cell_boxes())[None] / np.float32(SIDE), "ten": np.asarray(10, np.float32)}
    nodes.append(helper.make_node("Identity", ["cells"], ["pred_boxes"]))
    nodes.append(helper.make_node("Mul", ["colours", "ten"], ["classes" if is_softmax else "logits"]))
    if is_softmax:
        constants["five"] = np.asarray([5], np.float32)
        nodes.append(helper.make_node("Add", ["zero", "five"], ["nobody"]))
        nodes.append(helper.make_node("Concat", ["classes", "nobody"], ["logits"], axis=2))
    shapes: dict[str, list[str | int | None]] = {
        "logits": ["n", ANCHORS, 3 + is_softmax],
        "pred_boxes": ["n", ANCHORS, 4],
    }
    write_network(folder / "onnx" / "model.onnx", nodes, constants, ["n", 3, SIDE, SIDE], shapes)
    names = {"0": "red", "1": "green", "2": "blue"}
    config = {"architectures": ["XForObjectDetection"], "model_type": family, "id2label": names}
    (folder / "config.json").write_text(json.dumps(config))
    size = {"height": SIDE, "width": SIDE} if family == "rt_detr" else {"shortest_edge": 800, "longest_edge": 1333}
    processor = {"image_processor_type": "DetrImageProcessor", "size": size, "do_normalize": False, "do_pad": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    assert add(folder, tmp_path / "models") == 0
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[4:8, 8:12, 1] = 255  # green in one cell
    found = answers(tmp_path / "models", picture)
    best = int(found["scores"][:, 1].argmax())
    np.testing.assert_allclose(found["boxes"][best], [8, 4, 12, 8], atol=1e-3)
    expected = np.exp(10) / (np.exp(10) + np.exp(5) + 2) if is_softmax else 1 / (1 + np.exp(-10))
    assert found["scores"][best, 1] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "processor", "reason"),
    [
        ({"architectures": ["BertModel"]}, {}, "architectures"),
        ({"architectures": None}, {}, "--task"),
        ({"architectures": "ViT"}, {}, "allowed is an array"),
        ({"problem_type": "regression"}, {}, "single_label_classification"),
        ({"id2label": {"0": "a", "2": "b"}}, {}, "id2label"),
        ({"id2label": ["a"]}, {}, "id2label"),
        ({"architectures": ["AForObjectDetection"], "model_type": "owlvit"}, {}, "yolos"),
        ({}, {"image_processor_type": "LevitImageProcessor"}, "ViTImageProcessor"),
        ({}, {"image_processor_type": 3}, "image_processor_type"),
        ({}, {"resample": 1}, "allowed are 2 (bilinear) and 3 (bicubic)"),
        ({}, {"do_resize": False}, "do_resize"),
        ({}, {"do_rescale": "yes"}, "allowed are true and false"),
        ({}, {"rescale_factor": -1}, "above 0"),
        ({}, {"rescale_offset": True}, "rescale_offset"),
        ({}, {"image_mean": [1, 2]}, "image_mean"),
        ({}, {"image_std": [0.0, 1.0, 1.0]}, "image_std"),
        ({}, {"size": {"height": SIDE}}, "size"),
        ({}, {"size": None}, "--size"),
        ({}, {"size": {"shortest_edge": 40}}, "do_center_crop"),
        ({}, {"size": 48, "do_center_crop": True, "crop_size": SIDE}, "crop_size"),
        ({}, {"size": 48}, "not the size of the input"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_the_name_of_its_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: Processor, processor: Processor, reason: str
) -> None:
    assert add(write_folder(tmp_path / "theirs", CONFIG | config, VIT | processor), tmp_path / "models") == 1
    errors = capsys.readouterr().err
    assert reason in errors
    assert errors.startswith("emo-serve: ")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_files_that_are_no_configuration_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    folder = write_folder(tmp_path / "theirs")
    (folder / "config.json").write_bytes(content)
    assert add(folder, tmp_path / "models") == 1
    assert "config.json" in capsys.readouterr().err
    (folder / "config.json").unlink()
    assert add(folder, tmp_path / "models") == 1
    assert "config.json: cannot be read" in capsys.readouterr().err


def test_of_several_networks_one_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "theirs")
    (folder / "onnx" / "model.onnx").rename(folder / "onnx" / "model_fp16.onnx")
    (folder / "onnx" / "model_int8.onnx").write_bytes(b"")
    assert add(folder, tmp_path / "models") == 1
    assert "--file; there are onnx/model_fp16.onnx, onnx/model_int8.onnx" in capsys.readouterr().err
    assert add(folder, tmp_path / "models", "--file", "../other.onnx") == 1
    assert "there is no --file ../other.onnx" in capsys.readouterr().err
    assert add(folder, tmp_path / "models", "--file", "onnx/model_fp16.onnx") == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.onnx"], ["a.onnx", "--from-hf", "b"], ["a.onnx", "--task", "classify", "--file", "b.onnx"]],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["add", "--name", "theirs", *arguments])
