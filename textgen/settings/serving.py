"""ServingConfig: where `textgen serve` listens, who may use it, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from textgen.errors import ConfigError
from textgen.settings.option import COUNT, POSITIVE, Range, check_options, option, shown

SAFETY = "Safety"  # a heading of the help

_PORTS = Range(0, 65535, "at least 0 and at most 65,535")
_ANY_ORIGIN = "*"


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """How runs are served over HTTP; RequestLimits has what a request may ask for.

    max_body_bytes, max_total_body_bytes: of one request, and of all those that are being answered. A request
        beyond the first gets 413, one beyond the second 503.
    max_connections: beyond these, the connection that has been idle longest is closed. The operating system's
        limit on open files lowers it.
    head_seconds, body_seconds: to receive the head of a request, counted from the connection's beginning or
        the last response, and to receive its body.
    send_seconds: a client that takes in nothing of a response for so long is disconnected.
    drain_seconds: when the server is told to stop, running texts may go on for so long.
    """

    host: str = option("127.0.0.1", "Address or name to listen on.")
    port: int = option(8000, "Port to listen on; 0 picks a free one.", range=_PORTS)
    api_key_file: str | None = option(
        None, "Ask for one of the keys of this file, one per line.", group=SAFETY
    )
    cors: tuple[str, ...] | None = option(
        None, "Let pages of this origin use it; * for any; repeatable.", group=SAFETY
    )
    insecure: bool = option(False, "Serve other machines without keys.", group=SAFETY)
    # JSON of empty lists is read at about 6 MB/s, in one go: as long as that, other texts stand still.
    max_body_bytes: int = option(4 * 2**20, "Largest body of a request.", range=COUNT)
    max_total_body_bytes: int = option(32 * 2**20, "Bodies of all requests in progress.", range=COUNT)
    max_connections: int = option(4096, "Most open connections.", range=COUNT)
    head_seconds: float = option(10.0, "To receive the head of a request.", range=POSITIVE)
    body_seconds: float = option(30.0, "To receive the body of a request.", range=POSITIVE)
    send_seconds: float = option(60.0, "To take in more of a response.", range=POSITIVE)
    drain_seconds: float = option(30.0, "For running texts, after a signal to stop.", range=POSITIVE)

    def __post_init__(self) -> None:
        check_options(self)
        for origin in self.cors or ():
            scheme, _, host = origin.partition("://")
            is_origin = scheme in ("http", "https") and host and not set("/?#@ ") & set(host)
            if origin != _ANY_ORIGIN and not is_origin:
                raise ConfigError(
                    f"--cors {shown(origin)}: name an origin without a path, as https://example.org, or *"
                )

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of another origin may use the server."""
        return any(allowed in (_ANY_ORIGIN, origin) for allowed in self.cors or ())
