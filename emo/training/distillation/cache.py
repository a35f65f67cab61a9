"""Arrays on disk with a row for each training picture: computed once, in order, and resumed after a stop."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tqdm import tqdm

S = TypeVar("S", bound=np.generic)
_ROWS_A_SAVE = 2048


def digest_of(words: Iterable[str]) -> str:
    """Eight hex digits that identify these words."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]


def cached_rows(
    path: Path,
    count: int,
    row: tuple[DTypeLike, tuple[int, ...]],
    compute: Callable[[int], Iterator[NDArray[S]]],
) -> NDArray[S]:
    """The ``count`` rows in the ``.npy`` file ``path``, memory mapped and read only; shows progress while it computes.

    ``row`` is the dtype and shape of one. ``compute(n)`` yields the rows from number n on. The number of finished rows
    is in a file beside it until all are done; an interrupted computation resumes there.
    """
    progress = path.with_suffix(".rows")
    if not path.exists() or progress.exists():
        _fill(path, progress, count, row, compute)
    rows: NDArray[S] = np.load(path, mmap_mode="r")
    return rows


def _fill(
    path: Path,
    progress: Path,
    count: int,
    row: tuple[DTypeLike, tuple[int, ...]],
    compute: Callable[[int], Iterator[NDArray[S]]],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done = int(progress.read_text(encoding="ascii")) if path.exists() else 0
    progress.write_text(str(done), encoding="ascii")
    dtype, shape = row
    if done:
        array = np.lib.format.open_memmap(path, "r+")
    else:
        array = np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
    with tqdm(desc=path.name, total=count, initial=done, unit="img", mininterval=5) as bar:
        for number, value in enumerate(compute(done), done):
            array[number] = value
            bar.update()
            if (number + 1) % _ROWS_A_SAVE == 0:
                array.flush()
                progress.write_text(str(number + 1), encoding="ascii")
    array.flush()
    progress.unlink()
