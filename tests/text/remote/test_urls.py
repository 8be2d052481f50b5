"""URLs: which are accepted, and what of them is written down."""

import pytest

from textgen.errors import CorpusError
from textgen.text.remote.urls import (
    checked_url,
    endings,
    file_url,
    is_encoded_url,
    is_shortened,
    is_url,
    public_url,
)


@pytest.mark.parametrize(
    ("argument", "is_one"),
    [
        ("https://host/a.txt", True),
        ("HTTP://host/a.txt", True),
        ("s3://bucket/a.txt", True),
        ("zip://a.txt::https://host/b.zip", True),
        ("simplecache::s3://bucket/a.txt", True),
        ("a.txt", False),
        ("a::b.txt", False),
        ("C:\\texts\\a.txt", False),
        ("/texts/https:/a.txt", False),
        ("-", False),
    ],
)
def test_a_url_is_told_from_the_path_of_a_file(argument: str, is_one: bool) -> None:
    assert is_url(argument) == is_one


@pytest.mark.parametrize(
    ("url", "public", "shortened"),
    [
        ("https://ada:secret@host:81/a.txt?token=1#top", "https://host:81/a.txt", True),
        ("https://host/a.txt#top", "https://host/a.txt", False),
        ("HTTPS://host/a.txt", "https://host/a.txt", False),
        ("sftp://ada@host/a.txt", "sftp://host/a.txt", True),
        ("hf://datasets/ada/poems@main/a.txt", "hf://datasets/ada/poems@main/a.txt", False),
        ("http://[::1]:80/a.txt", "http://[::1]:80/a.txt", False),
    ],
)
def test_the_public_form_has_no_secrets(url: str, public: str, shortened: bool) -> None:
    assert public_url(url) == public
    assert is_shortened(url) == shortened
    checked_url(url)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a.txt.gz?x=1", ".txt.gz"),
        ("/A.JSONL", ".jsonl"),
        ("/a%2Etxt", ".txt"),
        ("/v1.2/notes", ""),
        ("/book.of.v1.2.txt", ".txt"),
        ("/a.tar.old.gz", ".old.gz"),
        ("/a.%2e%2e%2fetc", ""),
    ],
)
def test_a_copy_has_the_endings_of_the_original(path: str, found: str) -> None:
    assert endings(f"https://host{path}") == found


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/a.txt", "does not read ftp://; a text can come by http, https, s3, gs, hf or sftp"),
        ("file:///etc/passwd", "does not read file://"),
        ("memory://a/b.txt", "does not read memory://"),
        ("zip://a.txt::https://host/b.zip", "chained"),
        ("simplecache::s3://bucket/a.txt", "chained"),
        ("https://host/a.zip::file:///etc/passwd", "chained"),
        ("s3://bucket/folder/", "names no file"),
        ("https://host", "names no file"),
        ("https:///a.txt", "no host"),
        ("s3://bucket/*.txt", "patterns"),
        ("s3://bucket/a?.txt", "patterns"),
        ("https://host/*.txt", "patterns"),
        ("s3://key:secret@bucket/a.txt", "credentials"),
        ("https://host:port/a.txt", "not a valid URL"),
        ("https://[::1/a.txt", "not a valid URL"),
        ("https://host/\udcff.txt", "not UTF-8"),
    ],
)
def test_what_names_no_file_is_refused_in_one_line(url: str, reason: str) -> None:
    with pytest.raises(CorpusError, match=reason) as refused:
        checked_url(url)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("argument", "is_encoded"),
    [
        ("https://host/encoded/", True),
        ("https://host/encoded/manifest.json", True),
        ("https://ada:b@host/encoded/manifest.json?token=1", True),
        ("s3://bucket/encoded/", True),
        ("https://host/encoded", False),
        ("https://host/file/?id=3", False),
        ("https://host/my-manifest.json", False),
        ("https://[host/", False),
        ("encoded/", False),
        ("encoded/manifest.json", False),
    ],
)
def test_encoded_text_is_a_url_of_a_folder_or_of_a_manifest(argument: str, is_encoded: bool) -> None:
    assert is_encoded_url(argument) == is_encoded


def test_the_files_of_encoded_text_have_the_password_and_query_of_its_url() -> None:
    secret = "https://ada:b@host/x/"
    assert file_url(f"{secret}manifest.json?token=1#top", "a.bin") == f"{secret}a.bin?token=1"
    assert file_url("hf://datasets/ada/books/x/", "a.bin") == "hf://datasets/ada/books/x/a.bin"
