"""A constant load of real photos, each answer compared with the one that the version it names gave before."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import skimage.data
from PIL import Image

from tests.load.clients import Answer, Clients, Post, connection, send

CLIENTS = 16
MOST_DIFFERENCE = 1e-3
"""Of a score: batches add up in another order than single images."""

Found = tuple[int, str, float]
"""Class id, name and score."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and the answers of the model's versions: first, second, first again and so on."""

    post: Post
    right: Sequence[Sequence[Found]]

    def complaint(self, answer: bytes) -> str:
        """The fault in an answer of the version that it names; empty if it is right."""
        version = version_of(answer)
        found, right = found_in(answer), self.right[(version - 1) % len(self.right)]
        if len(found) == len(right) and all(map(is_same, found, right)):
            return ""
        return f"version {version} answers {found}, not {right}"


@dataclass(slots=True)
class Report:
    """Outcomes of the requests; seconds count from the moment at which a request was due."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    """When a request was due, in seconds since the start, and how many it took."""
    refused: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many got the right answer."""
        return len(self.answers)

    @property
    def slowest(self) -> float:
        """Seconds until the last right answer."""
        return max((seconds for _, seconds in self.answers), default=0.0)

    def __str__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"{self.answered} answered{refused}, {len(self.failures)} failed, slowest {self.slowest:.2f} s"


def photos() -> list[bytes]:
    """A real photo as JPEGs of about 60 to 260 kB."""
    photo = Image.fromarray(skimage.data.chelsea())
    files = []
    for scale, quality in ((1, 97), (2, 95), (3, 95)):
        file = io.BytesIO()
        photo.resize((photo.width * scale, photo.height * scale)).save(file, "JPEG", quality=quality)
        files.append(file.getvalue())
    return files


def version_of(answer: bytes) -> int:
    """The version of the model that the answer names."""
    return int(json.loads(answer)["model"]["version"])


def found_in(answer: bytes) -> list[Found]:
    """Class ids, names and scores in the answer."""
    content = json.loads(answer)
    found = content["classifications"] if "classifications" in content else content["detections"]
    return [(one["class_id"], one["name"], one["score"]) for one in found]


def is_same(one: Found, other: Found) -> bool:
    """True if they differ in no more than the last digits of the score."""
    return one[:2] == other[:2] and abs(one[2] - other[2]) <= MOST_DIFFERENCE


def questions(url: str, bodies: Sequence[bytes], classifiers: int = 1) -> list[Question]:
    """Each photo for each route, with the answers that are given to it now; raises RuntimeError where there is none.

    Of the classifier there may be several versions that answer in turn; then they are asked by their numbers.
    """
    http = connection(url)
    asked = []
    for path in (*["/classify"] * 3, "/detect"):  # a detection is the work of several classifications
        versions = classifiers if path == "/classify" else 1
        for body in bodies:
            right = []
            for version in range(1, versions + 1):
                answer = send(http, Post(path if versions == 1 else f"{path}?version={version}", body))
                if answer.status != HTTPStatus.OK:
                    msg = f"{path}: {answer}"
                    raise RuntimeError(msg)
                right.append(found_in(answer.body))
            asked.append(Question(Post(path, body), right))
    http.close()
    return asked


class CheckedLoad:
    """Asks from its start to its stop. Unless it ``may_be_refused``, an overload answer is a failure like others."""

    def __init__(self, url: str, asked: Sequence[Question], rate: float, *, may_be_refused: bool = False) -> None:
        self.report = Report()
        self._asked = asked
        self._may_be_refused = may_be_refused
        self._clients = Clients(url, CLIENTS, lambda number: self._question(number).post, self._note, rate)

    def start(self) -> None:
        """Begin to ask."""
        self._clients.start()

    def stop(self) -> Report:
        """Ask no more, wait for the answers."""
        self._clients.stop()
        return self.report

    def _question(self, number: int) -> Question:
        return self._asked[number % len(self._asked)]

    def _note(self, number: int, due: float, answer: Answer) -> None:
        now, question = self._clients.now, self._question(number)
        if answer.is_overload and self._may_be_refused:
            self.report.refused.append(due)
        elif answer.status != HTTPStatus.OK:
            self.report.failures.append(f"{now:.2f} s: {question.post.path}: {answer}")
        elif complaint := question.complaint(answer.body):
            self.report.failures.append(f"{now:.2f} s: {question.post.path}: {complaint}")
        else:
            self.report.answers.append((due, now - due))
