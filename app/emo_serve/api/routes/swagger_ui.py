"""/docs: the API description as an interactive Swagger UI page, and the files that the page loads.

Nothing is loaded from elsewhere: ``swagger/`` holds swagger-ui-dist 5.35.0 as published (Apache-2.0), compressed.
"""

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from fastapi import HTTPException, Request, Response

from emo_serve.api.wire.paths import prefix_of

ASSETS: Mapping[str, str] = MappingProxyType({"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"})
"""Files that the page loads, with their media types."""
_FOLDER = Path(__file__).parent / "swagger"


async def documentation(request: Request) -> Response:
    """The page, with a Content-Security-Policy that allows only its own files."""
    page, policy = _page(prefix_of(request.scope))
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})


async def asset(request: Request, name: str) -> Response:
    """A file of Swagger UI, sent compressed if the client accepts gzip."""
    if name not in ASSETS:
        raise HTTPException(404)
    packed = _packed(name)
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        return Response(packed, media_type=ASSETS[name], headers=headers | {"Content-Encoding": "gzip"})
    return Response(await asyncio.to_thread(gzip.decompress, packed), media_type=ASSETS[name], headers=headers)


async def description(request: Request) -> Response:
    """The OpenAPI document; behind a proxy that publishes the server below a path, with that path."""
    document = request.app.openapi()
    if prefix := prefix_of(request.scope):
        document = {**document, "servers": [{"url": prefix}]}
    return Response(json.dumps(document, ensure_ascii=False, separators=(",", ":")), media_type="application/json")


@lru_cache(maxsize=16)
def _page(prefix: str) -> tuple[str, str]:
    """The page below this prefix, which consists of letters, digits and ``._~-/``, and its policy."""
    options = f"url: '{prefix}/openapi.json', dom_id: '#description', deepLinking: true, validatorUrl: null"
    start = f"SwaggerUIBundle({{{options}}})"
    digest = base64.b64encode(hashlib.sha256(start.encode()).digest()).decode()
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>emo-serve</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css">
</head>
<body>
<div id="description"><p>The description is in <a href="{prefix}/openapi.json">openapi.json</a>; this page needs
JavaScript to show it.</p></div>
<script src="{prefix}/docs/swagger-ui-bundle.js"></script>
<script>{start}</script>
</body>
</html>
"""
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


@lru_cache(maxsize=len(ASSETS))
def _packed(name: str) -> bytes:
    return (_FOLDER / f"{name}.gz").read_bytes()
