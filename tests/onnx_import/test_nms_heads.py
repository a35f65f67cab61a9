"""Detectors with non-maximum suppression inside, added by the command and served: right to the pixel."""

import asyncio
import json
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from emo_serve.engine.execution.session import OrtSession
from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.settings import Batching, SessionOptions
from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import write_fixed
from tests.onnx_import.reference import Found, blocks, expected, overlap
from tests.onnx_import.suppressing import ANCHORS, CLASSES, ROWS, SIDE, THRESHOLD, Form, write_suppressing
from tests.serving import running, settings_for
from tests.support import COLOURS, encode_image, plain

pytestmark = pytest.mark.anyio

PICTURES = (
    blocks(1, SIDE, SIDE),
    blocks(2, 150, 90),
    plain("black", 70, 50),  # in which there is nothing
    blocks(3, 60, 110),
    blocks(4, 40, 30),
    blocks(5, 97, 61),
)


def check(answer: list[dict[str, Any]], wanted: list[Found]) -> None:
    """The same objects in the same order, to a fiftieth of a pixel."""
    assert [entry["name"] for entry in answer] == [COLOURS[found.label] for found in wanted]
    for entry, found in zip(answer, wanted, strict=True):
        assert entry["score"] == pytest.approx(found.score, abs=1e-4)
        assert entry["box"] == pytest.approx(found.box, abs=0.02)


def manifest_of(models: Path) -> dict[str, Any]:
    manifest = json.loads((models / "theirs/1/manifest.json").read_text())
    assert isinstance(manifest, dict)
    return manifest


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("mode", ["stretch", "fit"])
async def test_every_picture_gets_what_the_network_kept_of_it(
    tmp_path: Path, labels: Path, form: Form, mode: Literal["stretch", "fit"]
) -> None:
    file = write_suppressing(tmp_path / "a.onnx", form)
    assert add(file, "detect", "--labels", labels, "--resize", mode) == 0
    answers = await ask(tmp_path / "models", "detect", *PICTURES, score_threshold=THRESHOLD)
    wanted = [expected(picture, mode, suppressed=form != "open") for picture in PICTURES]
    assert [len(found) for found in wanted if not found] == [0]
    for answer, found in zip(answers, wanted, strict=True):
        check(answer, found)


def test_the_reference_holds_what_a_second_suppression_would_take_away() -> None:
    default = 0.45
    found = [found for picture in PICTURES for found in expected(picture, "stretch")]
    assert any(a.label == b.label and overlap(a.box, b.box) > default for a, b in combinations(found, 2))


async def test_a_network_for_a_picture_without_a_batch_is_served_too(tmp_path: Path, labels: Path) -> None:
    file = write_suppressing(tmp_path / "a.onnx", "torchvision", lone=True)
    assert add(file, "detect", "--labels", labels) == 0
    answers = await ask(tmp_path / "models", "detect", *PICTURES, score_threshold=THRESHOLD)
    for answer, picture in zip(answers, PICTURES, strict=True):
        check(answer, expected(picture, "stretch"))


@pytest.mark.parametrize("form", ["torchvision", "open"])
async def test_pictures_with_different_numbers_of_objects_share_batches_under_load(
    tmp_path: Path, labels: Path, form: Form
) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", form), "detect", "--labels", labels, "--resize", "fit") == 0
    settings = settings_for(tmp_path / "models", tune=False, batching=Batching(max_batch_size=8))
    rounds = 8
    with running(settings) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:

            async def found_in(picture: NDArray[np.uint8]) -> list[dict[str, Any]]:
                query: dict[str, str | float] = {"model": "theirs", "score_threshold": THRESHOLD}
                kind = {"Content-Type": "image/png"}
                answer = await client.post("/detect", content=encode_image(picture), params=query, headers=kind)
                assert answer.status_code == httpx.codes.OK, answer.text
                detections = answer.json()["detections"]
                assert isinstance(detections, list)
                return detections

            answers = await asyncio.gather(*map(found_in, PICTURES * rounds))
    wanted = [expected(picture, "fit", suppressed=form != "open") for picture in PICTURES] * rounds
    for answer, found in zip(answers, wanted, strict=True):
        check(answer, found)


@pytest.mark.parametrize("form", ["torchvision", "tensorflow", "open"])
def test_a_batch_is_answered_as_its_pictures_alone(tmp_path: Path, labels: Path, form: Form) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", form), "detect", "--labels", labels) == 0
    artefact = read_artefact(tmp_path / "models/theirs/1")
    session = OrtSession(artefact.model_path, artefact.manifest, SessionOptions())
    batch = np.stack([blocks(seed, SIDE, SIDE) for seed in range(4)] + [plain("black", SIDE, SIDE)])
    together = session.run(batch)
    alone = [session.run(picture[None]) for picture in batch]
    for name, values in together.items():
        np.testing.assert_allclose(values, np.concatenate([answer[name] for answer in alone]), atol=1e-3)
    assert (together["scores"] > 0).sum(axis=(1, 2)).tolist() == [
        (answer["scores"] > 0).sum().item() for answer in alone
    ]


async def test_the_servers_own_suppression_is_off_until_a_client_asks_for_it(tmp_path: Path, labels: Path) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", "torchvision"), "detect", "--labels", labels) == 0
    assert manifest_of(tmp_path / "models")["detection"]["iou_threshold"] == 1.0
    picture = next(picture for picture in PICTURES if len(expected(picture, "stretch")) > 1)
    (everything,) = await ask(tmp_path / "models", "detect", picture, score_threshold=THRESHOLD)
    (few,) = await ask(tmp_path / "models", "detect", picture, score_threshold=THRESHOLD, iou_threshold=0.0)
    assert len(few) < len(everything)
    assert all(entry in everything for entry in few)


async def test_a_threshold_of_0_shows_no_more_than_the_network_found(tmp_path: Path, labels: Path) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", "torchvision"), "detect", "--labels", labels) == 0
    answers = await ask(tmp_path / "models", "detect", *PICTURES, score_threshold=0, max_detections=1000)
    for answer, picture in zip(answers, PICTURES, strict=True):
        check(answer, expected(picture, "stretch"))


async def test_only_an_open_batch_is_computed_at_once(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", "open"), "detect", "--labels", labels) == 0
    assert "  batch      open\n" in capsys.readouterr().out
    kinds = {node.op_type for node in onnx.load(tmp_path / "models/theirs/1/model.onnx").graph.node}
    assert "Scan" not in kinds


# ---- what is recognised, and how it is mended ----


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("torchvision", ["boxes in 2216, scores in 2185, classes in 2186", "the first label is class 1", "pixel"]),
        ("tensorflow", ["as many as num_detections says", "yxyx", "normalized", "the first label is class 1"]),
        ("table", ["all in output0: box, score, class", "the first label is class 0", "xyxy"]),
        ("numbered table", ["all in output: box, class, score"]),
    ],
)
def test_what_was_recognised_is_said_with_the_flag_that_mends_it(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], form: Form, words: list[str]
) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", form), "detect", "--labels", labels) == 0
    output = capsys.readouterr().out
    for word in (*words, "[--nms, --box-output, --score-output, --class-output]", "[--background]", "[--boxes]"):
        assert word in output


async def test_flags_overrule_what_is_recognised(tmp_path: Path, labels: Path) -> None:
    file = write_suppressing(tmp_path / "a.onnx", "tensorflow")
    assert add(file, "detect", "--labels", labels, "--boxes", "xyxy") == 0
    picture = PICTURES[0]
    (answer,) = await ask(tmp_path / "models", "detect", picture, score_threshold=THRESHOLD)
    turned = [[found.box[place] for place in (1, 0, 3, 2)] for found in expected(picture, "stretch")]
    assert [entry["box"] for entry in answer] == [pytest.approx(box, abs=0.02) for box in turned]


@pytest.mark.parametrize("background", ["background", "__background__"])
async def test_a_background_among_the_labels_is_no_class(tmp_path: Path, background: str) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join([background, *COLOURS]) + "\n", encoding="utf-8")
    assert add(write_suppressing(tmp_path / "a.onnx", "torchvision"), "detect", "--labels", labels) == 0
    assert (tmp_path / "models/theirs/1/labels.txt").read_text().split() == list(COLOURS)
    (answer,) = await ask(tmp_path / "models", "detect", PICTURES[0], score_threshold=THRESHOLD)
    check(answer, expected(PICTURES[0], "stretch"))


@pytest.mark.parametrize(
    ("form", "names", "options", "words"),
    [
        ("torchvision", 2, (), "classes 1 to 3 are found, but 2 labels are 1 to 2"),
        ("torchvision", 3, ("--background", "none"), "classes 1 to 3 are found, but 3 labels are 0 to 2"),
        ("table", 2, (), "classes 0 to 2 are found, but 2 labels are 0 to 1"),
        ("table", 3, ("--background", "first"), "classes 0 to 2 are found, but 3 labels are 1 to 3"),
    ],
)
def test_a_class_without_a_label_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: Form,
    names: int,
    options: tuple[str, ...],
    words: str,
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS[:names]) + "\n", encoding="utf-8")
    assert add(write_suppressing(tmp_path / "a.onnx", form), "detect", "--labels", labels, *options) == 1
    message = refused(capsys, tmp_path / "models")
    assert words in message
    assert "--background" in message


def test_lists_without_labels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_suppressing(tmp_path / "a.onnx", "torchvision"), "detect") == 1
    assert "name them with --labels" in refused(capsys, tmp_path / "models")


def test_where_nothing_is_found_a_photo_or_the_flags_are_asked_for(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_suppressing(file, "table"))
    threshold = next(tensor for tensor in model.graph.initializer if tensor.name == "threshold")
    threshold.CopyFrom(onnx.numpy_helper.from_array(np.array([2], np.float32), "threshold"))
    onnx.save(model, file)
    assert add(file, "detect", "--labels", labels) == 1
    assert "--photo, or say --boxes and --units" in refused(capsys, tmp_path / "models")
    assert add(file, "detect", "--labels", labels, "--boxes", "xyxy", "--units", "pixel") == 0


def test_lists_that_nobody_can_tell_apart_need_the_options(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_suppressing(file, "torchvision"))
    for output, name in zip(model.graph.output, ("a", "b", "c"), strict=True):
        for node in model.graph.node:
            node.output[:] = [name if given == output.name else given for given in node.output]
        output.name = name
    # A second output that might be the classes.
    model.graph.node.append(onnx.helper.make_node("Identity", ["kinds"], ["d"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("d", onnx.TensorProto.INT64, ["m"]))
    onnx.save(model, file)
    assert add(file, "detect", "--labels", labels) == 1
    assert "they may be a, b, c; a, b, d" in refused(capsys, tmp_path / "models")
    assert add(file, "detect", "--labels", labels, "--class-output", "d") == 0
    assert "classes in d" in capsys.readouterr().out


def test_suppression_that_is_not_there_cannot_be_claimed(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_suppressing(tmp_path / "a.onnx", "torchvision")
    assert add(file, "detect", "--labels", labels, "--nms", "none") == 1
    assert "this graph has 2216 float32" in refused(capsys, tmp_path / "models")


async def test_lists_in_a_format_that_hides_them_are_told(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[8, 8, 8, 16, 0.9, 2], [32, 40, 16, 8, 0.8, 0]]  # corner and size, from a graph that selects nothing
    file = write_fixed(tmp_path / "a.onnx", {"found": np.array([rows + [[0] * 6] * 6], np.float32)})
    assert add(file, "detect", "--labels", labels) == 1
    assert "(--nms inside)" in refused(capsys, tmp_path / "models")
    assert add(file, "detect", "--labels", labels, "--nms", "inside", "--boxes", "xywh", "--units", "pixel") == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert [(entry["name"], entry["box"]) for entry in answer] == [
        ("blue", [8, 8, 16, 24]),
        ("red", [32, 40, 48, 48]),
    ]


async def test_what_stands_beside_the_lists_is_served_on_request(tmp_path: Path, labels: Path) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_suppressing(file, "torchvision"))
    for name, columns in (("boxes", 4), ("scores", CLASSES)):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, ANCHORS, columns])
        model.graph.output.append(value)
    onnx.save(model, file)
    assert add(file, "detect", "--labels", labels) == 0
    assert add(file, "detect", "--labels", labels, "--version", "2", "--nms", "none") == 0
    query = {"score_threshold": THRESHOLD, "iou_threshold": 1, "max_detections": ROWS}
    for version, suppressed in (("1", True), ("2", False)):
        (answer,) = await ask(tmp_path / "models", "detect", PICTURES[0], version=version, **query)
        check(answer, expected(PICTURES[0], "stretch", suppressed=suppressed))
