import json
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from emo_serve import errors
from emo_serve.api.wire.problems import HTTP_PROBLEMS, SERVICE_PROBLEMS, problem_for, problem_types
from emo_serve.errors import InvalidParameter, QueueFull, ServiceError, ShuttingDown

DOCUMENT = Path(__file__).parents[2] / "docs" / "problems.md"


def test_every_service_error_has_its_line_in_the_table() -> None:
    defined = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)}
    assert defined - {ServiceError} == set(SERVICE_PROBLEMS)


def test_names_of_problem_types_are_unique_and_documented() -> None:
    names = [kind.name for kind in problem_types()]
    assert len(names) == len(set(names))
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in names if f"### {name}\n" not in text] == []


def test_a_subclass_that_is_not_in_the_table_is_answered_as_its_parent() -> None:
    class NewError(InvalidParameter):
        pass

    assert problem_for(NewError("what")).status == 422


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.9, "60"), (None, None)]
)
def test_retry_after_is_in_whole_seconds_and_at_least_one(seconds: float | None, header: str | None) -> None:
    response = problem_for(QueueFull("full", seconds)).response()
    assert response.status_code == 503
    assert response.headers.get("Retry-After") == header
    exact = json.loads(bytes(response.body)).get("retry_after_ms")
    assert exact == (None if seconds is None else max(1, round(seconds * 1000)))


def test_a_problem_document_has_the_members_of_rfc_9457() -> None:
    response = problem_for(ShuttingDown("going")).response()
    assert response.headers["content-type"] == "application/problem+json"
    document = json.loads(bytes(response.body))
    assert document["type"] == "urn:emo-serve:problem:shutting-down"
    assert (document["status"], document["detail"]) == (503, "going")
    assert document["title"]


def test_an_http_error_that_the_table_does_not_know_is_about_blank() -> None:
    problem = problem_for(HTTPException(418, "short and stout"))
    assert (problem.status, problem.uri, problem.detail) == (418, "about:blank", "short and stout")


def test_each_http_status_of_the_table_answers_with_itself() -> None:
    assert all(kind.status == status for status, kind in HTTP_PROBLEMS.items())
