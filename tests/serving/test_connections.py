"""Connections of a real server: bounded in number, and closed where a client does nothing."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from tests.serving.shell import shell

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_closed(client: socket.socket, seconds: float = 5) -> bool:
    """Whether the server closes a connection in time; what it sends before is dropped."""
    client.settimeout(seconds)
    try:
        while client.recv(2**16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def until(happened: object, seconds: float = 5) -> bool:
    """Whether it happens in time."""
    assert callable(happened)
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("sent", [b"", b"GET /hea", HEAD[:-2]], ids=["nothing", "a line", "most of a head"])
def test_a_client_that_does_not_send_a_whole_head_is_disconnected(sent: bytes) -> None:
    with shell(head_seconds=0.3) as server, server.connect() as client:
        client.sendall(sent)
        began = time.monotonic()
        assert is_closed(client)
        assert time.monotonic() - began > 0.2


def test_a_head_that_comes_drop_by_drop_has_no_more_time() -> None:
    with shell(head_seconds=0.3) as server, server.connect() as client:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5:
                client.sendall(b"A: b\r\n" if time.monotonic() - began > 0.05 else HEAD[:-2])
                time.sleep(0.06)
        assert time.monotonic() - began < 5


def test_a_connection_is_kept_for_the_next_request_but_not_for_ever() -> None:
    with shell(head_seconds=0.5) as server, server.connect() as client:
        for _ in range(5):  # in all longer than a head may take
            time.sleep(0.2)
            client.sendall(HEAD)
            received = b""
            while not received.endswith(b"hello"):
                received += client.recv(2**16)
        assert is_closed(client)


def test_a_long_response_is_no_reason_to_disconnect() -> None:
    with shell(head_seconds=0.2, body_seconds=0.2, send_seconds=0.2) as server:
        answer = server.ask("GET", "/blocks?n=6&pause=0.1")
        assert len(answer.body) == 6 * 2**16


def test_a_client_that_takes_in_nothing_is_disconnected() -> None:
    with shell(send_seconds=0.3) as server, server.connect() as client:
        client.sendall(b"GET /blocks?n=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(lambda: server.guard.running == 1)
        assert until(lambda: server.guard.running == 0)


def test_a_client_that_never_takes_in_the_end_of_a_response_is_disconnected() -> None:
    with shell(head_seconds=0.3, send_seconds=0.3) as server, server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        head = b"GET /blocks?n=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        client.sendall(head)
        assert until(lambda: not server.server._pool)


def test_a_refused_body_that_goes_on_for_ever_is_cut_off() -> None:
    with shell(head_seconds=0.3, max_body_bytes=10) as server, server.connect() as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
        assert client.recv(2**16).startswith(b"HTTP/1.1 413 ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5:
                client.sendall(b"x" * 100)
                time.sleep(0.02)
        assert time.monotonic() - began < 5


def test_the_oldest_idle_connection_makes_place_for_a_new_one() -> None:
    with shell(max_connections=3) as server:
        clients = [server.connect() for _ in range(3)]
        assert until(lambda: len(server.server._pool) == 3)
        clients[0].sendall(HEAD)  # so that the second is the oldest
        assert clients[0].recv(2**16).startswith(b"HTTP/1.1 200 ")
        clients.append(server.connect())
        assert is_closed(clients[1])
        clients[3].sendall(HEAD)
        assert clients[3].recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert [is_closed(client, 0.1) for client in (clients[0], clients[2])] == [False, False]
        for client in clients:
            client.close()


def test_connections_that_wait_for_a_response_are_never_closed_for_new_ones() -> None:
    with shell(max_connections=2) as server:
        clients = [server.connect() for _ in range(2)]
        for client in clients:
            client.sendall(b"GET /blocks?n=2&pause=0.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(lambda: server.guard.running == 2)
        with server.connect() as late:
            assert is_closed(late)
        for client in clients:
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += client.recv(2**16)
            client.close()
        assert server.ask("GET", "/health").status == 200


def test_bytes_that_are_no_http_are_refused() -> None:
    with shell() as server, server.connect() as client:
        client.sendall(b"\x16\x03\x01\x00\xa5\x01\x00 not http\r\n\r\n")
        assert client.recv(2**16).startswith(b"HTTP/1.1 400 ")
        assert is_closed(client)


def test_an_endless_head_is_refused() -> None:
    with shell() as server, server.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(HEAD[:-2] + b"A: " + b"b" * 2**20)
        assert is_closed(client)
        assert not server.guard.running
