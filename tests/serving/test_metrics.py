"""Metrics: what is counted, in the text that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from textgen.serving.metrics import FIRST_TOKEN_BOUNDS, Account, Metrics


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    for route, status in (("/a", 200), ("/a", 200), ("/a", 429), ('/"\\\n', 200)):
        metrics.count(route, status, Account(), 0.0)
    found = parsed(metrics.text())
    assert found["textgen_requests_total", "/a", "200"] == 2
    assert found["textgen_requests_total", "/a", "429"] == 1
    assert found["textgen_requests_total", '/"\\\n', "200"] == 1


def test_tokens_are_added_up() -> None:
    metrics = Metrics()
    metrics.count("/a", 200, Account(prompt_tokens=7, completion_tokens=3), 0.0)
    metrics.count("/a", 499, Account(prompt_tokens=1, completion_tokens=2), 0.0)
    found = parsed(metrics.text())
    assert found["textgen_prompt_tokens_total",] == 8
    assert found["textgen_generated_tokens_total",] == 5
    assert found["textgen_first_token_seconds_count",] == 0


@pytest.mark.parametrize("seconds", [0.0001, FIRST_TOKEN_BOUNDS[0], 0.03, 1000.0])
def test_a_bucket_counts_all_times_up_to_its_bound(seconds: float) -> None:
    metrics = Metrics()
    metrics.count("/a", 200, Account(first_token_at=seconds), 0.0)
    found = parsed(metrics.text())
    for bound in FIRST_TOKEN_BOUNDS:
        assert found["textgen_first_token_seconds_bucket", str(bound)] == (seconds <= bound)
    assert found["textgen_first_token_seconds_bucket", "+Inf"] == 1
    assert found["textgen_first_token_seconds_count",] == 1
    assert found["textgen_first_token_seconds_sum",] == seconds


def test_gauges_are_among_them() -> None:
    text = Metrics().text({"textgen_texts_running": ("Texts that are being written.", 3.0)})
    assert parsed(text)["textgen_texts_running",] == 3
    assert "# TYPE textgen_texts_running gauge\n" in text
