"""`textgen cache`: list what the cache holds, or remove it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    grouped_option,
    json_option,
)
from textgen.errors import TextgenError
from textgen.settings.option import NOT_NEGATIVE

if TYPE_CHECKING:
    from textgen.text.cache_contents import CacheEntry

EXAMPLES = (
    "textgen cache                         list encoded texts and downloads",
    "textgen cache --older-than 7          list those that were not used for a week",
    "textgen cache --clear --older-than 7  remove them",
    "textgen cache --clear                 remove all that is not in use",
)
DAY_SECONDS = 24 * 60 * 60


@click.command(name="cache", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, OUTPUT))
@grouped_option("--clear", group=COMMON, is_flag=True, help="Remove what is listed and not in use.")
@grouped_option(
    "--older-than",
    "days",
    type=Number(float, NOT_NEGATIVE),
    metavar="DAYS",
    group=COMMON,
    help="Only what was not used for so many days.",
)
@cache_dir_option()
@json_option("everything")
def command(clear: bool, days: float | None, cache_dir: str | None, as_json: bool) -> None:
    """List what the cache holds, or remove it.

    The cache keeps encoded texts, indexes of texts for --novelty and --avoid-copy, and what was fetched from
    URLs. All of it is made or fetched again when it is needed; what a running process uses is never removed.
    """
    from textgen.text.cache_contents import cache_entries
    from textgen.text.store import default_cache_dir

    folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
    oldest = time.time() - (days or 0) * DAY_SECONDS
    entries = [entry for entry in cache_entries(folder) if entry.last_used <= oldest or days is None]
    if clear:
        _clear(folder, entries, as_json)
    elif as_json:
        listed = [_as_dict(entry) for entry in entries]
        print(json.dumps({"cache_dir": str(folder), "bytes": _total(entries), "entries": listed}))
    elif not entries:
        print(f"{folder}: nothing is cached{'' if days is None else ' that was not used for so long'}.")
    else:
        _print_table(entries)
        print(f"\n{folder}: {_size(_total(entries))} in all. Remove what is not in use with --clear.")


def _clear(folder: Path, entries: Sequence[CacheEntry], as_json: bool) -> None:
    """Remove entries and say which were kept. Raises TextgenError for those that the system kept."""
    removed: list[CacheEntry] = []
    kept: list[CacheEntry] = []
    failed: list[CacheEntry] = []
    for entry in entries:
        gone = not entry.in_use and entry.remove()
        (removed if gone else kept if entry.in_use else failed).append(entry)
    if as_json:
        content = {"removed": removed, "kept": [*kept, *failed]}
        listed = {name: [_as_dict(entry) for entry in those] for name, those in content.items()}
        print(json.dumps({"cache_dir": str(folder), "bytes": _total(removed)} | listed))
    else:
        for entry in kept:
            print(f"kept, because a running process uses it: {entry.kind}, {_texts(entry)}")
        number = f"{len(removed)} {'entry' if len(removed) == 1 else 'entries'}"
        print(f"{folder}: removed {number}, {_size(_total(removed))}.")
    if failed:
        raise TextgenError(f"{failed[0].path}: cannot be removed; check its permissions and who uses it")


def _as_dict(entry: CacheEntry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "texts": entry.texts,
        "runs": entry.runs,
        "bytes": entry.bytes,
        "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds"),
        "in_use": entry.in_use,
        "path": str(entry.path),
    }


def _print_table(entries: Iterable[CacheEntry]) -> None:
    rows = [("", "size", "last used", "text", "run")]
    for entry in entries:
        used = "in use" if entry.in_use else _ago(time.time() - entry.last_used)
        rows.append((entry.kind, _size(entry.bytes), used, _texts(entry), ", ".join(map(_short, entry.runs))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for kind, size, *others in rows:
        cells = [f"{kind:<{widths[0]}}", f"{size:>{widths[1]}}"]
        cells += [f"{cell:<{width}}" for cell, width in zip(others, widths[2:], strict=True)]
        print("  ".join(cells).rstrip())


def _texts(entry: CacheEntry) -> str:
    shown = [_short(text) for text in entry.texts[:2]]
    more = len(entry.texts) - len(shown)
    return ", ".join(shown or ["unknown text"]) + (f" and {more} more" if more else "")


def _short(path: str) -> str:
    """A path below the current folder relative to it; anything else as it is."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))  # noqa: PTH118, PTH109 (keeps the separator)


def _total(entries: Iterable[CacheEntry]) -> int:
    return sum(entry.bytes for entry in entries)


def _size(number: int) -> str:
    """A number of bytes in the unit that fits.

    >>> _size(1_234_567)
    '1.2 MB'
    """
    size, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.95 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _ago(seconds: float) -> str:
    days = int(seconds // DAY_SECONDS)
    return "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
