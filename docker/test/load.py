"""A constant load on the service, each answer checked: ``load.py URL [--rate 15] [--seconds 10]``.

Requests have fixed times, whatever becomes of those before them, and the clients never try again.
"""

import argparse
import io
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import count
from urllib.parse import urlsplit

import skimage.data
from PIL import Image

CLIENTS = 16
TIMEOUT_SECONDS = 30
HEADERS = {"Content-Type": "image/jpeg"}


MOST_DIFFERENCE = 1e-3
"""Of a score: batches add up in another order than single images."""

Finding = tuple[int, str, float]
"""Label, name and score."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what the versions of the model answer in turn: first, second, first again and so on."""

    route: str
    body: bytes
    right: Sequence[Sequence[Finding]]

    def complaint(self, answer: bytes) -> str:
        """What is wrong with the answer of the version that it names; empty where it is right."""
        version = version_of(answer)
        found, right = findings(answer), self.right[(version - 1) % len(self.right)]
        if len(found) == len(right) and all(map(is_same, found, right)):
            return ""
        return f"version {version} answers {found}, not {right}"


@dataclass(slots=True)
class Report:
    """What became of the requests; seconds count from the moment at which a request was due."""

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


def connection(url: str) -> HTTPConnection:
    """A connection that stays open for many requests."""
    parts = urlsplit(url)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    retry_after: str | None
    body: bytes

    @property
    def is_overload(self) -> bool:
        """Whether it is the documented answer of a server that has too much to do."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE and self.retry_after is not None


def ask(http: HTTPConnection, route: str, body: bytes) -> Answer:
    """The answer; raises OSError or HTTPException where there is none."""
    http.request("POST", f"/{route}", body, HEADERS)
    response = http.getresponse()
    return Answer(response.status, response.headers["Retry-After"], response.read())


def version_of(answer: bytes) -> int:
    """The version of the model that the answer names."""
    return int(json.loads(answer)["model"]["version"])


def findings(answer: bytes) -> list[Finding]:
    """What the answer says the photo shows."""
    content = json.loads(answer)
    found = content["classifications"] if "classifications" in content else content["detections"]
    return [(one["class_id"], one["name"], one["score"]) for one in found]


def is_same(one: Finding, other: Finding) -> bool:
    """Whether they differ in no more than the last digits of the score."""
    return one[:2] == other[:2] and abs(one[2] - other[2]) <= MOST_DIFFERENCE


def questions(url: str, bodies: Sequence[bytes], classifiers: int = 1) -> list[Question]:
    """Each photo for each route, with the answers that are given to it now; raises RuntimeError where there is none.

    Of the classifier there may be several versions that answer in turn; then they are asked by their numbers.
    """
    http = connection(url)
    asked = []
    for route in ("classify", "classify", "classify", "detect"):  # a detection is the work of several classifications
        versions = classifiers if route == "classify" else 1
        for body in bodies:
            right = []
            for version in range(1, versions + 1):
                answer = ask(http, route if versions == 1 else f"{route}?version={version}", body)
                if answer.status != HTTPStatus.OK:
                    msg = f"/{route}: {answer.status} {answer.body[:200]!r}"
                    raise RuntimeError(msg)
                right.append(findings(answer.body))
            asked.append(Question(route, body, right))
    http.close()
    return asked


class Load:
    """Asks from its start to its stop. Unless it ``may_be_refused``, an overload answer is a failure like others."""

    def __init__(self, url: str, asked: Sequence[Question], rate: float, *, may_be_refused: bool = False) -> None:
        self._url = url
        self._asked = asked
        self._rate = rate
        self._may_be_refused = may_be_refused
        self._numbers = count()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._report = Report()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        self._began = 0.0

    def start(self) -> None:
        """Begin to ask."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> Report:
        """Ask no more, wait for the answers."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        return self._report

    def _run(self) -> None:
        http = connection(self._url)
        while True:
            with self._lock:
                number = next(self._numbers)
            due = number / self._rate
            if self._end.wait(max(0.0, due - self._now())):
                http.close()
                return
            question = self._asked[number % len(self._asked)]
            try:
                answer = ask(http, question.route, question.body)
            except (OSError, HTTPException) as error:
                http.close()
                self._note(due, question, repr(error))
            else:
                self._note(due, question, answer)

    def _note(self, due: float, question: Question, answer: Answer | str) -> None:
        now = self._now()
        with self._lock:
            if isinstance(answer, str):
                failure = answer
            elif answer.is_overload and self._may_be_refused:
                self._report.refused.append(due)
                return
            elif answer.status != HTTPStatus.OK:
                failure = f"{answer.status} {answer.body[:200]!r}"
            elif not (failure := question.complaint(answer.body)):
                self._report.answers.append((due, now - due))
                return
            self._report.failures.append(f"{now:.2f} s: {question.route}: {failure}")

    def _now(self) -> float:
        return time.monotonic() - self._began


def main() -> int:
    """Load the service for a while; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=15, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    load = Load(arguments.url, questions(arguments.url, photos()), arguments.rate)
    load.start()
    time.sleep(arguments.seconds)
    report = load.stop()
    print(report, *report.failures, sep="\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
