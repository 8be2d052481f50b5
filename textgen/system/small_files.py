"""Files that are read as a whole, such as JSON: up to a size that no real one has."""

from __future__ import annotations

from pathlib import Path

MAX_CONFIG_BYTES = 16 * 2**20  # of a config.json or a settings file; it names the files of a corpus


def read_text(path: Path, max_bytes: int) -> str:
    """The content of a UTF-8 file, of which at most max_bytes are read.

    Raises OSError when it cannot be read, ValueError when it is longer, and UnicodeDecodeError, which is a
    ValueError, when it is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"longer than {max_bytes / 2**20:,.0f} MiB")
    return content.decode("utf-8")
