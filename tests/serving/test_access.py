"""Who may use the server: by Host, Origin and key."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from textgen.errors import ConfigError
from textgen.serving.access import Access, read_keys, require_safe
from textgen.serving.errors import ApiError
from textgen.settings.serving import ServingConfig

NAME = socket.gethostname()


def status(access: Access, path: str = "/v1/models", **headers: str) -> int:
    """The status of a refusal; 200 for none."""
    try:
        access.check(path, {"host": ["localhost"]} | {name: [value] for name, value in headers.items()})
    except ApiError as error:
        return error.status
    return 200


LOCAL_HOSTS = ("localhost", "LOCALHOST:1", "a.localhost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]:8000")
BAD_HOSTS = (
    "",
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8000",
    "[::1",
    "a:b:c",
    "@",
)


@pytest.mark.parametrize(
    "config", [ServingConfig(), ServingConfig(host="::1"), ServingConfig(host="localhost")]
)
def test_a_server_of_this_machine_answers_only_to_names_of_this_machine(config: ServingConfig) -> None:
    access = Access(config)
    assert [status(access, host=host) for host in LOCAL_HOSTS] == [200] * len(LOCAL_HOSTS)
    refused = (*BAD_HOSTS, "192.168.1.2", NAME)
    assert [status(access, host=host) for host in refused] == [403] * len(refused)


def test_a_server_for_others_without_keys_answers_to_addresses_and_the_names_of_its_machine() -> None:
    access = Access(ServingConfig(host="0.0.0.0", insecure=True))
    allowed = (*LOCAL_HOSTS, "192.168.1.2:8000", "[fe80::1]", NAME, f"{NAME}.local:8000")
    assert [status(access, host=host) for host in allowed] == [200] * len(allowed)
    assert [status(access, host=host) for host in BAD_HOSTS] == [403] * len(BAD_HOSTS)


def test_a_server_for_others_with_keys_answers_to_any_name() -> None:
    access = Access(ServingConfig(host="0.0.0.0"), ["k"])
    assert status(access, host="text.example", authorization="Bearer k") == 200
    assert status(access, host="text.example:8000") == 401
    assert status(access, host="a:b:c", authorization="Bearer k") == 403


def test_there_must_be_one_host() -> None:
    access = Access(ServingConfig())
    for hosts in ([], ["localhost", "localhost"]):
        with pytest.raises(ApiError) as error:
            access.check("/", {"host": hosts})
        assert error.value.status == 403


def test_pages_of_the_server_itself_may_use_it_and_others_only_with_cors() -> None:
    own = {"host": "localhost:8000", "origin": "http://localhost:8000"}
    foreign = {"host": "localhost:8000", "origin": "https://site.example"}
    null = {"host": "localhost:8000", "origin": "null"}
    other_port = {"host": "localhost:8000", "origin": "http://localhost:9000"}
    for cors, allowed in (
        (None, [200, 403, 403, 403]),
        (("https://site.example",), [200, 200, 403, 403]),
        (("*",), [200, 200, 200, 200]),
    ):
        access = Access(ServingConfig(cors=cors))
        assert [status(access, **each) for each in (own, foreign, null, other_port)] == allowed


def test_only_what_names_one_origin_is_answered_with_it() -> None:
    access = Access(ServingConfig(cors=("*",)))
    for origins in ([], ["https://a.example", "https://b.example"]):
        assert access.cors_headers({"origin": origins}, preflight=False) == [(b"vary", b"Origin")]
    found = access.cors_headers({"origin": ["https://a.example"]}, preflight=False)
    assert (b"access-control-allow-origin", b"https://a.example") in found


@pytest.mark.parametrize(
    "cors", ["site.example", "https://", "https://site.example/", "ftp://a", "https://a b", ""]
)
def test_what_is_no_origin_is_refused(cors: str) -> None:
    with pytest.raises(ConfigError, match="--cors"):
        ServingConfig(cors=(cors,))


def test_any_of_the_keys_opens_the_door_and_nothing_else_does() -> None:
    access = Access(ServingConfig(), ["first", "second"])
    for given in ("Bearer first", "bearer second", "Bearer  second "):
        assert status(access, authorization=given) == 200
    for given in (
        "",
        "Bearer",
        "Bearer ",
        "first",
        "Basic first",
        "Bearer firs",
        "Bearer first second",
        "Bearer é",
    ):
        assert status(access, authorization=given) == 401
    assert status(access) == 401


def test_page_and_health_need_no_key_but_nothing_that_looks_like_them() -> None:
    access = Access(ServingConfig(), ["k"])
    assert status(access, "/") == status(access, "/health") == 200
    for path in ("//", "/health/", "/metrics", "/v1/models", ""):
        assert status(access, path) == 401


def test_keys_are_the_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("first\n\n  second\r\n")
    assert read_keys(str(file)) == ["first", "second"]
    file.write_text("first\r\n", encoding="utf-8-sig")  # as Windows' editor writes it
    assert read_keys(str(file)) == ["first"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no API key"),
        (b"\n \n", "no API key"),
        (b"ok\na b\n", "line 2"),
        (b"k\xc3\xa9y", "line 1"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_of_bad_keys_is_refused_without_showing_one(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        read_keys(str(file))
    assert "a b" not in str(error.value)


def test_a_file_of_keys_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="name a file of API keys"):
            read_keys(str(path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "text.example"])
def test_other_machines_are_served_only_with_keys_or_if_insisted_upon(host: str) -> None:
    with pytest.raises(ConfigError, match="--api-key-file FILE, or --insecure"):
        require_safe(ServingConfig(host=host))
    require_safe(ServingConfig(host=host, insecure=True))
    require_safe(ServingConfig(host=host, api_key_file="keys"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_this_machine_is_served_without_keys(host: str) -> None:
    require_safe(ServingConfig(host=host))
