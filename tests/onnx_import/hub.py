"""A stand-in for the Hugging Face Hub's HTTP interface, with one repository."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Its address, and what has been fetched from it."""

    url: str
    cache: Path
    name: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)

    def add(self, source: str, models: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """The command, in a process of its own: huggingface_hub reads its address when it is loaded."""
        models.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "emo_serve", "add", "--from-hf", source, "--name", "theirs"]
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.cache), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [*command, "--models", str(models), *options],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | own,
        )


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        status, content, headers = self._content(unquote(urlsplit(self.path).path), has_body=has_body)
        self.send_response(status)
        etag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Length": str(len(content))}
        for key, value in (etag | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def _content(self, path: str, *, has_body: bool) -> tuple[int, bytes, dict[str, str]]:
        name, files = self.hub.name, self.hub.files
        file = path.rpartition(f"/{name}/resolve/")[2].partition("/")[2]
        if file in files:
            if has_body:
                self.hub.fetched.add(file)
            return 200, files[file], {"X-Repo-Commit": _COMMIT}
        if path.startswith(f"/api/models/{name}/tree/"):
            tree = [{"type": "file", "path": file, "size": len(files[file]), "oid": "0" * 40} for file in files]
            return 200, json.dumps(tree).encode(), {}
        if path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
            siblings = [{"rfilename": file} for file in files]
            content = {"id": name, "modelId": name, "sha": _COMMIT, "siblings": siblings, "tags": []}
            return 200, json.dumps(content).encode(), {}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(name: str, folder: Path, cache: Path) -> Iterator[Hub]:
    """Give a hub whose repository ``name`` has the files of the folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.hub = hub = Hub(f"http://127.0.0.1:{server.server_port}", cache, name, files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
