"""Pins, aliases and what is unloaded decide what is served."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from emo_serve.engine.execution.session import Session, open_session
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import ModelNotReady
from emo_serve.settings import Settings
from tests.engine.reconciling import NAME, answering, catalog_of, choose, root, versions
from tests.support import write_classifier

__all__ = ["root"]  # a fixture

pytestmark = pytest.mark.anyio


async def test_a_pinned_version_answers_though_a_newer_one_comes(root: Path) -> None:
    choose(root, aliases={"default": "1"})
    async with catalog_of(root) as catalog:
        write_classifier(root, version="2")
        await catalog.reconcile()
        assert (answering(catalog), answering(catalog, "2")) == ("1", "2")
        choose(root, aliases={"canary": "1"})
        await catalog.reconcile()
        assert (answering(catalog), answering(catalog, "canary")) == ("2", "1")


async def test_a_pin_that_comes_with_a_newer_version_holds_from_the_first_moment(root: Path) -> None:
    seen: list[str] = []

    def spy(artefact: Artefact, settings: Settings) -> Session:
        if artefact.manifest.version == "3":  # by now version 2 is loaded
            seen.append(answering(catalog))
        return open_session(artefact, settings)

    async with catalog_of(root, open_session=spy) as catalog:
        for version in ("2", "3"):
            write_classifier(root, version=version)
        choose(root, aliases={"default": "1"})
        await catalog.reconcile()
        assert seen == ["1"]
        assert answering(catalog) == "1"


async def test_an_alias_of_what_is_not_served_names_what_it_named_before(root: Path) -> None:
    choose(root, aliases={"default": "1"})
    async with catalog_of(root) as catalog:
        write_classifier(root, version="2", golden_shift=0.5)
        choose(root, aliases={"default": "2"})
        await catalog.reconcile()
        assert answering(catalog) == "1"
        assert "names version 2, which is not served" in catalog.failures[f"{NAME}/serving.json"]


async def test_a_pinned_version_that_cannot_be_served_at_start_is_not_replaced(root: Path) -> None:
    choose(root, aliases={"default": "7"})
    async with catalog_of(root) as catalog:
        assert not catalog.ready
        with pytest.raises(ModelNotReady, match="Version 7"):
            catalog.get("classify")
        assert answering(catalog, "1") == "1"


async def test_what_an_alias_names_stays_when_its_folder_is_removed(root: Path) -> None:
    write_classifier(root, version="2")
    choose(root, aliases={"default": "1"})
    async with catalog_of(root) as catalog:
        shutil.rmtree(root / NAME / "1")
        await catalog.reconcile()
        assert answering(catalog) == "1"
        assert "stays loaded" in catalog.failures[f"{NAME}/1"]


async def test_what_is_unloaded_is_not_served(root: Path) -> None:
    write_classifier(root, version="2")
    choose(root, unloaded=["2"])
    async with catalog_of(root) as catalog:
        assert versions(catalog) == ["1"]
        choose(root)
        await catalog.reconcile()
        assert versions(catalog) == ["1", "2"]


async def test_choices_that_cannot_be_read_change_nothing(root: Path) -> None:
    write_classifier(root, version="2")
    choose(root, aliases={"default": "1"})
    async with catalog_of(root) as catalog:
        wrong: list[dict[str, Any]] = [
            {"aliases": {"default": "1"}, "unloaded": ["1"]},
            {"alias": {}},
            {"aliases": {"7": "1"}},
        ]
        for choices in wrong:
            choose(root, **choices)
            await catalog.reconcile()
            assert answering(catalog) == "1"
            assert list(catalog.failures) == [f"{NAME}/serving.json"]
    async with catalog_of(root) as catalog:  # at start nobody knows who was pinned
        assert versions(catalog) == []
