"""The model repository: ``<root>/<name>/<version>/manifest.json`` with its files -> artefacts.

Only the files are checked here; the deployment checks that the graph fits the manifest and answers its golden pair.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from emo_serve.defaults import DEFAULTS_FILE, read_defaults_file
from emo_serve.engine.repository.signature import verify_signature
from emo_serve.errors import InvalidManifest, StartupError
from emo_serve.files import GIT_LFS_ADVICE, is_git_lfs_pointer, open_regular, read_regular
from emo_serve.labels import read_labels
from emo_serve.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, read_manifest, sha256_of

SERVING_CONFIG_FILE = "serving.json"
"""The serving config, beside the versions of a model (``emo_serve.engine.repository.serving_config``)."""
MAX_SERVING_CONFIG_BYTES = 64 * 1024

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, size, time of change and inode of each file of a folder, which differ if the content does."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model whose files are complete, unaltered and consistent."""

    manifest: Manifest
    labels: tuple[str, ...]
    model_path: Path

    @property
    def sha256(self) -> str:
        """Digest of the graph."""
        return self.manifest.sha256[MODEL_FILE]

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex digest of all that the manifest says, and so of the files that it lists."""
        return f"sha256:{hashlib.sha256(self.manifest.model_dump_json(exclude_none=True).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """Names, sizes and times of the repository's files at one moment, so that polling is cheap."""

    names: frozenset[str]
    present: frozenset[Path]
    """Every version folder, complete or not, and every model folder whose versions cannot be listed."""
    versions: Mapping[Path, Fingerprint]
    """The folders that hold a manifest, by name and version."""
    serving_configs: Mapping[Path, bytes]
    """The content of each ``serving.json``."""
    defaults: bytes | None
    """The content of ``defaults.json``."""
    failures: Mapping[Path, str]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The artefacts by name and version, and the faults of broken folders."""

    artefacts: tuple[Artefact, ...]
    failures: Mapping[Path, StartupError]


def scan_state(root: Path) -> RepositoryState:
    """The current state of the repository; never raises: unreadable folders are listed in ``failures``.

    Hidden folders and files beside the folders are ignored. A repository without any model is a failure of ``root``.
    """
    versions: dict[Path, Fingerprint] = {}
    serving_configs: dict[Path, bytes] = {}
    failures: dict[Path, str] = {}
    present: set[Path] = set()
    names = _folders(root, failures)
    for name in names:
        folders = _folders(name, failures)
        present.update([name] if name in failures else folders)
        if not folders and name not in failures:
            failures[name] = f"{name}: holds no version; put the model into {name / '1'}"
        for folder in folders:
            _look_into(folder, versions, failures)
        _read_serving_configs(name / SERVING_CONFIG_FILE, serving_configs, failures)
    if not names and not failures:
        failures[root] = f"{root}: holds no model; a model is <name>/<version>/{MANIFEST_FILE} with the files it lists"
    defaults = None
    try:
        defaults = read_defaults_file(root)
    except OSError as error:
        failures[root / DEFAULTS_FILE] = f"{root / DEFAULTS_FILE}: cannot be read: {error.strerror}"
    ordered = {path: versions[path] for path in sorted(versions, key=_by_version)}
    return RepositoryState(
        frozenset(name.name for name in names), frozenset(present), ordered, serving_configs, defaults, failures
    )


def scan(root: Path, trusted: Path | None = None) -> ScanResult:
    """Everything in the repository; never raises: a broken model is listed in ``failures`` and hides no good one.

    With ``trusted`` an unsigned model is broken, see ``read_artefact``.
    """
    seen = scan_state(root)
    failures = {path: StartupError(reason) for path, reason in seen.failures.items()}
    artefacts = []
    for folder in seen.versions:
        try:
            artefacts.append(read_artefact(folder, trusted))
        except StartupError as error:
            failures[folder] = error
    return ScanResult(tuple(artefacts), MappingProxyType(failures))


def _folders(parent: Path, failures: dict[Path, str]) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        failures[parent] = f"{parent}: cannot be listed: {error.strerror}"
        return []


def _look_into(folder: Path, versions: dict[Path, Fingerprint], failures: dict[Path, str]) -> None:
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:  # also if it changes meanwhile
        failures[folder] = f"{folder}: cannot be listed: {error.strerror}"
        return
    if not any(name == MANIFEST_FILE for name, _ in files):
        failures[folder] = f"{folder / MANIFEST_FILE}: cannot be read: {_missing(folder / MANIFEST_FILE)}"
        return
    versions[folder] = tuple((name, found.st_size, found.st_mtime_ns, found.st_ino) for name, found in files)


def _missing(path: Path) -> str:
    """The reason why there is no such regular file."""
    try:
        open_regular(path).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        return error.strerror or str(error)
    return "it is not there, or not yet"


def _read_serving_configs(path: Path, serving_configs: dict[Path, bytes], failures: dict[Path, str]) -> None:
    try:
        serving_configs[path] = read_regular(path, MAX_SERVING_CONFIG_BYTES)
    except FileNotFoundError:
        pass
    except OSError as error:
        failures[path] = f"{path}: cannot be read: {error.strerror}"


def _by_version(folder: Path) -> tuple[str, int, str]:
    number = int(folder.name) if folder.name.isascii() and folder.name.isdecimal() else 0
    return folder.parent.name, number, folder.name


def manifest_of(folder: Path, trusted: Path | None = None) -> Manifest:
    """The manifest in this folder, which must match its name and version; raises InvalidManifest.

    With ``trusted``, a key or certificates, the folder's signature is checked first; raises InvalidSignature.
    """
    if trusted is not None:
        verify_signature(folder, trusted)
    manifest = read_manifest(folder / MANIFEST_FILE)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        msg = f"{folder}: its manifest is of {manifest.name}/{manifest.version}; folder and manifest must agree"
        raise InvalidManifest(msg)
    return manifest


def read_artefact(folder: Path, trusted: Path | None = None) -> Artefact:
    """The model in this folder, all its files checked; raises StartupError, which names the faulty file.

    With ``trusted`` its signature is checked before anything else of it is read, see ``manifest_of``.
    """
    manifest = manifest_of(folder, trusted)
    for name, wanted in manifest.sha256.items():
        _check_digest(folder / name, wanted)
    labels = read_labels(folder / LABELS_FILE)
    if len(labels) != manifest.num_classes:
        msg = f"{folder / LABELS_FILE}: has {len(labels)} labels, the model has {manifest.num_classes} classes"
        raise InvalidManifest(msg)
    return Artefact(manifest, labels, folder / MODEL_FILE)


def _check_digest(path: Path, wanted: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InvalidManifest(msg) from error
    if found != wanted:
        cause = GIT_LFS_ADVICE if is_git_lfs_pointer(path) else "was the file altered or only partly copied?"
        msg = f"{path}: its sha256 is {found}, the manifest says {wanted}; {cause}"
        raise InvalidManifest(msg)
