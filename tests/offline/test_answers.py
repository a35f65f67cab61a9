"""Answers that a server gave, to be drawn."""

from typing import Any

import pytest

from emo_serve.errors import InvalidRequest
from emo_serve.offline.answers import read_answer

SIZE = {"width": 2, "height": 1}
CLASS = {"class_id": 1, "name": "cat", "score": 0.5}


def test_names_stand_at_their_class_ids_even_if_others_are_unknown() -> None:
    _, names = read_answer({"image": SIZE, "classifications": [CLASS]})
    assert names == ("", "cat")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"image": SIZE, "classifications": None},
        {"image": SIZE, "classifications": [{"class_id": -1, "name": "cat", "score": 0.5}]},
        {"image": SIZE, "classifications": [{"class_id": 10**30, "name": "cat", "score": 0.5}]},
        {"image": SIZE, "detections": [CLASS]},
        {"image": SIZE, "detections": [{**CLASS, "box": [1, 2, 3]}]},
        {"image": SIZE, "classes": [{"class_id": 300, "name": "cat", "pixels": 2, "rle": {"counts": "02"}}]},
        {"image": SIZE, "classes": [{"class_id": 1, "name": "cat", "pixels": 2, "rle": {"counts": "05"}}]},
        {"classes": []},
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answer: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="the answer cannot be drawn: "):
        read_answer(answer)
