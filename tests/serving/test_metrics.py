"""Metrics: what is counted, in the text that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from textgen.serving.metrics import FIRST_TOKEN_BOUNDS, Metrics, RequestFigures


def parsed(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    for route, status in (("/a", 200), ("/a", 200), ("/a", 429), ('/"\\\n', 200)):
        metrics.end(metrics.begin(), route, status)
    found = parsed(metrics)
    assert found["textgen_requests_total", "/a", "200"] == 2
    assert found["textgen_requests_total", "/a", "429"] == 1
    assert found["textgen_requests_total", '/"\\\n', "200"] == 1


def test_tokens_are_added_up_when_a_request_ends() -> None:
    metrics = Metrics()
    figures = metrics.begin()
    figures.read(7)
    figures.wrote(1)
    figures.wrote(2)
    assert parsed(metrics)["textgen_generated_tokens_total",] == 0
    metrics.end(figures, "/a", 200)
    metrics.end(metrics.begin(), "/a", 200)
    assert parsed(metrics)["textgen_prompt_tokens_total",] == 7
    assert parsed(metrics)["textgen_generated_tokens_total",] == 3


def test_only_the_first_token_is_timed() -> None:
    times: list[float] = []
    figures = RequestFigures(times.append)
    figures.wrote(0)
    assert not times
    figures.wrote(1)
    figures.wrote(1)
    assert len(times) == 1
    assert 0 <= times[0] < 10


@pytest.mark.parametrize("seconds", [0.0001, FIRST_TOKEN_BOUNDS[0], 0.03, 1000.0])
def test_a_bucket_counts_all_times_up_to_its_bound(seconds: float) -> None:
    metrics = Metrics()
    metrics.begin().on_first_token(seconds)
    found = parsed(metrics)
    for bound in FIRST_TOKEN_BOUNDS:
        assert found["textgen_first_token_seconds_bucket", str(bound)] == (seconds <= bound)
    assert found["textgen_first_token_seconds_bucket", "+Inf"] == 1
    assert found["textgen_first_token_seconds_count",] == 1
    assert found["textgen_first_token_seconds_sum",] == seconds


def test_gauges_are_asked_when_the_text_is_made() -> None:
    metrics = Metrics()
    value = 3
    metrics.gauges["textgen_texts_running"] = "Texts that are written now.", lambda: value
    assert parsed(metrics)["textgen_texts_running",] == 3
    value = 5
    assert parsed(metrics)["textgen_texts_running",] == 5
