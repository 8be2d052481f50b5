"""The files of a folder: which are read, and what to say about those that are not.

notes/                     read                              passed over
    README.md              README.md                         30 .py, which are text (--include '*.py')
    plot.png .cache        or those that --include names     plot.png .cache, which are left out
    src/a.py src/b.py ...
"""

from __future__ import annotations

import glob
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from textgen.errors import CorpusError
from textgen.text.formats import KNOWN_ENDINGS, TextFile, ending_of, looks_like_text

IGNORED_FOLDERS = frozenset({"node_modules", "__pycache__"})  # and hidden ones, such as .git and .venv

_SAMPLES = 3  # files of a kind that are looked into, to see whether it is text
_MAX_KINDS = 100  # that are told apart
_MAX_NAMED = 5  # kinds that a message names


class FolderCount:
    """What was passed over in a folder while its files were found.

    read: files that were found. left_out: hidden files and folders, ignored folders and links to folders.
    has_patterns: whether --include chose the files. unused: those of its patterns that no file matches.
    """

    def __init__(self) -> None:
        self.read = 0
        self.left_out = 0
        self.has_patterns = False
        self.unused: set[str] = set()
        self._kinds: Counter[str] = Counter()  # by the ending of the name, or the name if it has none
        self._samples: dict[str, list[str]] = {}
        self._others = 0

    def pass_over(self, path: str, name: str) -> None:
        """Count a file that is not read."""
        stem, dot, ending = name.rpartition(".")
        kind = dot + ending if stem else name
        if kind not in self._samples and len(self._samples) == _MAX_KINDS:
            self._others += 1
            return
        self._kinds[kind] += 1
        samples = self._samples.setdefault(kind, [])
        if len(samples) < _SAMPLES:
            samples.append(path)

    def note(self, name: str) -> str | None:
        """One line about text that was passed over, and how to take it; None if there was none."""
        texts = self._texts()
        if not texts:
            return None
        binary = self._kinds.total() - sum(count for _, count in texts)
        rest = [
            f"{count:,} {what}"
            for count, what in ((binary, "binary"), (self.left_out, "hidden or ignored"))
            if count
        ]
        left_out = f"; left out {' and '.join(rest)}" if rest else ""
        files = f"{self.read:,} file{'s' * (self.read != 1)}"
        return f"{name}: read {files}; skipped {self._named(texts)}{left_out}."

    def nothing_found(self, name: str, include: Sequence[str] | None) -> CorpusError:
        """The error for a folder without a file to read, which names the text that is there."""
        reason = f"the folder has no file ending in {' '.join(KNOWN_ENDINGS)}, compressed or not"
        if include is not None:
            reason = f"no file of the folder matches {as_options(include)}"
        texts = self._texts()
        return CorpusError(f"{name}: {reason}" + (f"; it has {self._named(texts)}" if texts else ""))

    def _texts(self) -> list[tuple[str, int]]:
        """The kinds of files that are text, most frequent first."""
        return [
            (kind, count)
            for kind, count in sorted(self._kinds.items(), key=lambda item: (-item[1], item[0]))
            if any(looks_like_text(TextFile(path, path)) for path in self._samples[kind])
        ]

    def _named(self, texts: list[tuple[str, int]]) -> str:
        named = texts[:_MAX_NAMED]
        others = sum(count for _, count in texts[_MAX_NAMED:]) + self._others
        counts = ", ".join(f"{count:,} {kind}" for kind, count in named)
        more = f" and {others:,} others" if others else ""
        patterns = [f"*{glob.escape(kind)}" if kind[0] == "." else glob.escape(kind) for kind, _ in named]
        return f"{counts}{more} ({as_options(patterns)} reads these instead)"


def files_in(folder: str, include: Sequence[str] | None, count: FolderCount) -> list[TextFile]:
    """The files of a folder that are read, at any depth, sorted.

    include: patterns of paths in the folder, or of names; None takes KNOWN_ENDINGS. Hidden files and folders,
    IGNORED_FOLDERS and links to folders are left out. count: what is passed over is added to it.

    Raises CorpusError when there is none, and for a folder that cannot be read.
    """
    patterns = None if include is None else {pattern: _parts(pattern) for pattern in include}
    count.has_patterns, count.unused = patterns is not None, set(patterns or ())
    start = str(Path(folder, "_"))[:-1]  # the folder with a separator, or nothing for the current one
    found = []
    for inner in _walk(folder, count):
        path = start + inner
        *_, name = parts = inner.split("/")
        if patterns is None:
            is_taken = ending_of(name) in KNOWN_ENDINGS
        else:
            matching = [pattern for pattern, wanted in patterns.items() if _matches(parts, wanted)]
            count.unused.difference_update(matching)
            is_taken = bool(matching)
        if is_taken:
            found.append(TextFile(path, path))
        else:
            count.pass_over(path, name)
    count.read += len(found)
    if not found:
        raise count.nothing_found(folder, include)
    return found


def as_options(patterns: Iterable[str]) -> str:
    """Patterns as they are typed: --include '*.py' --include 'src/**'."""
    return " ".join(f"--include {shlex.quote(pattern)}" for pattern in patterns)


def _parts(pattern: str) -> list[str]:
    """The parts of a pattern between slashes; one without a slash matches names at any depth."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.endswith("/"):
        return [*parts, "**"]
    return parts if "/" in pattern else ["**", *parts]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern; `**` matches any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] != "**":
        return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
    if len(pattern) == 1:
        return bool(parts)
    return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts)))


def _walk(folder: str, count: FolderCount) -> Iterator[str]:
    """The files of a folder at any depth, as paths in it with slashes, in the order of their parts."""
    waiting = [_entries(folder, "", count)]
    while waiting:
        for path, is_folder in waiting[-1]:
            if is_folder:
                waiting.append(_entries(folder, path + "/", count))
                break
            yield path
        else:
            waiting.pop()


def _entries(folder: str, inner: str, count: FolderCount) -> Iterator[tuple[str, bool]]:
    """The files and folders in an inner folder, sorted: the path of each, and whether it is a folder."""
    names: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(Path(folder, inner)) as entries:
            for entry in entries:
                is_folder = entry.is_dir()
                is_ignored = is_folder and (entry.name in IGNORED_FOLDERS or entry.is_symlink())
                if is_ignored or entry.name.startswith("."):
                    count.left_out += 1
                elif is_folder or entry.is_file():
                    names.append(entry.name)
                    folders.update([entry.name] if is_folder else [])
    except OSError as error:
        raise CorpusError(f"{error.filename}: {error.strerror}; the folder must be readable") from error
    names.sort()
    return ((inner + name, name in folders) for name in names)
