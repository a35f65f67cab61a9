"""Files of a model that Hugging Face's ``optimum`` has exported: in a folder, or in a repository on the Hub."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from emo_serve.errors import StartupError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
T = TypeVar("T")
_BESIDE = ("_data", ".data")  # what follows the name of a network, in that of the file with its weights


def model_files(source: str, wanted: Path | None, into: Path) -> tuple[Path, Path]:
    """The folder with the configuration, and the path of the network in it.

    ``source`` is a folder, or ``owner/name[@revision]`` on the Hub, fetched into the folder ``into`` with the extra
    ``hf``; HF_ENDPOINT and HF_TOKEN are huggingface_hub's. The network is the ``wanted`` one, else model.onnx, else the
    only one, in the folder itself or in its folder ``onnx``. Raises StartupError.
    """
    folder = Path(source)
    if not folder.is_dir():
        return _fetched(source, wanted, into)
    there = [str(path.relative_to(folder)) for path in (*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx"))]
    return folder, Path(_choose(sorted(there), wanted, source))


def _choose(there: Sequence[str], wanted: Path | None, where: str) -> str:
    if wanted is not None and str(wanted) in there:
        return str(wanted)
    preferred = [name for name in ("onnx/model.onnx", "model.onnx") if name in there]
    if wanted is None and (preferred or len(there) == 1):
        return (preferred or there)[0]
    if not there:
        msg = f"{where}: holds no .onnx file, nor does its folder onnx; export it first, with `optimum-cli export onnx`"
        raise StartupError(msg)
    asked = "choose a network with --file" if wanted is None else f"there is no --file {wanted}"
    msg = f"{where}: {asked}; there are {', '.join(there)}"
    raise StartupError(msg)


def _fetched(source: str, wanted: Path | None, into: Path) -> tuple[Path, Path]:
    if not _REPOSITORY.fullmatch(source):
        msg = f"--from-hf {source}: is no folder, and no repository owner/name or owner/name@revision"
        raise StartupError(msg)
    try:
        from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415  # a folder does not need it
    except ImportError as error:
        msg = f"--from-hf {source}: is no folder here; to fetch a repository, pip install 'emo-serve[hf]'"
        raise StartupError(msg) from error
    name, _, revision = source.partition("@")
    there = _asked(source, lambda: HfApi().list_repo_files(name, revision=revision or None))
    networks = [file for file in sorted(there) if re.fullmatch(r"(onnx/)?[^/]+\.onnx", file)]
    network = _choose(networks, wanted, source)
    files = [network, *(network + end for end in _BESIDE), CONFIG, PREPROCESSOR]
    # Not by its cache, which holds links: onnx does not follow those to weights.
    _asked(
        source,
        lambda: snapshot_download(name, revision=revision or None, allow_patterns=files, local_dir=into),
    )
    return into, Path(network)


def _asked(source: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as error:
        msg = f"--from-hf {source}: cannot be fetched: {error}"
        raise StartupError(msg) from error
