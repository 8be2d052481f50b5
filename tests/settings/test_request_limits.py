"""The limits of requests to a server are checked as other options are."""

from __future__ import annotations

import pytest

from textgen.errors import ConfigError
from textgen.settings.option import options_of
from textgen.settings.request_limits import RequestLimits


@pytest.mark.parametrize("name", options_of(RequestLimits))
def test_a_limit_is_above_zero(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RequestLimits(**{name: 0})
