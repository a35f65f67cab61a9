"""New versions of the classifier, which can be told apart, for replicas that watch the folder."""

import json
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from chaos import PATIENCE_SECONDS, URL, Stack
from onnx import helper, numpy_helper

from tests.load.checked import Question, version_of
from tests.load.clients import connection, send

NAME = "emo-1m"
KINDS = 2
LESS = 0.9
REPLICAS = 3


class Versions:
    """The versions of the classifier in a folder of models.

    Odd ones are the shipped model. Even ones give every label the number below, in their outputs and in their list of
    labels, and nine tenths of the score: what is not wholly of one version is wrong in number, name or score.
    """

    def __init__(self, shipped: Path, models: Path) -> None:
        """Copy the shipped models; versions 1 and 2 are there then, whatever the shipped one is."""
        shutil.copytree(shipped, models)
        self._folder = models / NAME
        self._kinds = models / ".kinds"
        self._newest = KINDS
        (only,) = self._folder.iterdir()
        self._kinds.mkdir()
        only.rename(self._kinds / "1")
        write_turned(self._kinds / "1", self._kinds / "0")
        for version in range(1, KINDS + 1):
            self._put(version)

    def bring(self) -> int:
        """Put the next version beside those that are there; its number."""
        self._newest += 1
        self._put(self._newest)
        return self._newest

    def take_old(self) -> None:
        """Remove all but the newest, each from one moment to the next."""
        for folder in self._folder.iterdir():
            if folder.name != str(self._newest):
                gone = self._kinds / f"gone-{folder.name}"
                folder.rename(gone)
                shutil.rmtree(gone)

    def _put(self, version: int) -> None:
        incoming = self._kinds / "incoming"
        shutil.copytree(self._kinds / str(version % KINDS), incoming)
        file = incoming / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"version": str(version)}))
        incoming.rename(self._folder / str(version))


def write_turned(folder: Path, into: Path) -> None:
    """The model of the folder with other numbers for its labels and lower scores, and a manifest that fits."""
    into.mkdir()
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    (into / "labels.txt").write_text("\n".join(labels[1:] + labels[:1]) + "\n", encoding="utf-8")
    onnx.save(turned(onnx.load(folder / "model.onnx"), len(labels)), into / "model.onnx")
    for file in manifest["sha256"]:
        manifest["sha256"][file] = sha256((into / file).read_bytes()).hexdigest()
    (golden,) = manifest["golden"]["outputs"]
    pairs = sorted(
        ((index - 1) % len(labels), value * LESS)
        for index, value in zip(golden["indices"], golden["values"], strict=True)
    )
    golden["indices"], golden["values"] = [index for index, _ in pairs], [value for _, value in pairs]
    (into / "manifest.json").write_text(json.dumps(manifest))


def turned(model: onnx.ModelProto, labels: int) -> onnx.ModelProto:
    """The model with its scores (N, labels) one place further to the front, times ``LESS``."""
    (scores,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["straight" if name == scores.name else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.roll(np.arange(labels), -1), "order"))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(LESS, np.float32), "less"))
    model.graph.node.append(helper.make_node("Gather", ["straight", "order"], ["turned"], axis=1))
    model.graph.node.append(helper.make_node("Mul", ["turned", "less"], [scores.name]))
    onnx.checker.check_model(model)
    return model


def swap(stack: Stack, versions: Versions, question: Question) -> None:
    """Bring a new version, have all replicas serve it, and it alone once the old ones are gone, and ask the balancer.

    Raises TimeoutError or RuntimeError where it does not come to that.
    """
    version = versions.bring()
    wait_until(stack, f"version {version} is not served", lambda served: version in served)
    versions.take_old()
    wait_until(stack, f"version {version} is not alone", lambda served: served == {version})
    answered = version_that_answers(question)
    if answered != version:
        msg = f"version {answered} answers, not {version}"
        raise RuntimeError(msg)


def wait_until(stack: Stack, otherwise: str, is_so: Callable[[set[int]], bool]) -> None:
    """Return when it is so for the versions that each replica serves; raises TimeoutError when it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while len(served := served_by(stack)) < REPLICAS or not all(map(is_so, served)):
        if time.monotonic() > end:
            msg = f"{otherwise} by all: {served}"
            raise TimeoutError(msg)
        time.sleep(0.5)


def served_by(stack: Stack) -> list[set[int]]:
    """Versions that the running replicas serve."""
    served = []
    for address in stack.addresses():
        try:
            served.append({int(version) for version in httpx.get(f"{address}/models/{NAME}").json()["versions"]})
        except httpx.TransportError:
            continue
    return served


def version_that_answers(question: Question) -> int:
    """The version that answers behind the balancer, when it is not overloaded; raises RuntimeError where none does."""
    http = connection(URL)
    end = time.monotonic() + PATIENCE_SECONDS
    while (answer := send(http, question.post)).is_overload and time.monotonic() < end:
        time.sleep(0.5)
    http.close()
    if answer.status != HTTPStatus.OK:
        msg = f"{question.post.path}: {answer}"
        raise RuntimeError(msg)
    return version_of(answer.body)
