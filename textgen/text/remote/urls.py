"""URLs of texts: which are accepted, what of them may be written down, and how their copies end.

https://ada:secret@host/books/a.txt.gz?token=1#top     as given; only this one is fetched
https://host/books/a.txt.gz                            as messages and config.json have it
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from textgen.errors import CorpusError

WEB = ("http", "https")
PROTOCOLS = (*WEB, "s3", "gs", "hf", "sftp")
MANIFEST = "manifest.json"

# The first part is that of chained protocols, zip::https://, which are recognised to be refused.
_URL = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*://")
_CHAIN = re.compile(r"::[A-Za-z][\w+.-]*://|^[A-Za-z][\w+.-]*::")
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,15}")
_MAX_ENDINGS = 2  # that of the format, and that of the compression


def is_url(argument: str) -> bool:
    """Whether an argument is a URL of any protocol, and not the path of a file."""
    return _URL.match(argument) is not None


def public_url(url: str) -> str:
    """The URL without what may be a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:  # such as an unclosed [; nothing of it is known to be harmless
        return url.partition("://")[0] + "://..."


def is_shortened(url: str) -> bool:
    """Whether public_url leaves out something that is needed to fetch it."""
    parts = urlsplit(url)
    return bool(parts.query) or "@" in parts.netloc


def endings(url: str) -> str:
    """The endings of the file's name, in lower case, that say its format and compression: ".txt.gz" or ""."""
    name = PurePosixPath(unquote(urlsplit(public_url(url)).path)).name
    found = ""
    for ending in reversed(PurePosixPath(name).suffixes[-_MAX_ENDINGS:]):
        if not _ENDING.fullmatch(ending):
            break
        found = ending.lower() + found
    return found


def is_encoded_url(argument: str) -> bool:
    """Whether an argument is the URL of encoded text: of a folder, or of its manifest.

    With a query, only that of a manifest: another may well name a file.
    """
    if not is_url(argument):
        return False
    try:
        path, query = urlsplit(argument)[2:4]
    except ValueError:
        return False
    return path.endswith(f"/{MANIFEST}") or (path.endswith("/") and not query)


def file_url(folder: str, name: str) -> str:
    """The URL of a plain file name in the folder of a URL of encoded text, with all that belongs to that."""
    parts = urlsplit(folder)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.removesuffix(MANIFEST) + name, parts.query, ""))


def checked_url(url: str) -> SplitResult:
    """The parts of a URL that names one file. Raises CorpusError for any other."""
    name = public_url(url)
    listed = f"{', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}"
    if _CHAIN.search(url):
        raise CorpusError(f"{name}: chained protocols are not supported; name one file by {listed}")
    try:
        parts = urlsplit(url)
        _ = parts.port, url.encode()
    except ValueError as error:
        raise CorpusError(f"{name}: not a valid URL ({_reason(error)}); check it") from None
    if parts.scheme not in PROTOCOLS:
        raise CorpusError(f"{name}: textgen does not read {parts.scheme}://; a text can come by {listed}")
    if parts.scheme not in (*WEB, "sftp") and "@" in parts.netloc:
        raise CorpusError(f"{name}: credentials do not belong in a {parts.scheme} URL; leave them out")
    if (parts.path.endswith("/") and not parts.query) or not (parts.path or parts.query):
        raise CorpusError(f"{name}: names no file; folders cannot be listed, so name each file by its URL")
    is_pattern = "*" in parts.path or (parts.scheme not in WEB and (parts.query or parts.fragment))
    if is_pattern:
        raise CorpusError(f"{name}: patterns cannot be listed at a URL; name each file by its URL")
    if parts.scheme != "memory" and not parts.hostname:
        raise CorpusError(f"{name}: names no host; check the URL")
    return parts


def _reason(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeError) else str(error).partition(":")[0]
