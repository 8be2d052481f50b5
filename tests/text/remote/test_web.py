"""Texts by http: what is asked for, which answers are taken, and one line for each failure."""

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from textgen.errors import CorpusError
from textgen.text.remote import web
from textgen.text.remote.transfer import Held, Unreachable
from textgen.text.remote.web import open_web

Server = Any


def read(url: str, held: Held | None = None) -> bytes:
    with open_web(url, held or Held()) as transfer:
        return b"".join(transfer.blocks)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, r"wants a user and password.*\(401\)"),
        (403, r"refuses access.*\(403\)"),
        (404, r"no such file on the server.*\(404\)"),
        (418, r"the server refuses it; check the URL \(418\)"),
        (304, r"redirects do not lead to a file \(304\)"),
    ],
)
def test_what_the_server_refuses_is_one_line(server: Server, status: int, reason: str) -> None:
    url = server.add("/a.txt", "", status=status)
    with pytest.raises(CorpusError, match=reason) as refused:
        read(f"{url}?token=secret")
    assert not isinstance(refused.value, Unreachable)
    assert str(refused.value).startswith(f"{url}: ")
    assert "\n" not in str(refused.value)


def test_a_redirect_is_followed(server: Server) -> None:
    server.add("/b.txt", "text")
    assert read(server.add("/a.txt", "", status=302, location=server.url("/b.txt"))) == b"text"


def test_a_redirect_to_the_listing_of_a_folder_is_refused(server: Server) -> None:
    server.add("/encoded/", "<html>a listing</html>")
    with pytest.raises(CorpusError, match="for encoded text end the URL with /"):
        read(server.add("/encoded", "", status=301, location=server.url("/encoded/")))


def test_a_circle_of_redirects_is_refused(server: Server) -> None:
    url = server.add("/a.txt", "", status=302, location=server.url("/a.txt"))
    with pytest.raises(CorpusError, match="redirects do not lead to a file"):
        read(url)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/a.txt", "file:///etc/passwd"])
def test_a_redirect_to_another_protocol_is_refused(server: Server, location: str) -> None:
    with pytest.raises(CorpusError):
        read(server.add("/a.txt", "", status=302, location=location))


def test_a_password_is_sent_and_not_to_another_host(server: Server) -> None:
    wanted = "Basic " + base64.b64encode(b"ada:a secret").decode()
    url = server.add("/a.txt", "text", authorization=wanted)
    with_password = url.replace("//", "//ada:a%20secret@")
    assert read(with_password) == b"text"
    server.add("/here.txt", "", status=302, location=url)
    assert read(with_password.replace("/a.txt", "/here.txt")) == b"text"
    elsewhere = url.replace("127.0.0.1", "localhost")
    server.add("/there.txt", "", status=302, location=elsewhere)
    with pytest.raises(CorpusError, match="401"):
        read(with_password.replace("/a.txt", "/there.txt"))
    assert "Authorization" not in server.log[-1].headers


def test_a_query_and_other_characters_reach_the_server(server: Server) -> None:
    server.add("/b%C3%BCcher/a%20b.txt", "text")
    assert read(server.url("/bücher/a b.txt?name=ü&n=1#part")) == b"text"
    assert server.log[-1].path == "/b%C3%BCcher/a%20b.txt?name=%C3%BC&n=1"


def test_only_as_much_as_is_missing_is_asked_for(server: Server) -> None:
    url = server.add("/a.txt", "0123456789", etag='"1"')
    with open_web(url, Held(partial='etag "1"', received=4)) as transfer:
        assert (transfer.start, transfer.size, transfer.version) == (3, 10, 'etag "1"')
        assert b"".join(transfer.blocks) == b"3456789"
    with open_web(url, Held(partial='etag "1"', received=10)) as transfer:  # all but its last step was done
        assert (transfer.start, b"".join(transfer.blocks)) == (9, b"9")
    with open_web(url, Held(partial='etag "1"', received=12)) as transfer:  # more than there is
        assert (transfer.start, b"".join(transfer.blocks)) == (0, b"0123456789")


def test_a_date_is_a_condition_too(server: Server) -> None:
    url = server.add("/a.txt", "0123456789", modified="Mon, 02 Nov 2026 10:00:00 GMT")
    with open_web(url, Held()) as transfer:
        version = transfer.version
    with open_web(url, Held(copy=version)) as transfer:
        assert transfer.version == version
    with open_web(url, Held(partial=version, received=4)) as transfer:
        assert transfer.start == 3
    assert [asked.status for asked in server.log] == [200, 304, 206]


def test_a_weak_etag_continues_nothing(server: Server) -> None:
    url = server.add("/a.txt", "0123456789", etag='W/"1"')
    with open_web(url, Held(partial='etag W/"1"', received=4)) as transfer:
        assert transfer.start == 0
    assert "Range" not in server.log[-1].headers


def test_a_part_that_was_not_asked_for_is_refused(server: Server) -> None:
    with pytest.raises(CorpusError, match="only a part"):
        read(server.add("/a.txt", "text", status=206))


def test_a_compression_that_was_not_asked_for_is_refused(server: Server) -> None:
    url = server.add("/a.txt", "text", headers={"Content-Encoding": "gzip"})
    with pytest.raises(CorpusError, match=r"compressed \(gzip\) unasked"):
        read(url)
    assert server.log[-1].headers["Accept-Encoding"] == "identity"


def test_no_answer_in_time_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.1)
    url = server.add("/a.txt", "x" * 20_000, pause=0.5)
    with pytest.raises(Unreachable, match=r"no answer for 0\.1 seconds"):
        read(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Unreachable, match=r"no answer for 0\.1 seconds"):
            read(f"http://127.0.0.1:{silent.getsockname()[1]}/a.txt")


def test_no_connection_is_one_line(server: Server) -> None:
    url = server.url("/a.txt")
    server.close()
    with pytest.raises(Unreachable, match=r"a\.txt: connection refused; check the host and the port"):
        read(url)
    with pytest.raises(Unreachable, match="no such host, or no network"):
        read("http://nowhere.invalid/a.txt")
    with pytest.raises(CorpusError, match="not a valid URL"):
        read("http://127.0.0.1:99999/a.txt")


@contextlib.contextmanager
def answering(content: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that answers each connection with these bytes and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        is_done = threading.Event()

        def serve() -> None:
            while not is_done.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    with contextlib.closing(connection), contextlib.suppress(OSError):
                        if context is not None:
                            connection = context.wrap_socket(connection, server_side=True)
                        connection.recv(4096)
                        connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        is_done.set()
        thread.join()


def test_an_answer_in_chunks_that_is_cut_is_noticed() -> None:
    """It has no length, but its end is marked."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n"
    with answering(head + b"0\r\n\r\n") as port:
        assert read(f"http://127.0.0.1:{port}/a.txt") == b"text"
    for cut in (head, head[:-3]):
        with answering(cut) as port:
            with pytest.raises(Unreachable, match="the connection was lost"):
                read(f"http://127.0.0.1:{port}/a.txt")


def test_an_answer_that_is_not_http_is_one_line() -> None:
    with answering(b"SSH-2.0\r\n") as port:
        with pytest.raises(Unreachable, match="the connection was lost"):
            read(f"http://127.0.0.1:{port}/a.txt")


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
            *("-keyout", key, "-out", certificate),
        ],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", context) as port:
        with pytest.raises(CorpusError, match=r"no secure connection .*self-signed") as refused:
            read(f"https://127.0.0.1:{port}/a.txt")
    assert not isinstance(refused.value, Unreachable)
