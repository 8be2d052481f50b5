"""Licences: what the hub knows is taken, and nothing else."""

from __future__ import annotations

import pytest

from textgen.errors import ConfigError
from textgen.hub.licenses import LICENSES, check_license


@pytest.mark.parametrize("license", ["mit", "apache-2.0", "cc-by-4.0", "openrail++", "other"])
def test_what_the_hub_knows_is_taken(license: str) -> None:
    assert check_license(license) == check_license(license.upper()) == license


@pytest.mark.parametrize("license", ["nope", "", "my own", "mit\nx: 1", "[mit]", "MIT License", "apache 2.0"])
def test_what_the_hub_does_not_know_is_refused_in_a_line(license: str) -> None:
    with pytest.raises(ConfigError, match=r"^--license: unknown licence [^\n]*other$"):
        check_license(license)


def test_who_gives_none_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match="say under which licence"):
        check_license(None)


def test_the_identifiers_can_be_written_in_yaml_as_they_are() -> None:
    assert all(name == name.lower() and name.replace("+", "").isascii() for name in LICENSES)
