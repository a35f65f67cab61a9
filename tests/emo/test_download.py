import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import emo
from emo.__main__ import main
from emo.export.checkpoint_import import Target, usual_labels
from emo.export.download import BASE_URL, blob_id, fetch, pull
from emo.export.predict import torch_predict
from emo_serve.manifest import MANIFEST_FILE, read_manifest
from emo_serve.settings import Settings
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess
from tests.emo.parity import upstream_state
from tests.serving import in_process

PHOTO = Path(__file__).parents[2] / "docs" / "images" / "motorcycle.jpg"
CONTENT = bytes(range(256)) * 1000


@dataclass
class Site:
    """Files by path, how they are given, and what was asked for."""

    files: dict[str, bytes]
    gives_parts: bool = True
    cut_after: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            site.asked.append((self.path, wanted))
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.gives_parts else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : site.cut_after])

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/net.pth": CONTENT})) as running:
        yield running


@pytest.fixture
def blob(tmp_path: Path) -> str:
    (tmp_path / "wanted").write_bytes(CONTENT)
    return blob_id(tmp_path / "wanted")


def test_a_blob_id_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert blob_id(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_file_is_downloaded_once(site: Site, blob: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "net.pth"
    fetch(f"{site.url}/net.pth", target, blob)
    fetch(f"{site.url}/net.pth", target, blob)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("/net.pth", None)]
    assert list(target.parent.iterdir()) == [target]


def test_another_file_than_published_is_refused_and_not_kept(site: Site, blob: str, tmp_path: Path) -> None:
    site.files["/net.pth"] = CONTENT[:-1] + b"?"
    target = tmp_path / "cache" / "net.pth"
    with pytest.raises(ValueError, match=f"another file than published .*wanted is {blob}"):
        fetch(f"{site.url}/net.pth", target, blob)
    assert not any(target.parent.iterdir())


def test_a_download_that_was_cut_goes_on_where_it_ended(site: Site, blob: str, tmp_path: Path) -> None:
    target = tmp_path / "net.pth"
    site.cut_after = 100_000
    with pytest.raises(ConnectionError, match=r"after 100000 of 256000 bytes; 100000 bytes are kept"):
        fetch(f"{site.url}/net.pth", target, blob)
    assert not target.exists()
    site.cut_after = None
    fetch(f"{site.url}/net.pth", target, blob)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("/net.pth", None), ("/net.pth", "bytes=100000-")]


def test_a_server_that_does_not_give_parts_starts_again(site: Site, blob: str, tmp_path: Path) -> None:
    (tmp_path / "net.pth.partial").write_bytes(CONTENT[:100_000])
    site.gives_parts = False
    fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_rest_that_is_longer_than_the_file_starts_again(site: Site, blob: str, tmp_path: Path) -> None:
    (tmp_path / "net.pth.partial").write_bytes(CONTENT + b"more")
    fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_beginning_of_something_else_is_refused_once_and_then_forgotten(
    site: Site, blob: str, tmp_path: Path
) -> None:
    (tmp_path / "net.pth.partial").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="another file"):
        fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_a_whole_download_that_was_not_yet_named_needs_no_network(site: Site, blob: str, tmp_path: Path) -> None:
    (tmp_path / "net.pth.partial").write_bytes(CONTENT)
    fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert site.asked == []


def test_a_spoilt_file_in_the_cache_is_replaced(site: Site, blob: str, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"spoilt")
    fetch(f"{site.url}/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["emo_1m", "emo-1m", "EMO-1M"])
def test_a_file_that_is_not_there_is_a_message_with_its_address_and_the_other_ways(
    name: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["pull", name, "--base-url", site.url, "--cache", str(tmp_path), "--models", str(tmp_path)])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"{site.url}/resources/EMO_1M/net.pth: HTTP Error 404" in said
    assert "--base-url names a mirror; or fetch the file in another way" in said
    assert "`emo import net.pth --model emo_1m --name emo-1m-imagenet`" in said
    assert not any(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_named(site: Site, blob: str, tmp_path: Path) -> None:
    with serving(Site({})) as gone:
        pass
    assert gone.port != site.port
    with pytest.raises(ConnectionError, match=f"{gone.url}/net.pth: .*refused"):
        fetch(f"{gone.url}/net.pth", tmp_path / "net.pth", blob)


def test_a_server_that_says_nothing_is_not_waited_for_without_end(blob: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net.pth"
        with pytest.raises(ConnectionError, match=r"/net\.pth: .*timed out"):
            fetch(url, tmp_path / "net.pth", blob, timeout=0.1)


def test_the_proxy_of_the_environment_is_used(
    site: Site, blob: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    site.files["http://weights.example/net.pth"] = CONTENT
    fetch("http://weights.example/net.pth", tmp_path / "net.pth", blob)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:" + "///etc/hostname", "ftp://127.0.0.1/net.pth", "net.pth"])
def test_only_the_web_is_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only http and https"):
        fetch(url, tmp_path / "net.pth", "0" * 40)


def test_a_version_that_exists_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine" / "1").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="choose another version"):
        pull("emo_1m", Target(tmp_path, "mine", "1"), tmp_path, site.url)
    assert site.asked == []


def test_the_published_files_are_asked_for_over_https_at_one_commit() -> None:
    assert BASE_URL.startswith("https://")
    assert len(BASE_URL.rsplit("/", 1)[1]) == 40


@pytest.mark.anyio
@pytest.mark.usefixtures("quick_export")
async def test_pulled_weights_are_served_and_answer_a_photo_as_pytorch_does(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = upstream_state("emo_1m")
    state["head.weight"] *= 8  # so that some classes stand out
    file, models = tmp_path / "net.pth", tmp_path / "models"
    torch.save({"net": {f"module.{key}": tensor for key, tensor in state.items()}}, file)
    site.files["/EMO/resources/EMO_1M/net.pth"] = file.read_bytes()
    target = Target(models, "mine", "2")
    folder = pull("emo_1m", target, tmp_path / "cache", f"{site.url}/EMO/", blob_id(file))
    printed = capsys.readouterr().out
    assert "recognised: emo_1m, classify, 1000 classes" in printed
    assert "batch 7: the ONNX file differs from PyTorch by" in printed
    assert "http://localhost:8000/classify?model=mine&version=2" in printed
    manifest = read_manifest(folder / MANIFEST_FILE)
    assert "states no licence" in manifest.card.terms

    async with in_process(Settings(models=models, tune=False)) as (client, _):
        answer = await client.post(
            "/classify",
            params={"model": "mine", "version": "2", "top_k": 1000, "full_decode": True},
            content=PHOTO.read_bytes(),
            headers={"Content-Type": "image/jpeg"},
        )
    assert answer.status_code == 200, answer.text
    found = {item["name"]: item["score"] for item in answer.json()["classifications"]}

    model = emo.create("emo_1m").eval()
    emo.load_upstream(model, state)
    pixels = np.asarray(Image.open(PHOTO).convert("RGB"))
    (scores,) = torch_predict(model)(preprocess(Picture.of(pixels), manifest.preprocessing)[0][None])
    wanted = dict(zip(usual_labels("classify", 1000), scores[0].tolist(), strict=True))
    assert found.keys() == wanted.keys()
    assert max(wanted.values()) > 0.01
    assert max(abs(found[name] - wanted[name]) for name in wanted) <= 1e-5
