"""Who may use the server: the Host it is called by, the Origin of a page that calls it, and API keys.

A page of any site can send requests to a server on its reader's machine. Host is checked because such a page
can let its own name point there (DNS rebinding), and Origin because browsers send requests before they ask.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from textgen.errors import ConfigError
from textgen.serving.errors import ApiError
from textgen.settings.serving import ServingConfig
from textgen.system.bounded_files import MEGABYTE, read_bounded

WITHOUT_KEY = ("/", "/health")  # paths
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]{0,5})?")
_KEY = re.compile(r"[\x21-\x7e]+")
_PREFLIGHT_SECONDS = 600


class Access:
    """The rules of a server, as its config and keys have them. keys: none, if it asks for none."""

    def __init__(self, config: ServingConfig, keys: Sequence[str] = ()) -> None:
        self._config = config
        self._keys = tuple(_digest(key) for key in keys)
        self._is_local = is_loopback(config.host)
        name = socket.gethostname().lower()
        self._names = {name, f"{name}.local", name.partition(".")[0], config.host.lower()}

    def check(self, path: str, headers: Mapping[str, list[str]]) -> None:
        """Refuse what may not use the server. Raises ApiError."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self._allows_host(hosts[0]):
            raise ApiError(
                403,
                "this server does not answer to the name in the Host header; use the address that it printed",
                code="host_not_allowed",
            )
        if origins and not self._allows_origin(origins, hosts[0]):
            raise ApiError(
                403,
                "pages of this origin may not use this server; start it with --cors ORIGIN to let them",
                code="origin_not_allowed",
            )
        if self._keys and path not in WITHOUT_KEY and not self._has_key(headers.get("authorization", [])):
            raise ApiError(
                401,
                "this server needs an API key: send the header Authorization: Bearer KEY",
                code="invalid_api_key",
            )

    def cors_headers(self, headers: Mapping[str, list[str]], *, preflight: bool) -> list[tuple[bytes, bytes]]:
        """What lets the browser hand a response to a page of another origin; none if that may not be."""
        if not self._config.cors:
            return []
        vary = (b"vary", b"Origin")
        origins = headers.get("origin", [])
        if len(origins) != 1 or not self._config.allows_origin(origins[0]):
            return [vary]
        found = [vary, (b"access-control-allow-origin", origins[0].encode("latin-1"))]
        if preflight:
            found += [
                (b"access-control-allow-methods", b"GET, POST"),
                (b"access-control-allow-headers", _asked_headers(headers)),
                (b"access-control-max-age", str(_PREFLIGHT_SECONDS).encode()),
            ]
        return found

    def _allows_host(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        name = found[1].strip("[]").lower().removesuffix(".")
        if is_loopback(name):
            return True
        if self._is_local:
            return False
        # A page that calls by a name of its own does not know a key.
        return bool(self._keys) or name in self._names or _address(name) is not None

    def _allows_origin(self, origins: Sequence[str], host: str) -> bool:
        """Whether a page may use the server: its own, or one that --cors names."""
        if len(origins) != 1:
            return False
        is_own = origins[0].lower() in (f"http://{host}".lower(), f"https://{host}".lower())
        return is_own or self._config.allows_origin(origins[0])

    def _has_key(self, headers: Sequence[str]) -> bool:
        scheme, _, key = (headers[0] if len(headers) == 1 else "").partition(" ")
        given = _digest(key.strip())
        # All of them, whichever fits, so that the time says nothing.
        found = [hmac.compare_digest(given, digest) for digest in self._keys]
        return scheme.lower() == "bearer" and any(found)


def is_loopback(host: str) -> bool:
    """Whether a name or address is that of this machine for itself alone."""
    name = host.lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def read_keys(path: str) -> list[str]:
    """The API keys of a file, one per line; blank lines are skipped.

    Raises ConfigError, which shows no key.
    """
    try:
        content = read_bounded(Path(path), MEGABYTE, "a file of API keys").decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: {(error.strerror or str(error)).lower()}; name a file of API keys"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; put one API key on each line") from None
    lines = {number: line.strip() for number, line in enumerate(content.splitlines(), 1)}
    for number, line in lines.items():
        if line and not _KEY.fullmatch(line):
            raise ConfigError(f"{path}: line {number}: a key has ASCII characters only, and no spaces")
    keys = [line for line in lines.values() if line]
    if not keys:
        raise ConfigError(f"{path}: no API key; put one on each line")
    return keys


def require_safe(config: ServingConfig) -> None:
    """Refuse to serve other machines without keys, unless the user insists. Raises ConfigError."""
    if config.api_key_file is None and not config.insecure and not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host or repr('')}: other machines could use it without a key; give "
            "--api-key-file FILE, or --insecure if that is what you want"
        )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _digest(key: str) -> bytes:
    # Of equal length, so that the time of a comparison does not depend on that of the keys.
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _asked_headers(headers: Mapping[str, list[str]]) -> bytes:
    """The headers that a page asks to send; they carry nothing that we trust, so it may send any."""
    asked = ", ".join(headers.get("access-control-request-headers", []))
    return asked.encode("latin-1") if re.fullmatch(r"[\w\-, ]+", asked) else b"authorization, content-type"
