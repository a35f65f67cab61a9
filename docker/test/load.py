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


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the labels that are the right answer."""

    route: str
    body: bytes
    labels: Sequence[int]


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


def labels(route: str, answer: bytes) -> list[int]:
    """What the answer says the photo shows."""
    return [found["label"] for found in json.loads(answer)["classifications" if route == "classify" else "detections"]]


def questions(url: str, bodies: Sequence[bytes]) -> list[Question]:
    """Each photo for each route, with the answer that is given to it now; raises RuntimeError where there is none."""
    http = connection(url)
    asked = []
    for route in ("classify", "classify", "classify", "detect"):  # a detection is the work of several classifications
        for body in bodies:
            answer = ask(http, route, body)
            if answer.status != HTTPStatus.OK:
                msg = f"/{route}: {answer.status} {answer.body[:200]!r}"
                raise RuntimeError(msg)
            asked.append(Question(route, body, labels(route, answer.body)))
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
            elif (found := labels(question.route, answer.body)) != question.labels:
                failure = f"labels {found}, not {question.labels}"
            else:
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
