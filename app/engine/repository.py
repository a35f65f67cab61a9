"""The model repository: ``<root>/<name>/<version>/manifest.json`` with its files -> what can be served.

Only the files are checked here; that the graph fits the manifest and answers its golden pair is the deployment's part.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.errors import InvalidManifest, StartupError
from app.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest, read_labels, read_manifest, sha256_of


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model whose files are complete, unaltered and fit together."""

    manifest: Manifest
    labels: tuple[str, ...]
    model_path: Path


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The artefacts by name and version, and what was wrong with the folders that are none."""

    artefacts: tuple[Artefact, ...]
    failures: Mapping[Path, StartupError]


def scan(root: Path) -> ScanResult:
    """Everything in the repository; raises nothing: a broken model stands in ``failures`` and hides no good one.

    Hidden folders and files beside the folders are ignored. A repository without any model is a failure of ``root``.
    """
    artefacts: list[Artefact] = []
    failures: dict[Path, StartupError] = {}
    for folder in _version_folders(root, failures):
        try:
            artefacts.append(_load(folder))
        except StartupError as error:
            failures[folder] = error
    if not artefacts and not failures:
        msg = f"{root}: holds no model; a model is <name>/<version>/{MANIFEST_FILE} with the files it lists"
        failures[root] = StartupError(msg)
    artefacts.sort(key=lambda artefact: (artefact.manifest.name, int(artefact.manifest.version)))
    return ScanResult(tuple(artefacts), MappingProxyType(failures))


def _version_folders(root: Path, failures: dict[Path, StartupError]) -> Iterator[Path]:
    for name in _folders(root, failures):
        before = len(failures)
        versions = _folders(name, failures)
        if not versions and len(failures) == before:
            msg = f"{name}: holds no version; put the model into {name / '1'}"
            failures[name] = StartupError(msg)
        yield from versions


def _folders(parent: Path, failures: dict[Path, StartupError]) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        msg = f"{parent}: cannot be listed: {error.strerror}"
        failures[parent] = StartupError(msg)
        return []


def _load(folder: Path) -> Artefact:
    manifest = read_manifest(folder / MANIFEST_FILE)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        msg = f"{folder}: its manifest is of {manifest.name}/{manifest.version}; folder and manifest must agree"
        raise InvalidManifest(msg)
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
        msg = f"{path}: its sha256 is {found}, the manifest says {wanted}; was the file altered or only partly copied?"
        raise InvalidManifest(msg)
