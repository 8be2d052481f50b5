"""What a server counts, and the text that Prometheus reads.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_TOKEN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

FIGURES = "textgen.figures"  # where a request's scope has its RequestFigures

Labels = tuple[tuple[str, str], ...]


@dataclass
class RequestFigures:
    """The tokens of one request, counted by its route: scope[FIGURES].

    on_first_token: called once, with the seconds from the request's arrival to its first token.
    """

    on_first_token: Callable[[float], None]
    started: float = field(default_factory=time.perf_counter)
    tokens_read: int = 0
    tokens_written: int = 0

    def read(self, num_tokens: int) -> None:
        """Count tokens of prompts."""
        self.tokens_read += num_tokens

    def wrote(self, num_tokens: int) -> None:
        """Count tokens that were generated."""
        if num_tokens and not self.tokens_written:
            self.on_first_token(self.seconds)
        self.tokens_written += num_tokens

    @property
    def seconds(self) -> float:
        """Since the request arrived."""
        return time.perf_counter() - self.started


class Metrics:
    """Counters of all requests since the server started.

    gauges: what else /metrics shows, by name: a line of help, and how to get the value now.

    Not thread-safe: it belongs to the thread that answers requests.
    """

    def __init__(self) -> None:
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._requests: Counter[tuple[str, int]] = Counter()
        self._tokens_read = 0
        self._tokens_written = 0
        self._first_token_counts = [0] * (len(FIRST_TOKEN_BOUNDS) + 1)  # the last: above all bounds
        self._first_token_sum = 0.0

    def begin(self) -> RequestFigures:
        """The figures of a request that has just arrived."""
        return RequestFigures(self._first_token)

    def end(self, figures: RequestFigures, route: str, status: int) -> None:
        """Count a request that was answered. `route` is one of few: a path with its variables, as {id}."""
        self._requests[route, status] += 1
        self._tokens_read += figures.tokens_read
        self._tokens_written += figures.tokens_written

    def text(self) -> str:
        """All of it in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _first_token(self, seconds: float) -> None:
        self._first_token_counts[bisect_left(FIRST_TOKEN_BOUNDS, seconds)] += 1
        self._first_token_sum += seconds

    def _lines(self) -> Iterator[str]:
        requests: dict[Labels, float] = {
            (("route", route), ("status", str(status))): count
            for (route, status), count in sorted(self._requests.items())
        }
        yield from _family("textgen_requests_total", "counter", "Requests that were answered.", requests)
        for name, help, value in (
            ("textgen_prompt_tokens_total", "Tokens of prompts.", self._tokens_read),
            ("textgen_generated_tokens_total", "Tokens that were generated.", self._tokens_written),
        ):
            yield from _family(name, "counter", help, {(): value})
        for name, (help, gauge) in self.gauges.items():
            yield from _family(name, "gauge", help, {(): gauge()})
        yield from self._histogram("textgen_first_token_seconds", "From a request to its first token.")

    def _histogram(self, name: str, help: str) -> Iterator[str]:
        yield from _family(name, "histogram", help, {})
        total = 0
        for bound, count in zip((*FIRST_TOKEN_BOUNDS, "+Inf"), self._first_token_counts, strict=True):
            total += count
            yield _sample(f"{name}_bucket", (("le", str(bound)),), total)
        yield _sample(f"{name}_sum", (), self._first_token_sum)
        yield _sample(f"{name}_count", (), total)


def _family(name: str, kind: str, help: str, values: Mapping[Labels, float]) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield _sample(name, labels, value)


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels)
    return f"{name}{{{inside}}} {value}" if labels else f"{name} {value}"


def _escaped(content: str) -> str:
    return content.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
