"""Folders on disk: which files are read, and what is said about the others."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.folders import FolderCount, _matches, _parts, files_in


def write(folder, *names, content="some text\n"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def found(folder, include=None):
    """The names of the files, and the note."""
    count = FolderCount()
    files = files_in(str(folder), include, count)
    assert count.read == len(files)
    assert all(Path(file.path).is_file() for file in files)
    return [os.path.relpath(file.path, folder) for file in files], count.note("data/")


def test_known_endings_are_read_with_any_compression(tmp_path):
    known = ["a.txt", "b.text", "c.md", "d.rst", "e.jsonl", "f.csv", "g.tsv", "h.TXT", "i.gz", "j.zst"]
    known += ["k.txt.gz", "l.jsonl.zst", "m.csv.bz2", "n.md.xz", "o/p/q.txt"]
    write(tmp_path, *known, "x.tar.gz", "x.py.zst", "LICENSE", "data.json")
    assert found(tmp_path)[0] == known


def test_the_order_is_that_of_the_parts_of_the_paths(tmp_path):
    write(tmp_path, "b.txt", "a.txt", "a/z.txt", "a/b/c.txt", "a-b/d.txt")
    expected = sorted((path for path in tmp_path.rglob("*.txt")), key=lambda path: path.parts)
    assert [tmp_path / name for name in found(tmp_path)[0]] == expected


def test_text_that_is_passed_over_is_named_with_the_option_that_takes_it(tmp_path):
    write(tmp_path, "README.md", *(f"src/{number}.py" for number in range(30)))
    names, note = found(tmp_path)
    assert names == ["README.md"]
    assert note == "data/: read 1 file; skipped 30 .py (--include '*.py' reads these instead)."
    assert len(found(tmp_path, ["*.py"])[0]) == 30


def test_binary_hidden_and_ignored_files_are_left_out_and_counted(tmp_path):
    write(tmp_path, "a.txt", "b.txt", "c.c", "d.h", "Makefile")
    write(tmp_path, "p.png", content=b"\x89PNG\r\n\x1a\n")
    write(tmp_path, "q.bin", "r.bin", content=bytes(range(256)) * 9)
    write(tmp_path, ".hidden.txt", ".git/x.py", ".venv/y.py", "node_modules/z.js", "__pycache__/w.py")
    (tmp_path / "linked").symlink_to(tmp_path.parent)
    names, note = found(tmp_path)
    assert names == ["a.txt", "b.txt"]
    assert note == (
        "data/: read 2 files; skipped 1 .c, 1 .h, 1 Makefile "
        "(--include '*.c' --include '*.h' --include Makefile reads these instead); "
        "left out 3 binary and 6 hidden or ignored."
    )


def test_there_is_no_note_where_only_binary_and_hidden_files_are_left_out(tmp_path):
    write(tmp_path, "a.txt", ".hidden.txt", "__pycache__/w.py")
    write(tmp_path, "p.png", content=b"\x89PNG\r\n\x1a\n")
    write(tmp_path, "empty.py", content=b"")
    assert found(tmp_path) == (["a.txt"], None)


def test_a_note_names_the_most_frequent_endings_only(tmp_path):
    write(tmp_path, "a.txt", *(f"{n}.k{kind}" for kind in range(9) for n in range(9 - kind)))
    note = found(tmp_path)[1]
    assert "skipped 9 .k0, 8 .k1, 7 .k2, 6 .k3, 5 .k4 and 10 others (" in note
    write(tmp_path, *(f"n{n}" for n in range(200)))
    assert "and 210 others (" in found(tmp_path)[1]


@pytest.mark.parametrize(
    ("content", "is_text"),
    [
        ("naïve é 中文".encode(), True),
        ("naïve résumé".encode("latin-1"), True),
        ("text".encode("utf-16"), True),
        (b"short\0bytes", False),
        (b"%PDF-1.4 \x01", False),
        (bytes(range(256)), False),
    ],
)
def test_text_in_any_encoding_is_told_from_binary_files(tmp_path, content, is_text):
    write(tmp_path, "a.txt")
    write(tmp_path, "b.other", content=content)
    assert (found(tmp_path)[1] is not None) == is_text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("src/*.py", ["src/b.py"]),
        ("src/**/*.py", ["src/b.py", "src/deep/c.py"]),
        ("**/*.py", ["a.py", "src/b.py", "src/deep/c.py"]),
        ("src/**", ["src/b.py", "src/deep/c.py", "src/n.txt"]),
        ("src/", ["src/b.py", "src/deep/c.py", "src/n.txt"]),
        ("./a.*", ["a.py"]),
        ("[ab].py", ["a.py", "src/b.py"]),
        ("**/deep/**", ["src/deep/c.py"]),
        ("n.txt", ["src/n.txt"]),
        ("*", ["a.py", "src/b.py", "src/deep/c.py", "src/n.txt"]),
    ],
)
def test_patterns_match_names_or_paths_in_the_folder(tmp_path, pattern, expected):
    write(tmp_path, "a.py", "src/b.py", "src/deep/c.py", "src/n.txt", ".hidden/d.py")
    assert found(tmp_path, [pattern])[0] == expected


@given(
    st.lists(st.sampled_from(["a", "b", "ab.py"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "*", "**", "*.py"]), min_size=1, max_size=4),
)
def test_paths_match_as_the_standard_library_has_it(tmp_path_factory, parts, pattern):
    folder = tmp_path_factory.mktemp("tree")
    write(folder, "/".join(parts))
    globbed = "/".join([*pattern, "*"] if pattern[-1] == "**" else pattern)
    expected = any(path.is_file() for path in folder.glob(globbed))
    assert _matches(parts, _parts("/" + "/".join(pattern))) == expected


def corpus_of(*arguments, **settings):
    return Corpus(DataConfig(corpus=tuple(map(str, arguments)), **settings))


def test_a_folder_of_code_only_is_refused_with_the_option_that_takes_it(tmp_path):
    write(tmp_path, *(f"{number}.py" for number in range(3)), "a.js")
    message = r"no file ending in .*; it has 3 \.py, 1 \.js \(--include '\*\.py' --include '\*\.js' reads"
    with pytest.raises(CorpusError, match=message):
        corpus_of(tmp_path)
    with pytest.raises(CorpusError, match=r"no file of the folder matches --include '\*\.rs'; it has 3 \.py"):
        corpus_of(tmp_path, include=("*.rs",))


def test_only_included_files_are_read_and_they_change_the_fingerprint(tmp_path):
    write(tmp_path, "README.md", content="read me\n" * 9)
    write(tmp_path, "a.py", "b.py", content="import this\n" * 9)
    default, code = corpus_of(tmp_path), corpus_of(tmp_path, include=("*.py",))
    assert "read me" in "".join(item for item in default.stream("train") if isinstance(item, str))
    assert "read me" not in "".join(item for item in code.stream("train") if isinstance(item, str))
    assert default.fingerprint != code.fingerprint
    assert len(default.notes) == 1
    assert code.notes == []


def test_a_pattern_that_matches_in_no_folder_is_named(tmp_path):
    write(tmp_path, "a/x.py", "a/x.c", "b/y.py")
    assert corpus_of(tmp_path / "a", tmp_path / "b", include=("*.py", "*.c")).notes == []
    notes = corpus_of(tmp_path / "a", tmp_path / "b", include=("*.py", "*.rs")).notes
    assert notes == ["No file matches --include '*.rs'."]


def test_patterns_are_refused_where_they_do_nothing(tmp_path):
    write(tmp_path, "a.txt")
    with pytest.raises(
        CorpusError, match=r"--include '\*\.py': no argument is a folder; leave --include out"
    ):
        corpus_of(tmp_path / "a.txt", include=("*.py",))
    for include in ((), ("",), ("*.py", "")):
        with pytest.raises(ConfigError, match="at least one pattern"):
            corpus_of(tmp_path, include=include)


def test_an_unreadable_folder_is_refused(tmp_path):
    write(tmp_path, "a/b.txt")
    (tmp_path / "a").chmod(0)
    try:
        if os.access(tmp_path / "a", os.R_OK):
            pytest.skip("the superuser reads everything")
        with pytest.raises(CorpusError, match="must be readable"):
            found(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)
