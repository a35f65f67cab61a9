"""The call that is shown gets the answer that is shown; times and problems are said."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from emo_serve.manifest import sha256_of
from tests.e2e.conftest import opened
from tests.e2e.looking import MIXED, answer_of, choose, frame, only, panel, pick, png, rows, settled, slide
from tests.serving import Running, running, settings_for
from tests.support import encode_image, write_detector

KEY = "the-key-of-alice"
NAME = 'it\'s a "photo".png'


def code(page: Page, language: str) -> str:
    panel(page).get_by_role("tab", name=language).click()
    text: str = panel(page).get_by_label("The call", exact=True).inner_text()
    return text


@pytest.fixture
def asked(page: Page) -> Page:
    choose(page, png(NAME))
    only(page, "toy-detector")
    slide(page, "Objects", "Least score", 0.45)
    slide(page, "Objects", "At most", 7)
    return page


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_call_runs_as_it_stands_and_gets_the_answer_that_is_shown(
    asked: Page, tmp_path: Path, language: str
) -> None:
    (tmp_path / NAME).write_bytes(encode_image(MIXED))
    text = code(asked, language)
    command = ["sh", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    answer = json.loads(result.stdout) if language == "curl" else eval(result.stdout)  # noqa: S307  a dict's repr
    assert answer == answer_of(panel(asked))
    assert len(answer["detections"]) == 2


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_names_may_have_markup_and_commas(browser: Browser, tmp_path: Path, language: str) -> None:
    folder = write_detector(tmp_path / "models")
    names = ("<img src=x onerror=alert(1)>, red", "'; alert(1) //, green", "blue")
    before = sha256_of(folder / "labels.txt")
    (folder / "labels.txt").write_text("\n".join(names) + "\n")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, sha256_of(folder / "labels.txt")))
    photo = "<b>photo</b>.png".replace("/", "")
    (tmp_path / photo).write_bytes(encode_image(MIXED))
    with running(settings_for(tmp_path / "models")) as server, opened(browser, server.url) as page:
        choose(page, png(photo))
        field = page.get_by_role("group", name="Objects").get_by_label("Only these classes")
        for name in names[:2]:
            field.fill(name)
            field.press("Enter")
        frame(page)
        assert {name for name, _ in rows(panel(page))} == set(names[:2])
        assert page.locator("main b, main img[onerror]").count() == page.locator(".legend b, .sums b").count()
        text = code(page, language)
        command = ["sh", "-c", text] if language == "curl" else [sys.executable, "-c", text]
        result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        answer = json.loads(result.stdout) if language == "curl" else eval(result.stdout)  # noqa: S307  a dict's repr
        assert answer == answer_of(panel(page))


def test_the_call_in_javascript_gets_the_answer_that_is_shown(asked: Page) -> None:
    text = code(asked, "JavaScript").replace("console.log(await answer.json())", "return answer.json()")
    function = f"(async (photo) => {{ {text} }})(document.testPhoto)"
    asked.evaluate("bytes => { document.testPhoto = new Blob([new Uint8Array(bytes)]); }", [*encode_image(MIXED)])
    assert asked.evaluate(function) == answer_of(panel(asked))


def test_the_call_is_copied(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        choose(page, png("mixed.png"))
        text = code(page, "Python")
        panel(page).get_by_role("button", name="Copy").click()
        expect(panel(page).get_by_text("Copied")).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == text


def test_the_call_names_a_model_that_would_not_answer_anyway(browser: Browser, tmp_path: Path) -> None:
    write_detector(tmp_path, "one")
    write_detector(tmp_path, "other")
    settings = settings_for(tmp_path, default_detect_model="one")
    with running(settings) as server, opened(browser, server.url) as page:
        choose(page, png("mixed.png"))
        assert "model=" not in code(page, "curl")
        pick(page, "other")
        assert code(page, "curl").endswith("/detect?model=other&version=1'")


def test_the_stages_of_the_server_are_a_bar_with_their_times(page: Page) -> None:
    choose(page, png("mixed.png"))
    legend = panel(page).locator(".legend").inner_text()
    for stage in ("decode", "preprocess", "queue", "infer", "postprocess"):
        assert f"{stage} " in legend
    assert panel(page).locator(".stages .stage").count() >= 5
    expect(panel(page).locator(".sums")).to_contain_text("round trip")


def test_a_problem_is_shown_as_the_server_says_it(page: Page) -> None:
    choose(page, FilePayload(name="broken.png", mimeType="image/png", buffer=encode_image(MIXED)[:60]))
    alert = panel(page).get_by_role("alert")
    expect(alert).to_contain_text("The image cannot be decoded")
    expect(alert).to_contain_text("422 · request ")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()


def test_a_server_that_is_gone_is_a_problem_and_not_silence(browser: Browser, models: Path) -> None:
    with running(settings_for(models)) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_timeout(500)
    choose(page, png("mixed.png"))
    expect(panel(page).get_by_role("alert")).to_contain_text("The server cannot be reached")
    context.close()


@pytest.mark.parametrize(
    ("type_of_answer", "status", "said"),
    [
        ("text/html", 200, "This is no answer of the server"),
        ("text/html", 502, "502"),
        ("application/problem+json", 503, "This is no answer of the server"),
    ],
)
def test_what_a_proxy_answers_instead_of_the_server_is_a_problem(
    browser: Browser, server: Running, type_of_answer: str, status: int, said: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector("#status", state="attached")

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type=type_of_answer, body="<p>Log in</p>")

    page.route("**/detect?*", answer)
    choose(page, png("mixed.png"))
    only(page, "toy-detector")
    expect(panel(page).get_by_role("alert")).to_contain_text(said)
    page.route("**/models", answer)
    page.reload()
    expect(page.locator("#trouble")).to_contain_text(said)
    context.close()


def test_a_sample_that_cannot_be_had_is_a_problem(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        page.route("**/cat.jpg", lambda route: route.fulfill(status=404))
        page.get_by_role("button", name="A cat").click()
        expect(page.locator("#trouble")).to_contain_text("The sample cannot be loaded")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with the key of alice."""
    path = tmp_path / "keys"
    path.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    return path


@pytest.fixture
def locked(models: Path, keys: Path) -> Iterator[Running]:
    with running(settings_for(models, api_keys_file=keys)) as server:
        yield server


def test_where_a_key_is_needed_it_is_asked_for_and_kept_out_of_the_code(browser: Browser, locked: Running) -> None:
    with opened(browser, locked.url) as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("An API key is needed")
        for key in ("a-wrong-key", KEY):
            dialog.get_by_label("Key", exact=True).fill(key)
            dialog.get_by_role("button", name="Use it").click()
            if key != KEY:
                expect(dialog).to_contain_text("is not known")
        expect(dialog).to_be_hidden()
        choose(page, png("mixed.png"))
        assert rows(panel(page))
        for language in ("curl", "Python", "JavaScript"):
            text = code(page, language)
            assert "Authorization" in text
            assert KEY not in text
        page.reload()
        choose(page, png("mixed.png"))
        assert rows(panel(page))


@pytest.mark.parametrize("share", [{"api_key_requests_per_second": 2}, {"api_key_concurrency": 1}])
def test_a_key_with_a_small_share_gets_the_answers_about_all_photos(
    browser: Browser, models: Path, keys: Path, share: dict[str, int]
) -> None:
    with (
        running(settings_for(models, api_keys_file=keys, **share)) as server,
        opened(browser, server.url) as page,
    ):
        page.get_by_role("dialog").get_by_label("Key", exact=True).fill(KEY)
        page.get_by_role("dialog").get_by_role("button", name="Use it").click()
        choose(page, *(png(f"{number}.png") for number in range(3)))
        settled(page)
        expect(page.locator("#grid .card")).to_have_count(3)
        expect(page.locator(".problem")).to_have_count(0)
        assert rows(panel(page))


@pytest.mark.parametrize("path", ["/vision", "/vision/"])
def test_below_a_path_everything_works(browser: Browser, models: Path, path: str) -> None:
    with (
        running(settings_for(models, root_path="/vision")) as server,
        opened(browser, server.url + path) as page,
    ):
        page.get_by_role("button", name="A cat").click()
        settled(page)
        assert rows(panel(page, 1))
        assert f"{server.url}/vision/detect" in code(page, "curl")
        details: dict[str, Any] = answer_of(panel(page))
        assert details["image"] == {"width": 451, "height": 300}
        page.get_by_role("link", name="API").click()
        page.wait_for_url("**/vision/docs")
