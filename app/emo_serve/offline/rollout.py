"""``emo-serve rollout``: a version for all replicas, one after another, by the administration of each.

The first replica that cannot serve it ends the command, and those before it stop serving it again. At the end all must
serve the same content: the digest of the manifest, which lists those of the files.
"""

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from emo_serve.api.http.auth import read_token
from emo_serve.errors import StartupError
from emo_serve.manifest import known_as
from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from emo_serve.settings import Settings

_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_DAY_SECONDS = 86_400
_URL = re.compile(r"https?://[^\s/?#@]+(/[!-~]*)?", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class _RolloutError(Exception):
    """A replica does not do what it was asked for; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Replica:
    """The administration of one server at ``url``, which waits so many seconds for a model to be loaded and tried."""

    url: str
    token: str
    seconds: float

    def ask(self, method: str, path: str) -> list[dict[str, Any]]:
        """What each worker serves, after the change; raises _RolloutError with the server's reason."""
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)  # noqa: S310  see _addresses
        try:
            with urllib.request.build_opener(_NoRedirects()).open(request, timeout=self.seconds) as response:
                answer = json.loads(response.read(_MAX_ANSWER_BYTES))
            workers: list[dict[str, Any]] = answer["workers"]
        except urllib.error.HTTPError as error:
            msg = f"{self.url}: {_reason(error)}"
            raise _RolloutError(msg) from error
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            reason = "no list of workers" if isinstance(error, KeyError) else getattr(error, "reason", error)
            msg = f"{self.url}: {reason}: is this the administration (EMO_ADMIN_PORT)?"
            raise _RolloutError(msg) from error
        if not workers:
            msg = f"{self.url}: no worker takes requests"
            raise _RolloutError(msg)
        return workers


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the named address only."""

    def redirect_request(self, *_arguments: object) -> None:
        """None: a redirect is an error."""


def rollout(options: argparse.Namespace, settings: Settings) -> int:
    """Run the command; the exit code is 0 if all replicas serve the version, else 1."""
    if not (0 <= options.pause <= _DAY_SECONDS and 0 < options.seconds <= _DAY_SECONDS):
        msg = f"--pause and --timeout are seconds, at least 0 and more than 0, and at most {_DAY_SECONDS}"
        raise StartupError(msg)
    token = read_token(settings)
    replicas = [Replica(url, token, options.seconds) for url in _addresses(options.replicas)]
    path = f"/models/{quote(options.name, safe='')}/{quote(options.version, safe='')}"
    done: list[Replica] = []
    try:
        new = [replica for replica in replicas if not _digests(replica.ask("GET", "/models"), options)]
        for number, replica in enumerate(replicas, 1):
            if replica in new:
                done.append(replica)
                _say(f"{replica.url}: {_served(replica.ask('POST', path), options)} ({number} of {len(replicas)})")
                time.sleep(options.pause if number < len(replicas) else 0)
        _prove(replicas, options)
    except _RolloutError as error:
        sys.stderr.write(f"emo-serve: halted: {error}\n")
        for line in _taken_back(done, path, options):
            sys.stderr.write(f"emo-serve: {line}\n")
        return EXIT_STARTUP
    return EXIT_OK


def _prove(replicas: Sequence[Replica], options: argparse.Namespace) -> None:
    """Ask all of them once more, as the first may have changed since."""
    found = {replica.url: _digests(replica.ask("GET", "/models"), options) for replica in replicas}
    for url, digests in found.items():
        if digests != found[replicas[0].url] or len(digests) != 1:
            said = ", ".join(sorted(digests)) or "nothing"
            msg = f"{url} serves {said} as {options.name} {options.version}, {replicas[0].url} something else"
            raise _RolloutError(msg)
    (digest,) = found[replicas[0].url]
    _say(f"all {len(replicas)} serve {options.name} {options.version}, {digest}")


def _taken_back(done: Sequence[Replica], path: str, options: argparse.Namespace) -> Iterator[str]:
    """A line for each replica, whether or not it served the version."""
    for replica in done:
        try:
            replica.ask("DELETE", path)
        except _RolloutError as error:
            yield f"not taken back: {error}" if _may_serve(replica, options) else f"does not serve it: {replica.url}"
        else:
            yield f"taken back: {replica.url}"


def _may_serve(replica: Replica, options: argparse.Namespace) -> bool:
    """True if one of its workers serves the version, or it does not say."""
    try:
        return any(_digests_by_worker(replica.ask("GET", "/models"), options))
    except _RolloutError:
        return True


def _digests(workers: Sequence[dict[str, Any]], options: argparse.Namespace) -> set[str]:
    """Those of the version in all workers; empty if one of them does not serve it."""
    served = _digests_by_worker(workers, options)
    return set.union(*served) if all(served) else set()


def _digests_by_worker(workers: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[set[str]]:
    name = known_as(options.name, {entry["name"] for worker in workers for entry in worker["models"]})
    asked = (name, options.version)
    return [
        {str(entry["digest"]) for entry in worker["models"] if (entry["name"], entry["version"]) == asked}
        for worker in workers
    ]


def _served(workers: Sequence[dict[str, Any]], options: argparse.Namespace) -> str:
    count = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
    return f"{options.name} {options.version} is served by {count}, {', '.join(sorted(_digests(workers, options)))}"


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        detail = json.loads(error.read(_MAX_ANSWER_BYTES))["detail"]
    except (OSError, ValueError, KeyError, TypeError):
        detail = HTTPStatus(error.code).phrase if error.code in set(HTTPStatus) else ""
    return f"{error.code}: {detail}"


def _addresses(urls: Sequence[str]) -> list[str]:
    """The URLs without a slash at their ends; raises StartupError where one is none, or names a server once more."""
    named: dict[tuple[str, str, int, str], str] = {}
    for url in urls:
        server = _server(url)
        if server in named:
            msg = f"--replica {url}: names the same server as --replica {named[server]}; name each once"
            raise StartupError(msg)
        named[server] = url
    return [url.rstrip("/") for url in named.values()]


def _server(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path, the same for all spellings."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not _URL.fullmatch(url) or parts.query or parts.fragment:
        msg = f"--replica {url}: allowed are URLs such as http://10.0.0.4:8001, of the administration of a server"
        raise StartupError(msg)
    return parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
