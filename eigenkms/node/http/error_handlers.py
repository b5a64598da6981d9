"""Answers to requests that raised an exception: refusals, unknown paths, defects."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from eigenkms.node.http import responses
from eigenkms.node.http.errors import ApiError


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answer with a refusal."""
    del request
    assert isinstance(error, ApiError)
    fields = {"code": error.code, "message": str(error), "hint": error.hint}
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.status == 429:
        headers["connection"] = "close"  # a client that exceeds its rate pays for a new connection each time
    return responses.json_response(
        responses.encode_json({"error": fields}), status=error.status, headers=headers
    )


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer a request of an unknown path or method."""
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    known = ApiError(
        error.status_code,
        codes.get(error.status_code, "bad-request"),
        "there is no such path" if error.status_code == 404 else "the path does not know that method",
        hint="the paths are described in /openapi.json",
    )
    answer = await _answer_error(request, known)
    answer.headers.update(error.headers or {})
    return answer


async def _answer_internal_error(request: Request, error: Exception) -> Response:
    """Answer after a defect. The server logs ``error``; the answer says nothing of it."""
    del error
    return await _answer_error(request, ApiError(500, "internal", "this operator made a mistake"))


EXCEPTION_HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    ApiError: _answer_error,
    HTTPException: _answer_http_error,
    Exception: _answer_internal_error,
}
