"""Errors of a request, with their HTTP status and the JSON that OpenAI's clients read."""

from __future__ import annotations

RETRY_SECONDS = 1
_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class ApiError(Exception):
    """A request that is refused or has failed; the client gets the message, one line.

    param: the field of the request that is wrong; None: no single one. code: a word for programs; None: the
    status says enough. retry_after: seconds after which to try again, for the header of that name.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """The body of the response, and what a stream that has begun sends."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        about = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": about}


def wrong(param: str, message: str) -> ApiError:
    """The error for a field that has a wrong value."""
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_value")


def too_many(what: str) -> ApiError:
    """The error for a request before which too many others wait."""
    return ApiError(
        429, f"too many {what}; try again later",
        code="rate_limit_exceeded", retry_after=RETRY_SECONDS,
    )  # fmt: skip


def unavailable(message: str) -> ApiError:
    """The error for a request that the server cannot take now."""
    return ApiError(503, message, code="unavailable", retry_after=RETRY_SECONDS)


def failed() -> ApiError:
    """The error for a fault of the server, about which the client is told nothing."""
    return ApiError(500, "the server has failed to answer; its log says why", code="internal_error")
