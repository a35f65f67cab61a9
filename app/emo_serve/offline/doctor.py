"""``emo-serve doctor``: what is slow or wrong on this machine."""

import argparse
import json
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

from emo_serve.engine.execution.session import open_session
from emo_serve.engine.host import memory_limit, this_machine, vector_instructions
from emo_serve.engine.registry.deployment import image_limits
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import scan
from emo_serve.engine.tuning.cache import cache_folder
from emo_serve.errors import StartupError
from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from emo_serve.process.listeners import bound_socket, listen
from emo_serve.settings import Settings
from emo_serve.version import installed_version
from emo_serve.vision.resize import IS_FAST
from emo_serve.vision.sniffing import FORMATS

Word = Literal["ok", "slow", "wrong"]
_ENOUGH_FILES = 4096
_ENOUGH_BYTES = 512 * 2**20
_PACKAGES = ("fastapi", "uvicorn", "onnxruntime", "pillow", "numpy", "pydantic")
_MARKS = {"ok": " ok  ", "slow": "slow ", "wrong": "WRONG"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its result, and what to do if it is not ``ok``."""

    check: str
    word: Word
    detail: str


def doctor(options: argparse.Namespace, settings: Settings) -> int:
    """Check this machine, the settings and the models; the exit code is 1 if something is wrong."""
    findings = []
    for check in (_cores, _instructions, _memory, _files, _versions, _formats, _resizing, _cache, _port, _models):
        for finding in check(settings):
            findings.append(finding)
            if not options.json:
                sys.stdout.write(f"{_MARKS[finding.word]}  {finding.check:12}  {finding.detail}\n")
                sys.stdout.flush()
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    return EXIT_STARTUP if any(finding.word == "wrong" for finding in findings) else EXIT_OK


def _cores(settings: Settings) -> Iterator[Finding]:
    machine = this_machine()
    detail = f"{machine.cores} of {machine.cpu}"
    if machine.quota is not None and machine.quota < machine.cores:
        yield Finding("cores", "slow", f"{detail}, but the quota is {machine.quota:g}: give it whole cores")
        return
    if settings.workers is not None and settings.workers > machine.cores:
        yield Finding("cores", "slow", f"{detail}, for EMO_WORKERS={settings.workers}: more than one a core only wait")
        return
    yield Finding("cores", "ok", detail)


def _instructions(_: Settings) -> Iterator[Finding]:
    found = vector_instructions()
    if found is None:
        yield Finding("instructions", "ok", platform.machine())
    elif "avx2" in found:
        yield Finding("instructions", "ok", ", ".join(found))
    else:
        detail = "no AVX2: networks take several times as long; a virtual machine may hide what the CPU has"
        yield Finding("instructions", "slow", detail)


def _memory(_: Settings) -> Iterator[Finding]:
    limit = memory_limit()
    enough = limit >= _ENOUGH_BYTES
    advice = "" if enough else f": less than {_ENOUGH_BYTES / 1e6:.0f} MB is little for models and large pictures"
    yield Finding("memory", "ok" if enough else "slow", f"{limit / 1e9:.1f} GB{advice}")


def _files(_: Settings) -> Iterator[Finding]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = most == resource.RLIM_INFINITY or most >= _ENOUGH_FILES
    advice = "" if enough else f": every connection takes one; allow {_ENOUGH_FILES} (ulimit -Hn, LimitNOFILE)"
    yield Finding("open files", "ok" if enough else "slow", f"{most} at most{advice}")


def _versions(_: Settings) -> Iterator[Finding]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    yield Finding("versions", "ok", f"emo-serve {installed_version()}, Python {platform.python_version()}, {packages}")


def _formats(_: Settings) -> Iterator[Finding]:
    missing = "" if "HEIC" in FORMATS else "; HEIC needs pip install 'emo-serve[heic]'"
    yield Finding("formats", "ok", ", ".join(FORMATS) + missing)


def _resizing(_: Settings) -> Iterator[Finding]:
    if IS_FAST:
        yield Finding("resizing", "ok", "with vector instructions (cykooz-resizer)")
    else:
        yield Finding("resizing", "slow", "by Pillow, as cykooz-resizer is not installed or has no build for this CPU")


def _cache(settings: Settings) -> Iterator[Finding]:
    folder = cache_folder(settings.cache_dir)
    if folder is None:
        yield Finding("cache", "slow", "no home folder, so every start measures again: set EMO_CACHE_DIR")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        detail = f"{folder}: {error.strerror}, so every start measures again: set EMO_CACHE_DIR"
        yield Finding("cache", "slow", detail)
        return
    yield Finding("cache", "ok", str(folder))


def _port(settings: Settings) -> Iterator[Finding]:
    try:
        with bound_socket(settings.host, settings.port) as listener:
            listen(listener)
    except OSError as error:
        yield Finding("port", "wrong", f"{error}: is a server running? EMO_PORT or --port chooses another")
        return
    yield Finding("port", "ok", f"{settings.host} port {settings.port} is free")


def _models(settings: Settings) -> Iterator[Finding]:
    """Each model is loaded, answers its golden picture, and is timed on a single core."""
    limits = image_limits(settings)
    found = scan(settings.models, settings.require_signature)
    for path, error in found.failures.items():
        yield Finding("model", "wrong", str(error) or str(path))
    for artefact in found.artefacts:
        name = f"{artefact.manifest.name} {artefact.manifest.version}"
        try:
            session = open_session(artefact, settings)
            seconds = self_test(artefact, session, limits, 1)[1]
        except StartupError as error:
            yield Finding("model", "wrong", str(error))
            continue
        yield Finding("model", "ok", f"{name} is right about its golden picture, {seconds * 1000:.1f} ms a picture")
