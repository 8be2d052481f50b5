"""Sizes in bytes as people write them."""

import random

import pytest

from textgen.errors import ConfigError
from textgen.settings.sizes import parse_size, size_argument


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        (700, 700),
        ("12 kB", 12_000),
        ("1.5gb", 1_500_000_000),
        ("2TiB", 2 * 2**40),
        ("3M", 3 * 10**6),
        (" 20GB ", 20 * 10**9),
    ],
)
def test_a_size_has_a_unit_or_is_in_bytes(text, size):
    assert parse_size("cache_size", text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-5GB", "1e9", "0", 0, -1, True, 2.5, "5 iB", "0.1B", "9PB", "1,5GB"]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"--cache-size .*: not a size; give one as in 500MB, 20GB or 2TB"):
        parse_size("cache_size", text)


def test_a_size_in_a_message_is_enough_and_hardly_more():
    rng = random.Random(0)
    for _ in range(500):
        size = rng.randrange(1, 10 ** rng.randint(1, 15))
        assert size <= parse_size("x", size_argument(size)) <= size * 1.01 + 1
