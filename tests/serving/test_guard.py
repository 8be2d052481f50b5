"""The guard in front of an application, on a real server."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.shell import Shell, shell


@pytest.fixture
def server() -> Iterator[Shell]:
    with shell(cors=("https://site.example",), max_body_bytes=1000, body_seconds=0.3) as running:
        yield running


def settle(server: Shell) -> None:
    """Wait until no request is open: the last ones are counted and logged after the client has its answer."""
    deadline = time.monotonic() + 5
    while server.guard.running and time.monotonic() < deadline:
        time.sleep(0.01)


def counted(server: Shell) -> dict[str, str]:
    """The requests of /metrics: by what stands in braces."""
    settle(server)
    lines = [line for line in server.guard.metrics.text().splitlines() if line.startswith("textgen_requests")]
    return dict(line.removeprefix("textgen_requests_total").rsplit(" ", 1) for line in lines)


def test_a_request_passes_with_its_body(server: Shell) -> None:
    answer = server.ask("POST", "/length", b"x" * 1000)
    assert answer.status == 200
    assert answer.body == b'{"length":1000}'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert server.ask("GET", "/").body == b"hello"


def test_a_foreign_host_is_refused_in_the_form_of_every_error(server: Shell) -> None:
    answer = server.ask("GET", "/health", Host="evil.example")
    assert answer.status == 403
    assert answer.error["code"] == "host_not_allowed"
    assert answer.headers["content-type"] == "application/json"


def test_a_foreign_origin_is_refused_and_one_that_is_named_may_read(server: Shell) -> None:
    refused = server.ask("POST", "/length", b"", Origin="https://evil.example")
    assert (refused.status, refused.error["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in refused.headers
    allowed = server.ask("POST", "/length", b"", Origin="https://site.example")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://site.example"
    assert allowed.headers["vary"] == "Origin"


def test_an_origin_that_is_named_may_read_errors_too(server: Shell) -> None:
    answer = server.ask("GET", "/none", Origin="https://site.example")
    assert answer.status == 404
    assert answer.headers["access-control-allow-origin"] == "https://site.example"


def test_a_browser_asks_before_it_sends() -> None:
    asks = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,x-own"}
    with shell(cors=("https://site.example",), keys=("k",)) as server:
        allowed = server.ask("OPTIONS", "/length", Origin="https://site.example", **asks)
        assert allowed.status == 204
        assert allowed.headers["access-control-allow-origin"] == "https://site.example"
        assert allowed.headers["access-control-allow-headers"] == "authorization,x-own"
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert server.ask("OPTIONS", "/length", Origin="https://evil.example", **asks).status == 403
        assert server.ask("POST", "/length", b"", Origin="https://site.example").status == 401


def test_a_wrong_key_is_refused_before_the_body_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with shell(keys=("right",), max_body_bytes=10) as server, caplog.at_level(logging.INFO):
        answer = server.ask("POST", "/length", b"x" * 1000, Authorization="Bearer wrong-key")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert server.ask("POST", "/length", b"x", Authorization="Bearer right").status == 200
        assert server.ask("GET", "/health").status == 200
    assert "wrong-key" not in caplog.text
    assert "right" not in caplog.text


def test_a_body_that_is_too_large_is_refused_by_its_length_or_when_it_has_come(server: Shell) -> None:
    assert server.ask("POST", "/length", b"x" * 1001).status == 413
    chunks = iter([b"x" * 600, b"x" * 600])
    counted = server.ask("POST", "/length", chunks)
    assert (counted.status, counted.error["code"]) == (413, "body_too_large")


def test_a_connection_is_of_use_after_a_body_that_was_too_large(server: Shell) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for size, status in ((1001, 413), (10, 200)):
        connection.request("POST", "/length", b"x" * size)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_a_body_that_does_not_come_is_refused_in_time(server: Shell) -> None:
    with server.connect() as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        began = time.monotonic()
        assert client.recv(2**16).startswith(b"HTTP/1.1 408 ")
        assert 0.2 < time.monotonic() - began < 5
        while client.recv(2**16):
            pass  # until the server closes the connection


def test_bodies_of_all_requests_are_limited_together() -> None:
    with shell(max_body_bytes=1000, max_total_body_bytes=1500, body_seconds=5) as server:
        head = b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        with server.connect() as first:
            first.sendall(head + b"x" * 999)
            deadline = time.monotonic() + 5
            while server.guard._body_bytes < 999 and time.monotonic() < deadline:
                time.sleep(0.01)
            refused = server.ask("POST", "/length", b"x" * 1000)
            assert refused.status == 503
            assert refused.headers["retry-after"] == "1"
            first.sendall(b"x")
            assert first.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert server.ask("POST", "/length", b"x" * 1000).status == 200


def test_a_bug_is_a_500_without_a_traceback_and_the_log_has_one(
    server: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    answer = server.ask("GET", "/bug")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    settle(server)
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_bug_within_a_response_cuts_it_off(server: Shell) -> None:
    with pytest.raises(http.client.IncompleteRead):
        server.ask("GET", "/late-bug")
    assert counted(server)['{route="/late-bug",status="500"}'] == "1"


def test_a_log_line_says_what_happened_and_not_what_was_sent(
    server: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="textgen.serving"):
        server.ask("POST", "/length?read=12&wrote=34", b"body of a request")
        server.ask("GET", "/none%1b%5b2J%0aGET%20/forged")
        server.ask("GET", "/" + "a" * 5000)
        settle(server)
    first, second, third = [record.getMessage() for record in caplog.records if record.name.endswith("guard")]
    assert first.startswith("POST /length 200, 12 tokens in, 34 out, ")
    assert first.endswith(" s")
    assert second.startswith("GET /none\u241b[2J\u240aGET /forged 404")
    assert len(third) < 300


def test_requests_are_counted_by_the_route_that_took_them(server: Shell) -> None:
    for path in ("/things/1", "/things/2", "/none/1", "/none/2"):
        server.ask("GET", path)
    assert counted(server) == {
        '{route="/things/{id}",status="200"}': "2",
        '{route="other",status="404"}': "2",
    }


def test_a_client_that_goes_away_is_counted_as_such(server: Shell) -> None:
    with server.connect() as client:
        client.sendall(b"GET /blocks?n=1000&pause=0.05 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(100)
    assert counted(server) == {'{route="/blocks",status="499"}': "1"}


def test_a_server_that_is_about_to_end_takes_no_new_request(server: Shell) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, "GET", "/blocks?n=4&pause=0.2")
        deadline = time.monotonic() + 5
        while not server.guard.running and time.monotonic() < deadline:
            time.sleep(0.01)
        server.guard.draining = True
        refused = server.ask("GET", "/health")
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert len(running.result().body) == 4 * 2**16
