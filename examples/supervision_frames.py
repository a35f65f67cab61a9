"""Boxes on every frame of a video: needs `emo-client[supervision]`; `python supervision_frames.py in.mp4 out.mp4`."""

import sys

import numpy as np
import supervision
from emo_client import Client
from numpy.typing import NDArray

boxes, labels = supervision.BoxAnnotator(), supervision.LabelAnnotator()


def annotated(frame: NDArray[np.uint8], client: Client) -> NDArray[np.uint8]:
    """A BGR frame, as OpenCV reads it, with boxes and names."""
    found = client.detect(np.ascontiguousarray(frame[:, :, ::-1])).to_supervision()
    return labels.annotate(boxes.annotate(frame.copy(), found), found)


if __name__ == "__main__":
    with Client("http://localhost:8000") as client:
        supervision.process_video(sys.argv[1], sys.argv[2], callback=lambda frame, _: annotated(frame, client))
