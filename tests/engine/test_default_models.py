"""Which model answers where none is named: one that is added never takes that over."""

import json
import os
import shutil
from pathlib import Path

import pytest

from emo_serve.engine.registry.catalog import Catalog
from emo_serve.errors import ModelNotFound, ModelNotReady
from tests.engine.reconciling import catalog_of
from tests.support import write_classifier, write_detector, write_segmenter

pytestmark = pytest.mark.anyio


def answers(catalog: Catalog) -> str:
    return catalog.get("classify").manifest.name


def say(root: Path, **defaults: str) -> None:
    (root / "defaults.json").write_text(json.dumps(defaults))


@pytest.mark.parametrize("name", ["aaa", "zzz"])
async def test_the_shipped_model_stays_the_default_whatever_is_added(tmp_path: Path, name: str) -> None:
    write_classifier(tmp_path, name="emo-1m")
    write_detector(tmp_path, name="ssdlite-emo-1m")
    write_classifier(tmp_path, name=name)
    write_detector(tmp_path, name=f"{name}-detector")
    async with catalog_of(tmp_path) as catalog:
        assert answers(catalog) == "emo-1m"
        assert catalog.get("detect").manifest.name == "ssdlite-emo-1m"
        assert catalog.failures == {}


async def test_what_the_repository_says_goes_before_the_shipped_one_and_the_setting_before_both(tmp_path: Path) -> None:
    for name in ("emo-1m", "a", "b"):
        write_classifier(tmp_path, name=name)
    say(tmp_path, classify="b")
    async with catalog_of(tmp_path) as catalog:
        assert answers(catalog) == "b"
        assert catalog.ready
    async with catalog_of(tmp_path, default_classify_model="a") as catalog:
        assert answers(catalog) == "a"


async def test_the_only_model_of_a_task_is_its_default(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="pets")
    write_detector(tmp_path, name="tools")
    write_segmenter(tmp_path, name="scenes")
    async with catalog_of(tmp_path) as catalog:
        assert answers(catalog) == "pets"
        assert catalog.get("detect").manifest.name == "tools"
        assert catalog.get("segment").manifest.name == "scenes"


async def test_of_several_that_nobody_chose_from_none_answers_and_all_are_named(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="b")
    write_classifier(tmp_path, name="a")
    async with catalog_of(tmp_path) as catalog:
        with pytest.raises(ModelNotFound, match="none is the default: name one of a, b as model"):
            catalog.get("classify")
        assert catalog.get("classify", "b").ready
        assert catalog.ready
        assert '{"classify": "a"} in defaults.json' in catalog.failures["defaults.json"]
        assert not any(map(catalog.is_default, catalog.all()))


@pytest.mark.parametrize("newcomer", ["a", "emo-1m"])
async def test_a_model_that_comes_while_the_server_runs_never_becomes_the_default(
    tmp_path: Path, newcomer: str
) -> None:
    write_classifier(tmp_path, name="pets")
    async with catalog_of(tmp_path) as catalog:
        write_classifier(tmp_path, name=newcomer)
        for _ in range(2):
            await catalog.reconcile()
            assert answers(catalog) == "pets"
            assert "'pets' goes on until a restart" in catalog.failures["defaults.json"]
        say(tmp_path, classify=newcomer)
        await catalog.reconcile()
        assert answers(catalog) == newcomer
        assert catalog.failures == {}


async def test_a_default_that_is_said_and_not_served_leaves_what_answered(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="pets")
    write_classifier(tmp_path, name="broken", golden_shift=0.5)
    say(tmp_path, classify="pets")
    async with catalog_of(tmp_path) as catalog:
        for name in ("broken", "nowhere"):
            say(tmp_path, classify=name)
            await catalog.reconcile()
            assert answers(catalog) == "pets"
            assert f"'{name}' is not served" in catalog.failures["defaults.json"]
    async with catalog_of(tmp_path) as catalog:  # at start it answers nothing, rather than what nobody chose
        assert "the default model for classify, 'nowhere', is not served" in catalog.not_ready_reasons()
        with pytest.raises(ModelNotReady, match="'nowhere', the default for classify, is not served"):
            catalog.get("classify")


async def test_a_model_that_does_not_work_takes_nothing_from_the_only_one_that_does(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="pets")
    write_classifier(tmp_path, name="a", golden_shift=0.5)
    async with catalog_of(tmp_path) as catalog:
        assert answers(catalog) == "pets"
        assert list(catalog.failures) == ["a/1"]


async def test_a_default_that_was_removed_leaves_the_only_other(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="emo-1m")
    write_classifier(tmp_path, name="pets")
    async with catalog_of(tmp_path) as catalog:
        shutil.rmtree(tmp_path / "emo-1m")
        await catalog.reconcile()
        assert answers(catalog) == "pets"


async def test_the_shipped_model_is_not_replaced_where_its_manifest_cannot_be_read(tmp_path: Path) -> None:
    (write_classifier(tmp_path, name="emo-1m") / "manifest.json").write_text("{")
    write_classifier(tmp_path, name="pets")
    async with catalog_of(tmp_path) as catalog:
        assert "the default model for classify, 'emo-1m', is not served" in catalog.not_ready_reasons()
        with pytest.raises(ModelNotReady):
            catalog.get("classify")


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"clasify": "pets"}', b'{"classify": 3}', b'{"classify": "../x"}', b" " * 100_000, None]
)
async def test_a_file_that_cannot_be_read_is_named_and_changes_nothing(tmp_path: Path, text: bytes | None) -> None:
    write_classifier(tmp_path, name="pets")
    write_classifier(tmp_path, name="a")
    path = tmp_path / "defaults.json"
    say(tmp_path, classify="pets")
    async with catalog_of(tmp_path) as catalog:
        path.unlink()
        if text is None:
            os.mkfifo(path)  # to open it would take for ever
        else:
            path.write_bytes(text)
        await catalog.reconcile()
        assert answers(catalog) == "pets"
        assert catalog.ready
        assert "defaults.json" in catalog.failures
    async with catalog_of(tmp_path) as catalog:
        assert catalog.not_ready_reasons()[0] == "defaults.json cannot be read"
        with pytest.raises(ModelNotReady, match="default model for classify is not known"):
            catalog.get("classify")
        assert catalog.get("classify", "a").ready
        path.unlink()
        say(tmp_path, classify="a")
        await catalog.reconcile()
        assert (answers(catalog), catalog.not_ready_reasons()) == ("a", [])


@pytest.mark.parametrize("name", ["emo_1m", "emo-1m"])
async def test_a_name_is_known_in_both_spellings(tmp_path: Path, name: str) -> None:
    write_classifier(tmp_path, name="emo-1m")
    write_classifier(tmp_path, name="pets_2")
    async with catalog_of(tmp_path, default_classify_model=name) as catalog:
        assert catalog.get("classify", name).manifest.name == catalog.find(name).manifest.name == "emo-1m"
        assert catalog.get("classify", "pets-2").manifest.name == "pets_2"
        assert answers(catalog) == "emo-1m"
    write_classifier(tmp_path, name="pets-2")
    async with catalog_of(tmp_path) as catalog:
        assert catalog.get("classify", "pets-2").manifest.name == "pets-2"  # each its own where both are there
        assert catalog.get("classify", "pets_2").manifest.name == "pets_2"
