"""Fetches a text from what fsspec calls a file system: an object store, a hub, or a host by SFTP."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from textgen.errors import CorpusError
from textgen.text.remote.transfer import (
    BLOCK_BYTES,
    TIMEOUT_SECONDS,
    Held,
    Transfer,
    Unreachable,
    resume_from,
)
from textgen.text.remote.urls import public_url

# What to install: the library of each protocol is an extra, except huggingface_hub, which tokenizers brings.
_INSTALL = {"s3": "textgen[s3]", "gs": "textgen[gs]", "sftp": "textgen[sftp]", "hf": "huggingface_hub"}
_CREDENTIALS = {
    "s3": "log in with `aws configure`, or set FSSPEC_S3_ANON=true for a public bucket",
    "gs": "log in with `gcloud auth login --update-adc`, or set FSSPEC_GS_TOKEN=anon for a public bucket",
    "sftp": "add your key to ssh-agent, or give sftp://user:password@host/...",
    "hf": "log in with `hf auth login`",
}
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}},
    "sftp": dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), TIMEOUT_SECONDS),
}
_LOGGERS = ("s3fs", "gcsfs", "paramiko")
_VERSIONS = ("ETag", "etag", "blob_id", "md5Hash", "generation")  # in the order of preference
_TIMES = ("LastModified", "updated", "mtime", "created")


@contextmanager
def open_file_system(url: str, held: Held) -> Iterator[Transfer]:
    """Open the file of a URL at the byte where a partial copy ends.

    Raises CorpusError, also when the protocol's library is not installed, and Unreachable.
    """
    protocol, name = url.partition("://")[0], public_url(url)
    opened: Any = None
    try:
        try:
            info, opened, start = _open(url, protocol, held)
        except Exception as error:  # each library raises classes of its own
            raise _failure(protocol, name, error) from error
        blocks = _blocks(opened, protocol, name)
        yield Transfer(_version(info), info.get("size"), start, blocks)
    finally:
        if opened is not None:
            opened.close()


def _open(url: str, protocol: str, held: Held) -> tuple[dict[str, Any], Any, int]:
    """What is known of the file, and the file, opened at the byte `start`."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    for logger in _LOGGERS:  # else what they log would be printed beside the one line of the error
        logging.getLogger(logger).addHandler(logging.NullHandler())
    # A new one: the instances that fsspec keeps remember sizes and listings.
    settings = _TIMEOUTS.get(protocol, {}) | _credentials(url)
    system, path = url_to_fs(public_url(url), skip_instance_cache=True, **settings)
    if protocol == "sftp":
        system.ftp.get_channel().settimeout(TIMEOUT_SECONDS)
    info = system.info(path)
    if info.get("type") != "file":
        raise CorpusError(f"{public_url(url)}: a folder; name each of its files by its URL")
    if held.copy is not None and _version(info) == held.copy:
        return info, io.BytesIO(), 0  # it is not read
    opened = system.open(path, "rb")
    start = resume_from(held) if held.partial is not None and _version(info) == held.partial else 0
    if start:
        opened.seek(start)
    return info, opened, start


def _credentials(url: str) -> dict[str, str]:
    """The user and password of a URL; fsspec would take them as they are quoted."""
    parts = urlsplit(url)
    found = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in found.items() if value is not None}


def _version(info: dict[str, Any]) -> str | None:
    """What identifies this version of the content; None when it is not known."""
    for key in _VERSIONS:
        if info.get(key):
            return f"{key} {info[key]}"
    found = next((info[key] for key in _TIMES if info.get(key)), None)
    return None if found is None or info.get("size") is None else f"{found}, {info['size']} bytes"


def _blocks(opened: Any, protocol: str, name: str) -> Iterator[bytes]:
    while True:
        try:
            block = opened.read(BLOCK_BYTES)
        except Exception as error:
            raise _failure(protocol, name, error) from error
        if not block:
            return
        yield block


def _failure(protocol: str, name: str, error: Exception) -> CorpusError:
    """One line for an error of the protocol's library."""
    kind, log_in = type(error).__name__, _CREDENTIALS.get(protocol, "log in")
    if isinstance(error, CorpusError):
        return error
    if isinstance(error, ImportError):
        return CorpusError(f"{name}: {protocol}:// needs a package: pip install '{_INSTALL[protocol]}'")
    if isinstance(error, FileNotFoundError):
        return CorpusError(f"{name}: no such file; check the URL")
    if "Credential" in kind or "Auth" in kind or "Token" in kind:
        return CorpusError(f"{name}: no valid credentials; {log_in}")
    if isinstance(error, PermissionError):
        return CorpusError(f"{name}: access refused; check the URL, or {log_in}")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"{name}: no such host, or no network; check the URL and your connection")
    if isinstance(error, ConnectionError | TimeoutError | EOFError) or "Connect" in kind or "Timeout" in kind:
        return Unreachable(f"{name}: no connection ({_first_line(error)}); try again later")
    return CorpusError(f"{name}: cannot be read ({kind}: {_first_line(error)}); check the URL")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
