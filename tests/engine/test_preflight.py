"""Versions are tried in a process that can be given up, before they are loaded."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emo_serve.engine.registry.preflight import Preflight
from emo_serve.errors import StartupError
from emo_serve.labels import MAX_LABELS_BYTES
from emo_serve.manifest import MAX_MANIFEST_BYTES
from emo_serve.settings import Settings
from tests.engine.reconciling import NAME, answering, catalog_of, root, versions
from tests.hostile import endless, endless_but_for_its_golden_picture, put_fifo, sign, with_weights_elsewhere
from tests.serving import eventually, until
from tests.support import write_classifier

__all__ = ["root"]  # a fixture

pytestmark = pytest.mark.anyio

Damage = Callable[[Path], None]

BRIEF = 2.0  # seconds that a trial may take here


def processes_that_try() -> list[int]:
    """The children of this process in which versions are tried."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and b"emo_serve.engine.registry.trial" in command:
            found.append(int(entry.name))
    return found


def is_trying(preflight: Preflight) -> bool:
    return preflight._process is not None and preflight._process.is_started


def damaged(root: Path, damage: Damage) -> Path:
    """Version 2 of the model, something about it being wrong."""
    folder = write_classifier(root, version="2", turn=1)
    damage(folder)
    return folder


def grow(name: str, size: int) -> Damage:
    def damage(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return damage


def nest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"card": ' + '{"metrics": ' * 20_000, encoding="utf-8")


def spoil_by_many_faults(folder: Path) -> None:
    (folder / "manifest.json").write_text(json.dumps({f"{number:x}": 0 for number in range(30_000)}), encoding="utf-8")


def spoil_by_garbage(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(np.random.default_rng(0).bytes(50_000_000))
    sign(folder)


def repeat_a_label(folder: Path) -> None:
    """As many as fit, all different but the last two: to look for what is repeated must not take ages."""
    labels = [f"{number:x}" for number in range(500_000)]
    (folder / "labels.txt").write_text("\n".join([*labels, labels[-1]]), encoding="utf-8")
    sign(folder)


def put_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def put_device(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return damage


def grow_labels(folder: Path) -> None:
    grow("labels.txt", MAX_LABELS_BYTES + 1)(folder)
    sign(folder)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "labels are a FIFO": (lambda folder: put_fifo(folder / "labels.txt"), "labels.txt: cannot be read: it is a FIFO"),
    "model is a FIFO": (lambda folder: put_fifo(folder / "model.onnx"), "model.onnx: cannot be read: it is a FIFO"),
    "manifest is a FIFO": (lambda folder: put_fifo(folder / "manifest.json"), "manifest.json: cannot be read: it is a"),
    "manifest is a folder": (put_folder, "manifest.json: cannot be read: it is a folder"),
    "model is a device": (put_device("model.onnx"), "model.onnx: cannot be read: it is a device"),
    "labels are a device": (put_device("labels.txt"), "labels.txt: cannot be read: it is a device"),
    "manifest is a device": (put_device("manifest.json"), "manifest.json: cannot be read: it is a device"),
    "manifest is huge": (grow("manifest.json", 200_000_000), f"larger than the {MAX_MANIFEST_BYTES} bytes"),
    "labels are huge": (grow_labels, f"larger than the {MAX_LABELS_BYTES} bytes"),
    "manifest is nested deeply": (nest, "recursion limit"),
    "manifest has many faults": (spoil_by_many_faults, "more"),
    "model is garbage": (spoil_by_garbage, "ONNX Runtime cannot load it"),
    "a label is repeated among very many": (repeat_a_label, "occurs twice"),
    "model is sparse and huge": (grow("model.onnx", 2**41), "was not loaded and tested within 2 seconds"),
}


@pytest.mark.parametrize("kind", DAMAGES)
async def test_what_is_wrong_with_the_files_of_a_version_is_named_soon_and_the_others_go_on(
    root: Path, kind: str
) -> None:
    damage, reason = DAMAGES[kind]
    async with catalog_of(root, load_seconds=BRIEF) as catalog:
        damaged(root, damage)
        async with asyncio.timeout(15):
            await catalog.reconcile()
        assert answering(catalog) == "1"
        (failure,) = catalog.failures.values()
        assert reason in failure
        assert len(failure) < 2000
        assert str(root) not in failure


async def test_what_an_operator_chose_is_not_waited_for_either(root: Path) -> None:
    put_fifo(root / NAME / "serving.json")
    write_classifier(root, "other")
    async with asyncio.timeout(15), catalog_of(root) as catalog:
        assert versions(catalog) == []
        assert catalog.versions("other")
        assert "it is a FIFO" in catalog.failures[f"{NAME}/serving.json"]


@pytest.mark.parametrize("write", [endless, endless_but_for_its_golden_picture])
async def test_a_version_that_never_ends_is_given_up_and_named(root: Path, write: Callable[[Path, str], Path]) -> None:
    async with catalog_of(root, load_seconds=BRIEF) as catalog:
        write(root, "2")
        write_classifier(root, version="3", turn=1)
        async with asyncio.timeout(15):
            await catalog.reconcile()
        assert versions(catalog) == ["1", "3"]
        assert "toy-classifier/2: was not loaded and tested within 2 seconds" in catalog.failures[f"{NAME}/2"]
        assert processes_that_try() == []


async def test_at_start_a_version_that_never_ends_does_not_keep_the_others_from_being_served(root: Path) -> None:
    endless(root, "2")
    endless(root, "1", "another")
    async with asyncio.timeout(20), catalog_of(root, load_seconds=BRIEF) as catalog:
        assert versions(catalog) == ["1"]
        assert set(catalog.failures) == {f"{NAME}/2", "another/1"}


async def test_an_end_does_not_wait_for_a_version_that_never_ends(root: Path) -> None:
    async with catalog_of(root, load_seconds=600) as catalog:
        endless(root, "2")
        following = asyncio.create_task(catalog.reconcile())
        await until(lambda: len(processes_that_try()) == 1, 20)
        async with asyncio.timeout(5):
            await catalog.close()
            await following
    eventually(lambda: processes_that_try() == [])


async def test_whoever_tries_ends_with_the_server_that_asked_for_it(root: Path) -> None:
    preflight = Preflight(Settings(models=root, load_seconds=600))
    trial = asyncio.create_task(asyncio.to_thread(preflight.artefact, endless(root, "2")))
    await until(lambda: is_trying(preflight), 20)
    (process,) = processes_that_try()
    assert preflight._process is not None
    preflight._process._link.shutdown(socket.SHUT_RDWR)  # as when this process were killed
    with pytest.raises(StartupError, match=r"the process in which it was tried (ended|was ended)"):
        await trial
    eventually(lambda: process not in processes_that_try())


async def test_a_version_whose_trial_is_killed_is_named_and_the_next_one_is_tried(root: Path) -> None:
    async with catalog_of(root, load_seconds=600) as catalog:
        endless(root, "2")
        write_classifier(root, version="3", turn=1)
        following = asyncio.create_task(catalog.reconcile())
        await until(lambda: is_trying(catalog._reconciler._preflight), 20)
        os.kill(processes_that_try()[0], signal.SIGSEGV)
        await following
        assert versions(catalog) == ["1", "3"]
        assert "was ended by signal 11 (SIGSEGV)" in catalog.failures[f"{NAME}/2"]


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "link.bin", "/dev/zero"])
async def test_a_graph_reads_nothing_outside_of_its_folder(root: Path, location: str) -> None:
    (root / NAME / "outside.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    async with catalog_of(root, load_seconds=BRIEF) as catalog:
        folder = with_weights_elsewhere(root, "2", location)
        (folder / "link.bin").symlink_to(root / NAME / "outside.bin")
        await catalog.reconcile()
        assert versions(catalog) == ["1"]
        assert "External data path" in catalog.failures[f"{NAME}/2"]


async def test_weights_that_are_a_fifo_are_not_waited_for(root: Path) -> None:
    async with catalog_of(root, load_seconds=BRIEF) as catalog:
        put_fifo(with_weights_elsewhere(root, "2", "weights.bin") / "weights.bin")
        await catalog.reconcile()
        assert versions(catalog) == ["1"]
        assert f"{NAME}/2" in catalog.failures


async def test_a_version_whose_files_are_links_as_kubernetes_makes_them_is_served(root: Path) -> None:
    async with catalog_of(root) as catalog:
        folder = write_classifier(root, version="2")
        data = root / NAME / ".data"
        folder.rename(data)
        folder.mkdir()
        for path in data.iterdir():
            (folder / path.name).symlink_to(Path("..") / ".data" / path.name)
        await catalog.reconcile()
        assert versions(catalog) == ["1", "2"]


# ---- what is remembered ----


def test_a_version_is_tried_once_and_what_was_wrong_every_time(root: Path, tmp_path: Path) -> None:
    settings = Settings(models=root, cache_dir=tmp_path / "cache")
    first, second = Preflight(settings), Preflight(settings)
    good = root / NAME / "1"
    assert first.artefact(good) == second.artefact(good)
    assert first._process is not None
    assert second._process is None  # it was remembered
    assert second.artefact(write_classifier(root, version="3")).manifest.version == "3"  # the same but for its name
    assert second._process is None
    bad = write_classifier(root, version="2", golden_shift=0.5)
    for preflight in (first, second):
        with pytest.raises(StartupError, match="is off by up to"):
            preflight.artefact(bad)
    assert second._process is not None
    for preflight in (first, second):
        preflight.rest()


async def test_while_one_process_tries_a_version_the_others_wait_for_what_comes_of_it(
    root: Path, tmp_path: Path
) -> None:
    settings = Settings(models=root, cache_dir=tmp_path / "cache", load_seconds=BRIEF)
    preflights = [Preflight(settings) for _ in range(4)]
    folder = endless(root, "2")
    began = asyncio.get_running_loop().time()
    trials = [asyncio.to_thread(preflight.artefact, folder) for preflight in preflights]
    errors = await asyncio.gather(*trials, return_exceptions=True)
    assert ["was not loaded and tested" in str(error) for error in errors] == [True] * 4
    assert asyncio.get_running_loop().time() - began < 2 * BRIEF + 3


def test_without_a_place_to_remember_it_a_version_is_tried_all_the_same(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    preflight = Preflight(Settings(models=root, cache_dir=tmp_path / "file" / "cache"))
    assert preflight.artefact(root / NAME / "1").labels
    preflight.rest()
