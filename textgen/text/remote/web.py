"""Fetches a text by http or https: one request, conditional on what the cache has.

By the standard library and not fsspec, whose http needs aiohttp and can neither ask for "only if it has
changed" nor stream from the middle of a file.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from textgen.errors import CorpusError
from textgen.text.remote.transfer import (
    BLOCK_BYTES,
    TIMEOUT_SECONDS,
    Held,
    Transfer,
    Unreachable,
    resume_from,
)
from textgen.text.remote.urls import checked_url, public_url
from textgen.version import VERSION

_ETAG, _MODIFIED = "etag ", "modified "  # what a version begins with
_NOT_MODIFIED, _PARTIAL, _RANGE_REFUSED, _TOO_MANY = 304, 206, 416, 429
_ADVICE = {
    401: "the server wants a user and password; give them as https://user:password@host/...",
    403: "the server refuses access; check the URL and your permissions",
    404: "no such file on the server; check the URL",
    410: "the file was removed from the server; find its new URL",
    _TOO_MANY: "the server refuses so many requests; try again later",
}


@contextmanager
def open_web(url: str, held: Held) -> Iterator[Transfer]:
    """Ask for the content of a URL, or only for what is missing of it.

    Raises CorpusError when the server refuses, Unreachable when it does not answer.
    """
    response = _send(url, held)
    if _is_useless(response, held):
        response.close()
        held = Held(held.copy)
        response = _send(url, held)
    try:
        if _is_useless(response, held):
            raise CorpusError(f"{public_url(url)}: the server sends only a part of it; download it first")
        if response.status == _NOT_MODIFIED:
            yield Transfer(held.copy, None, 0, iter(()))
        else:
            yield _transfer(response, public_url(url))
    finally:
        response.close()


def _transfer(response: Any, name: str) -> Transfer:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and not name.endswith((".gz", ".zst", ".br")):
        raise CorpusError(f"{name}: the server sends it compressed ({encoding}) unasked; download it first")
    start, size = _range(response)
    return Transfer(_version(response), size, start, _blocks(response, name))


def _version(response: Any) -> str | None:
    """What identifies this version of the content; None when the server does not say."""
    if etag := response.headers.get("ETag"):
        return f"{_ETAG}{etag}"
    modified, size = response.headers.get("Last-Modified"), _range(response)[1]
    return f"{_MODIFIED}{modified}, {size} bytes" if modified and size is not None else None


def _range(response: Any) -> tuple[int, int | None]:
    """The first byte of the content that a response has, and the size of the whole content."""
    if response.status == _PARTIAL:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
        return (int(found[1]), int(found[2])) if found else (-1, None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _is_useless(response: Any, held: Held) -> bool:
    """Whether an answer to a request for a range does not continue the partial copy."""
    if response.status == _PARTIAL:
        found = (_range(response)[0], _version(response))
        return held.partial is None or found != (resume_from(held), held.partial)
    return bool(response.status == _RANGE_REFUSED)


def _send(url: str, held: Held) -> Any:
    """The response to one request, redirects followed; its body has not been read."""
    name, parts = public_url(url), checked_url(url)
    request = urllib.request.Request(_without_user(parts), headers=_headers(held))
    if authorization := _authorization(parts):
        request.add_unredirected_header("Authorization", authorization)
    try:
        return _opener().open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        asked = (held.copy is not None, request.has_header("Range"))
        if (error.code, True) in zip((_NOT_MODIFIED, _RANGE_REFUSED), asked, strict=True):
            return error  # an answer to a condition, not a failure
        error.close()
        raise _refused(name, error.code) from None
    except (OSError, http.client.HTTPException) as error:
        raise _lost(name, error) from error


def _refused(name: str, status: int) -> CorpusError:
    if status == _TOO_MANY:
        return Unreachable(f"{name}: {_ADVICE[status]} ({status})")
    if status >= 500:
        return Unreachable(f"{name}: the server has an error ({status}); try again later")
    if 300 <= status < 400:
        return CorpusError(f"{name}: its redirects do not lead to a file ({status}); check the URL")
    return CorpusError(f"{name}: {_ADVICE.get(status, 'the server refuses it; check the URL')} ({status})")


def _headers(held: Held) -> dict[str, str]:
    headers = {"User-Agent": f"textgen/{VERSION}", "Accept-Encoding": "identity"}
    kind, value = _condition(held.copy)
    if value:
        headers["If-None-Match" if kind == _ETAG else "If-Modified-Since"] = value
    kind, value = _condition(held.partial)
    if held.received and value and not value.startswith("W/"):  # a weak ETag allows other bytes
        headers |= {"Range": f"bytes={resume_from(held)}-", "If-Range": value}
    return headers


def _condition(version: str | None) -> tuple[str, str]:
    """A version as the kind and value of a condition; the value is empty when there is no version."""
    if version is None:
        return "", ""
    if version.startswith(_ETAG):
        return _ETAG, version.removeprefix(_ETAG)
    return _MODIFIED, version.removeprefix(_MODIFIED).rpartition(", ")[0]


def _without_user(parts: SplitResult) -> str:
    """The URL to ask for: no user and fragment, and everything else than ASCII quoted."""
    host = parts.netloc.rpartition("@")[2]
    if not host.isascii():
        host = host.encode("idna").decode()
    path, query = (quote(part, safe="/%:=&?~#+!$,;'@()*[]") for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, and tells the password to no other host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        here, there = _origin(req.full_url), _origin(newurl)
        if here == there and urlsplit(newurl).path == f"{urlsplit(req.full_url).path}/":
            # What follows is a page that lists the folder, and not a text.
            name = public_url(req.full_url)
            raise CorpusError(f"{name}: a folder; for encoded text end the URL with /, or name a file in it")
        if there[0] not in ("https", here[0]):
            name = public_url(req.full_url)
            raise CorpusError(f"{name}: redirected to {there[0]}, which is not safe; find another URL")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.unredirected_hdrs.get("Authorization")
        if request is not None and authorization and here == there:
            request.add_unredirected_header("Authorization", authorization)
        return request


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _blocks(response: Any, name: str) -> Iterator[bytes]:
    """The body as it arrives. Raises Unreachable."""
    try:
        while block := response.read1(BLOCK_BYTES):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _lost(name, error) from error


def _lost(name: str, error: Exception) -> CorpusError:
    """The error for a connection that could not be made, or was lost."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        reason = getattr(cause, "verify_message", "") or cause.reason or str(cause)
        return CorpusError(f"{name}: no secure connection ({reason}); check the URL and the clock")
    if isinstance(cause, TimeoutError):
        return Unreachable(f"{name}: no answer for {TIMEOUT_SECONDS:g} seconds; try again later")
    if isinstance(cause, socket.gaierror):
        return Unreachable(f"{name}: no such host, or no network; check the URL and your connection")
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"{name}: connection refused; check the host and the port")
    if isinstance(cause, http.client.InvalidURL):
        return CorpusError(f"{name}: not a valid URL; check it")
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return Unreachable(f"{name}: the connection was lost ({reason}); try again")
