"""/docs: the OpenAPI description to try out, as a page of Swagger UI.

Its script comes from a public CDN, in one exact version whose digest the page states: a browser refuses anything else.
"""

import base64
import hashlib

from fastapi import Response

_CDN = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"
_SCRIPT = _CDN + "swagger-ui-bundle.js"
_STYLE = _CDN + "swagger-ui.css"
_SCRIPT_DIGEST = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_STYLE_DIGEST = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_START = "SwaggerUIBundle({url: 'openapi.json', dom_id: '#description', deepLinking: true})"
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>emo-serve</title>
<link rel="stylesheet" href="{_STYLE}" integrity="{_STYLE_DIGEST}" crossorigin="anonymous" referrerpolicy="no-referrer">
</head>
<body>
<div id="description"><p>The description is in <a href="openapi.json">openapi.json</a>; this page needs the network to
show it.</p></div>
<script src="{_SCRIPT}" integrity="{_SCRIPT_DIGEST}" crossorigin="anonymous" referrerpolicy="no-referrer"></script>
<script>{_START}</script>
</body>
</html>
"""
_START_DIGEST = "sha256-" + base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src {_SCRIPT} '{_START_DIGEST}'; style-src {_STYLE} 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def documentation() -> Response:
    """The page, with what it may load in its Content-Security-Policy."""
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})
