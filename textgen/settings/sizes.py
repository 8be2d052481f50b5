"""Sizes in bytes as people write them: 20GB, 1.5TB, 500MiB."""

from __future__ import annotations

import re

from textgen.errors import ConfigError
from textgen.settings.option import flag, shown

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_UNITS = ("", "k", "M", "G", "T")


def parse_size(name: str, value: object) -> int:
    """The bytes that an option gives: a whole number, or text with a unit. Raises ConfigError.

    >>> parse_size("cache_size", "1.5GB"), parse_size("cache_size", "2 MiB")
    (1500000000, 2097152)
    """
    size = value if type(value) is int else 0
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        power = [unit.lower() for unit in _UNITS].index((found[2] or "").lower())
        size = int(float(found[1]) * (1024 if found[3] else 1000) ** power)
    if size < 1:
        raise ConfigError(f"{flag(name)} {shown(value)}: not a size; give one as in 500MB, 20GB or 2TB")
    return size


def size_argument(size: int) -> str:
    """The size as one would give it, in three digits, never less.

    >>> size_argument(1_234_001), size_argument(999)
    ('1.24MB', '999B')
    """
    power = min((len(str(size)) - 1) // 3, len(_UNITS) - 1)
    hundredths = -(-size * 100 // 1000**power)
    number = f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")
    return f"{number}{_UNITS[power]}B"
