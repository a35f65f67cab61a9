"""Pretrained weights that a training run starts from."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from emo.checkpoints.loader import is_own, own_weights, read_checkpoint, recognise, size_of, unwrap
from emo.checkpoints.upstream import upstream_key, weights_of
from emo.models.heads.model import Model
from emo.models.heads.ssdlite import SIZES_KEY

_CLASS_ROWS = frozenset({"head.weight", "head.bias"})  # of a classifier
_NAMED = 3  # mismatched tensors that an error names


@dataclass(frozen=True, slots=True)
class Source:
    """The tensors in a file, by our names or the authors'.

    ``architecture`` is None if only a backbone is recognised, ``size`` is that of the backbone, None if there is none;
    ``names`` are the classes, empty if unknown.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    architecture: str | None = None
    size: str | None = None
    names: tuple[str, ...] = ()

    @property
    def anchor_sizes(self) -> tuple[int, ...] | None:
        """Those of an SSDLite, in input pixels; None where they are not in the file."""
        found = self.tensors.get(SIZES_KEY)
        return None if found is None else tuple(map(int, found.flatten().tolist()))


def read_source(path: Path) -> Source:
    """The weights in any checkpoint that ``emo import`` reads, or of a backbone alone; averaged ones if there are some.

    Raise ValueError for a file that is not a checkpoint, or not safe to read.
    """
    if path.suffix == ".onnx":
        msg = (
            f"{path}: an exported graph can be served, but its BatchNorms are folded; training starts from a checkpoint"
        )
        raise ValueError(msg)
    content = read_checkpoint(path)
    if is_own(content):
        model = content["recipe"]["model"]
        return Source(path, own_weights(content), model, _size(model), tuple(content["names"]))
    state = unwrap(content)
    with contextlib.suppress(ValueError):
        model = recognise(state)
        return Source(path, state, model, _size(model))
    for prefix in ("", "backbone."):
        with contextlib.suppress(ValueError):
            return Source(path, state, None, size_of(state, prefix))
    return Source(path, state)


def initial_tensors(source: Source, architecture: str, model: Model, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors for the fresh ``model``, by its own names; prints how many.

    Always the backbone. From a model of the same kind and size also the rest, if the shapes are equal; weights of
    classes only if the classes are the same, or of a classifier those of the classes that both have. Raise ValueError
    if the backbone does not fit.
    """
    taken: dict[str, Tensor] = {}
    missing, misshapen = [], []
    shared = set(names) & set(source.names)
    for key, own in weights_of(model).items():
        found = _find(source.tensors, key, upstream_key(model, key))
        is_backbone = key.startswith("backbone.")
        is_alike = source.architecture == architecture
        if found is not None and is_alike and key in _CLASS_ROWS:
            if shared:
                taken[key] = _rows_by_name(own, found, names, source.names)
        elif found is not None and found.shape == own.shape:
            if is_backbone or (is_alike and (names == source.names or not _tells_classes(key))):
                taken[key] = found
        elif is_backbone and found is not None:
            misshapen.append(f"{key} is {tuple(found.shape)}, wants {tuple(own.shape)}")
        elif is_backbone and own.is_floating_point():  # batch counters are irrelevant
            missing.append(key)
    size = _size(architecture)
    if source.size not in {None, size}:
        msg = f"{source.path} has the backbone of {source.size}, and {architecture} is to be trained"
        raise ValueError(msg)
    if missing or misshapen:
        first = "; ".join([*misshapen[:_NAMED], *(f"{key} is missing" for key in missing[:_NAMED])])
        msg = f"{source.path} has no backbone of {size}: {len(missing) + len(misshapen)} tensors do not fit, as {first}"
        raise ValueError(msg)
    classes = f"with those of {len(shared)} classes" if any(map(_tells_classes, taken)) else "without those of classes"
    print(f"taken from {source.path}: {len(taken)} of {len(weights_of(model))} tensors, {classes}")
    return taken


def _size(architecture: str) -> str:
    return architecture[architecture.index("emo_") :]


def _find(tensors: Mapping[str, Tensor], key: str, upstream: str) -> Tensor | None:
    """A tensor by our name, by the authors', or as a backbone with or without a head around it."""
    candidates = [key, upstream]
    if key.startswith("backbone."):
        bare = upstream.removeprefix("backbone.")
        candidates += [bare, f"backbone.{bare}", key.removeprefix("backbone.")]
    return next((tensors[name] for name in candidates if name in tensors), None)


def _rows_by_name(own: Tensor, found: Tensor, names: Sequence[str], found_names: Sequence[str]) -> Tensor:
    """``own``, with the rows of ``found`` for the classes that have the same names there."""
    rows, row_of = own.clone(), {name: row for row, name in enumerate(found_names)}
    for row, name in enumerate(names):
        if name in row_of:
            rows[row] = found[row_of[name]]
    return rows


def _tells_classes(key: str) -> bool:
    """True if a tensor's rows are classes: the linear layer of a classifier, the last convolutions of a detector."""
    part, *names = key.split(".")
    return key in _CLASS_ROWS or (part == "head" and names[0] == "classify" and names[2] == "1")
