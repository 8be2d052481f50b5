"""What a server counts, and the text that Prometheus reads.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_TOKEN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

Labels = tuple[tuple[str, str], ...]


@dataclass
class Account:
    """What a request cost, for log and metrics; its route keeps it in request.state.account.

    first_token_at: time.perf_counter() when its first token was there; None: none yet.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_at: float | None = None


class Metrics:
    """Counters of all requests since the server started.

    Not thread-safe: it belongs to the thread that answers requests.
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._first_token_counts = [0] * (len(FIRST_TOKEN_BOUNDS) + 1)  # the last: above all bounds
        self._first_token_sum = 0.0

    def count(self, route: str, status: int, account: Account, started: float) -> None:
        """Count a request that has been answered.

        route: one of few, a path with its variables as {id}. started: time.perf_counter() when it arrived.
        """
        self._requests[route, status] += 1
        self._prompt_tokens += account.prompt_tokens
        self._completion_tokens += account.completion_tokens
        if account.first_token_at is not None:
            seconds = account.first_token_at - started
            self._first_token_counts[bisect_left(FIRST_TOKEN_BOUNDS, seconds)] += 1
            self._first_token_sum += seconds

    def text(self, gauges: Mapping[str, tuple[str, float]] | None = None) -> str:
        """All of it in Prometheus' text format.

        gauges: further values that go up and down, by name, each with a line of help.
        """
        return "".join(f"{line}\n" for line in self._lines(gauges or {}))

    def _lines(self, gauges: Mapping[str, tuple[str, float]]) -> Iterator[str]:
        requests: dict[Labels, float] = {
            (("route", route), ("status", str(status))): count
            for (route, status), count in sorted(self._requests.items())
        }
        yield from _family("textgen_requests_total", "counter", "Requests that were answered.", requests)
        for name, help, value in (
            ("textgen_prompt_tokens_total", "Tokens of prompts.", self._prompt_tokens),
            ("textgen_generated_tokens_total", "Tokens that were generated.", self._completion_tokens),
        ):
            yield from _family(name, "counter", help, {(): value})
        for name, (help, gauge) in gauges.items():
            yield from _family(name, "gauge", help, {(): gauge})
        yield from self._histogram(
            "textgen_first_token_seconds", "From the request of a stream to its first token."
        )

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
