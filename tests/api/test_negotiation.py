import pytest
from starlette.exceptions import HTTPException

from emo_serve.api.wire.negotiation import negotiate

AVAILABLE = ("application/json", "image/png", "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("APPLICATION/JSON; charset=utf-8", "application/json"),
        ("image/png", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/*", "image/png"),
        ("image/jpeg, image/png;q=0.5", "image/jpeg"),
        ("image/jpeg;q=0.2, image/png;q=0.5", "image/png"),
        ("image/png, */*", "image/png"),
        ("image/png;q=0.5, */*", "application/json"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "application/json"),
        ("image/png;q=bananas, application/json;q=0.1", "application/json"),
    ],
)
def test_the_best_media_type_the_client_accepts_is_chosen(accept: str | None, chosen: str) -> None:
    assert negotiate(accept.encode() if accept is not None else None, AVAILABLE) == chosen


@pytest.mark.parametrize("accept", ["image/webp", "text/html", "application/json;q=0, image/*;q=0", "*/*;q=0"])
def test_what_cannot_be_produced_is_refused_with_406_and_the_list_of_what_can(accept: str) -> None:
    with pytest.raises(HTTPException) as refusal:
        negotiate(accept.encode(), AVAILABLE)
    assert refusal.value.status_code == 406
    assert "image/png" in refusal.value.detail
