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

    answered: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.answered} answered, {len(self.failures)} failed, slowest {self.slowest:.2f} s"


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


def ask(http: HTTPConnection, route: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer; raises OSError or HTTPException where there is none."""
    http.request("POST", f"/{route}", body, HEADERS)
    response = http.getresponse()
    return response.status, response.read()


def labels(route: str, answer: bytes) -> list[int]:
    """What the answer says the photo shows."""
    return [found["label"] for found in json.loads(answer)["classifications" if route == "classify" else "detections"]]


def questions(url: str, bodies: Sequence[bytes]) -> list[Question]:
    """Each photo for each route, with the answer that is given to it now; raises RuntimeError where there is none."""
    http = connection(url)
    asked = []
    for route in ("classify", "classify", "classify", "detect"):  # a detection is the work of several classifications
        for body in bodies:
            status, answer = ask(http, route, body)
            if status != HTTPStatus.OK:
                msg = f"/{route}: {status} {answer[:200]!r}"
                raise RuntimeError(msg)
            asked.append(Question(route, body, labels(route, answer)))
    http.close()
    return asked


class Load:
    """Asks from its start to its stop."""

    def __init__(self, url: str, asked: Sequence[Question], rate: float) -> None:
        self._url = url
        self._asked = asked
        self._rate = rate
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
            due = self._began + number / self._rate
            if self._end.wait(max(0.0, due - time.monotonic())):
                http.close()
                return
            question = self._asked[number % len(self._asked)]
            failure = ""
            try:
                status, answer = ask(http, question.route, question.body)
                if status != HTTPStatus.OK:
                    failure = f"{status} {answer[:200]!r}"
                elif (found := labels(question.route, answer)) != question.labels:
                    failure = f"labels {found}, not {question.labels}"
            except (OSError, HTTPException) as error:
                failure = repr(error)
                http.close()
            now = time.monotonic()
            with self._lock:
                self._report.slowest = max(self._report.slowest, now - due)
                if failure:
                    self._report.failures.append(f"{now - self._began:.2f} s: {question.route}: {failure}")
                else:
                    self._report.answered += 1


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
