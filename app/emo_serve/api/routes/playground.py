"""/: the Playground, a page to try the models on, and the files that it loads, all in ``emo_serve/playground``."""

import os
from functools import lru_cache
from pathlib import Path

from fastapi import Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from emo_serve.api.wire.paths import prefix_of

PATH = "/playground"
"""Below which the files of the page are."""
_FOLDER = Path(__file__).parents[2] / "playground"
FILES = frozenset(f"{PATH}/{path.name}" for path in _FOLDER.iterdir())
"""The paths of these files."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def playground(request: Request) -> Response:
    """The page, with a Content-Security-Policy that allows only its own files."""
    return Response(
        _page(prefix_of(request.scope)), media_type="text/html", headers={"Content-Security-Policy": _POLICY}
    )


class PlaygroundFiles(StaticFiles):
    """The files of the page. A browser keeps them and asks each time whether they are still the same."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file, or 304 without it for a browser that has it, with the headers of the page."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update({"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"})
        return response


@lru_cache(maxsize=16)
def _page(prefix: str) -> str:
    """The page below this prefix, which consists of letters, digits and ``._~-/``."""
    page = (_FOLDER / "index.html").read_text(encoding="utf-8")
    return page.replace('"./', f'"{prefix}/') if prefix else page
