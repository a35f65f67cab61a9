"""Trial of a version in a process of its own before this one loads it, so that a hang or crash does no harm.

Manifests are small (``MAX_MANIFEST_BYTES``), but the graph is a program: it may loop for ever, take all memory or crash
ONNX Runtime. Successful trials are remembered beside the measurements of ``tuning_cache``, so that a version is tried
once on a machine, and once for several workers: while one of them tries it the others wait.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic_core import to_json

from emo_serve.engine.execution.session import RUNTIME_VERSION
from emo_serve.engine.host import this_machine
from emo_serve.engine.registry.trial_process import BAD_FILES, GOOD, UNFIT, TrialProcess, Verdict, ending, spawned
from emo_serve.engine.repository.artefacts import Artefact, manifest_of, read_artefact
from emo_serve.engine.tuning.cache import cache_folder
from emo_serve.errors import InvalidManifest, StartupError
from emo_serve.manifest import Manifest
from emo_serve.settings import Settings

_START_SECONDS = 60.0  # for an interpreter and its imports, on a busy machine
_POLL_SECONDS = 0.02
_IRRELEVANT = {"name": True, "version": True, "card": True}  # parts of a manifest that a trial does not depend on


class Unfit(StartupError):
    """A version whose files match its manifest but which cannot be served."""

    def __init__(self, message: str, manifest: Manifest) -> None:
        """``manifest`` is that of the version."""
        super().__init__(message)
        self.manifest = manifest


class Preflight:
    """Tries one version after the other; blocking methods are called in a thread, one at a time."""

    def __init__(self, settings: Settings, process: TrialProcess | None = None) -> None:
        """Try versions as these settings would serve them, each for at most ``load_seconds``.

        The first trials run in ``process``; once it has ended, later ones run in new processes.
        """
        self._settings = settings
        self._circumstances = [RUNTIME_VERSION, this_machine(), settings.session, settings.batching.largest_batch]
        self._process = process
        self._is_closed = False

    async def try_all(self, folders: Mapping[Path, asyncio.Future[Artefact | Exception]]) -> None:
        """Set each future to the model in its folder, or to the error, one after the other."""
        for folder, future in folders.items():
            future.set_result(await asyncio.to_thread(self._artefact_or_error, folder))
        await asyncio.to_thread(self.rest)

    def _artefact_or_error(self, folder: Path) -> Artefact | Exception:
        try:
            return self.artefact(folder)
        except Exception as error:  # noqa: BLE001  # any fault of one model must not affect the others
            return error

    def artefact(self, folder: Path) -> Artefact:
        """The model in the folder, after a successful trial; raises InvalidSignature, InvalidManifest or Unfit."""
        trusted = self._settings.require_signature
        manifest = manifest_of(folder, trusted)
        word, reason = self._verdict(folder, manifest)
        if word == BAD_FILES:
            raise InvalidManifest(reason)
        if word != GOOD:
            raise Unfit(reason, manifest)
        return read_artefact(folder, trusted)  # once more: the folder may have changed meanwhile

    def rest(self) -> None:
        """End the trial process, if there is one; the next trial starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def close(self) -> None:
        """Abort the current trial; may be called in any thread."""
        self._is_closed = True
        if (process := self._process) is not None:
            process.kill()

    def _verdict(self, folder: Path, manifest: Manifest) -> Verdict:
        """The verdict on a version: remembered, just found by another process, or found now."""
        note = self._note_of(manifest)
        asked_at = time.time()
        if note is None:
            return self._tried(folder)
        known = _read(note, asked_at)
        if known is not None:
            return known
        with self._held(note):
            known = _read(note, asked_at)
            if known is not None:
                return known
            verdict = self._tried(folder)
            if not self._is_closed:
                _write(note, verdict)
            return verdict

    # ---- the trial -------------------------------------------------------------------------------------------------

    def _tried(self, folder: Path) -> Verdict:
        seconds = self._settings.load_seconds
        try:
            process = self._running()
        except OSError as error:  # TimeoutError is one
            self.rest()
            return Verdict(UNFIT, f"{folder}: no process could be started in which to try it: {error}")
        try:
            return process.ask([str(folder), self._settings.model_dump(mode="json")], seconds)
        except TimeoutError:
            self.rest()
            reason = f"was not loaded and tested within {seconds:g} seconds (EMO_LOAD_SECONDS), and was given up"
        except EOFError:
            self._process = None
            reason = f"the process in which it was tried {ending(process.end())}"
        return Verdict(UNFIT, f"{folder}: {reason}")

    def _running(self) -> TrialProcess:
        """A trial process that is ready for a question; raises OSError."""
        if self._process is None:
            self._process = spawned()
        if self._is_closed:  # possibly meanwhile, by another thread
            self._process.kill()
        self._process.wait_until_started(_START_SECONDS)
        return self._process

    # ---- remembered verdicts ---------------------------------------------------------------------------------------

    def _note_of(self, manifest: Manifest) -> Path | None:
        """Path of the file that remembers the verdict on this version; None if nothing can be remembered.

        Names and the model card do not count: a trial concerns the files, by their digests, and how they are used.
        """
        folder = cache_folder(self._settings.cache_dir)
        if folder is None:
            return None
        what = [manifest.model_dump(mode="json", exclude=_IRRELEVANT), self._settings.load_seconds]
        digest = hashlib.sha256(to_json([what, self._circumstances])).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return folder / f"tried-{digest[:32]}"

    @contextlib.contextmanager
    def _held(self, note: Path) -> Iterator[None]:
        """Keep other processes from trying the same version meanwhile, if the file system supports locks."""
        try:
            file = note.open("ab")
        except OSError:
            yield
            return
        with file:
            while not self._is_closed:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(_POLL_SECONDS)
                    continue
                except OSError:  # a file system without locks
                    pass
                break
            yield


def _read(note: Path, asked_at: float) -> Verdict | None:
    """The remembered verdict; a failure counts only if it was found since ``asked_at``, as its cause may be gone."""
    try:
        verdict = Verdict(*json.loads(note.read_bytes()))
        is_valid = verdict.word == GOOD or note.stat().st_mtime >= asked_at
    except (OSError, ValueError, TypeError):  # missing or incomplete
        return None
    return verdict if is_valid else None


def _write(note: Path, verdict: Verdict) -> None:
    with contextlib.suppress(OSError):  # it is not remembered then
        note.write_text(json.dumps(verdict), encoding="utf-8")
