"""What the classes are called."""

from dataclasses import dataclass

from app.add.coco import COCO
from app.add.graph import Network
from app.add.options import Options
from app.add.plan import Finding
from app.manifest import read_labels


@dataclass(frozen=True, slots=True)
class Labels:
    """The names, where anybody gives them; a background, which is no class, is not among them."""

    names: tuple[str, ...] | None
    source: str
    without_background: bool = False
    """The first line was the background's."""
    may_be_coco: bool = False
    """They are those of a detector."""

    @property
    def count(self) -> int | None:
        """How many there are."""
        return None if self.names is None else len(self.names)

    def named(self, num_classes: int) -> tuple[tuple[str, ...], Finding]:
        """The names of all classes, made up if need be."""
        names, source = self.names, self.source
        if names is None and self.may_be_coco and num_classes == len(COCO):
            names, source = COCO, "COCO's (assumed: there are as many)"
        names = names or tuple(f"class {number}" for number in range(num_classes))
        return names, Finding("labels", f"{len(names)}, {source}: {', '.join(names[:3])}, ...", "--labels")


def labels_of(network: Network, options: Options) -> Labels:
    """Those that are given, or that the file holds; raises InvalidManifest where they are unreadable or not unique."""
    names = network.labels if options.labels is None else read_labels(options.labels)
    source = "of --labels" if options.labels else "that the file holds" if names else "made up here"
    if names and options.task == "detect" and options.background != "none" and _is_background(names[0]):
        return Labels(names[1:], f"{source} after {names[0]}", without_background=True)
    return Labels(names, source, may_be_coco=options.task == "detect")


def _is_background(name: str) -> bool:
    return name.strip("_ ").lower() in {"background", "bg"}
