"""RequestLimits: what one request to a server may ask for, and how much may run at once."""

from __future__ import annotations

from dataclasses import dataclass

from textgen.settings.option import COUNT, POSITIVE, check_options, option


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """The limits that the routes of a server check; a request beyond one is refused.

    max_streams: how many texts are written at once, over all models; others wait. max_waiting: a request for
    which more would have to wait gets 429. max_tokens, max_prompt_tokens: of one text. max_texts: of one
    request, its prompts times `n` or `best_of`. max_scored: texts that wait to be scored, or are being
    scored. ping_seconds: a stream that is idle for so long sends a comment, so that nothing between server
    and client closes it.
    """

    max_streams: int = option(64, "Write at most this many texts at once; others wait.", range=COUNT)
    max_waiting: int = option(256, "Refuse requests while so many texts wait.", range=COUNT)
    max_tokens: int = option(2**16, "Most new tokens of a text.", range=COUNT)
    max_prompt_tokens: int = option(2**17, "Most tokens of a prompt.", range=COUNT)
    max_texts: int = option(128, "Most texts of a request: its prompts times n.", range=COUNT)
    max_scored: int = option(16, "Refuse to score more texts than this at once.", range=COUNT)
    ping_seconds: float = option(15.0, "Seconds until an idle stream sends a comment.", range=POSITIVE)

    def __post_init__(self) -> None:
        check_options(self)
