"""Stop strings, found in a text while it is being written."""

from __future__ import annotations

from collections.abc import Sequence

from textgen.errors import ConfigError


class StopFilter:
    """Passes text on up to the first stop string, and holds back what could still become one.

    keep: whether the stop string itself is passed on too.

    The stop string that is complete first counts; of several complete at the same character, the longest. So
    it makes no difference in which pieces the text arrives.

    Raises ConfigError for an empty stop string, which would occur everywhere.
    """

    def __init__(self, stops: Sequence[str], *, keep: bool = False) -> None:
        if isinstance(stops, str):  # also a sequence of strings, but not what was meant
            stops = [stops]
        if "" in stops:
            raise ConfigError("an empty stop string would stop at once; leave it out")
        self.stopped = False
        self._keep = keep
        self._stops = tuple(stops)
        self._first_characters = {stop[0] for stop in self._stops}
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def push(self, text: str) -> str:
        """Append the next piece of text. Returns the text that now certainly precedes any stop string."""
        if not self._stops:
            return text
        if not self._held and self._first_characters.isdisjoint(text):  # no stop string begins here
            return text
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            end, start = min(found)
            return text[: end if self._keep else start]
        certain = len(text) - self._unsure(text)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """End the text and return what was held back."""
        held, self._held = self._held, ""
        return held

    def _unsure(self, text: str) -> int:
        """How many characters at the end of the text are the beginning of a stop string."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
