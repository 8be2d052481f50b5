"""Measure how fast and in how much memory text is encoded from each kind of source.

The same text is read from one plain file, from a folder of many small files, from compressed .jsonl and from
Parquet. Each is encoded from files to a token store with the char tokenizer, in a process of its own. The
times are the processor's; the memory is that which no file backs, beyond what the process had before.

Examples:
    python scripts/sources_benchmark.py
    python scripts/sources_benchmark.py --megabytes 1000 --only zst
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from benchmarks.command import Script
from benchmarks.encoding import MEGABYTE, _anonymous_megabytes, english

from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer
from textgen.training.planning.data import DEFAULT_VAL_CHARACTERS

RECORD_CHARACTERS = 2000


def write_plain(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """One file of plain text."""
    with (folder / "corpus.txt").open("w", encoding="utf-8") as file:
        for _ in range(repeats):
            file.write(text)
    return {"corpus": (str(folder / "corpus.txt"),)}


def write_folder(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """A folder of equally long files, a thousand in each folder within it."""
    whole = len(text) * repeats
    for number in range(files):
        start, stop = whole * number // files, whole * (number + 1) // files
        inner = folder / "files" / f"{number // 1000:03}"
        inner.mkdir(parents=True, exist_ok=True)
        begin = start % len(text)
        content = (text + text)[begin : begin + stop - start]
        (inner / f"{number:06}.txt").write_text(content, encoding="utf-8")
    return {"corpus": (str(folder / "files"),)}


def _records(text: str, repeats: int) -> Iterator[list[str]]:
    for _ in range(repeats):
        yield [text[start : start + RECORD_CHARACTERS] for start in range(0, len(text), RECORD_CHARACTERS)]


def _write_lines(open_file: Callable[[str], Any], path: Path, text: str, repeats: int) -> dict[str, Any]:
    with open_file(str(path)) as file:
        for records in _records(text, repeats):
            file.write("".join(json.dumps({"text": record}) + "\n" for record in records).encode())
    return {"corpus": (str(path),), "field": "text"}


def write_jsonl(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """Records of a .jsonl file."""
    return _write_lines(lambda path: Path(path).open("wb"), folder / "corpus.jsonl", text, repeats)


def write_gz(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """Records of a .jsonl.gz file."""
    return _write_lines(lambda path: gzip.open(path, "wb", 6), folder / "corpus.jsonl.gz", text, repeats)


def write_zst(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """Records of a .jsonl.zst file."""
    import zstandard

    return _write_lines(lambda path: zstandard.open(path, "wb"), folder / "corpus.jsonl.zst", text, repeats)


def write_parquet(folder: Path, text: str, repeats: int, files: int) -> dict[str, Any]:
    """The column of a Parquet file, in row groups of the usual size."""
    import pyarrow
    from pyarrow import parquet

    path = folder / "corpus.parquet"
    with parquet.ParquetWriter(path, pyarrow.schema([("text", pyarrow.string())])) as file:
        records = [record for some in _records(text, repeats) for record in some]
        file.write_table(pyarrow.table({"text": records}))
    return {"corpus": (str(path),), "field": "text"}


CASES = {
    "one .txt": write_plain,
    "folder": write_folder,
    ".jsonl": write_jsonl,
    ".jsonl.gz": write_gz,
    ".jsonl.zst": write_zst,
    ".parquet": write_parquet,
}


@click.command(cls=Script, help=__doc__)
@click.option(
    "--megabytes", type=click.IntRange(min=1), default=200, show_default=True, help="Size of the text."
)
@click.option(
    "--files", type=click.IntRange(min=1), default=100_000, show_default=True, help="In the folder."
)
@click.option("--only", default="", metavar="TEXT", help="Measure only cases whose name contains TEXT.")
def main(megabytes: int, files: int, only: str) -> None:
    """Run the benchmark and print its table."""
    click.echo(f"{megabytes} MB of text; {files:,} files in the folder\n")
    click.echo("| source | CPU seconds | of one .txt | MB/s | memory, MB |\n|---|---|---|---|---|")
    plain = None
    for name in CASES:
        if only in name or name == "one .txt":
            seconds, memory = measured(name, megabytes, files)
            plain = plain or seconds
            ratio, speed = seconds / plain, megabytes / seconds
            click.echo(f"| {name} | {seconds:.1f} | {ratio:.2f} | {speed:.0f} | {memory:.0f} |")


def measured(name: str, megabytes: int, files: int) -> tuple[float, float]:
    """The seconds and megabytes that encoding one source takes, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for work in (_write, _encode):
            with ProcessPoolExecutor(1, mp_context=spawn) as processes:
                result = processes.submit(work, name, folder, megabytes, files).result()
    return result


def _write(name: str, folder: str, megabytes: int, files: int) -> None:
    """Write the source, and the options that read it."""
    text = english(min(10, megabytes) * MEGABYTE)
    options = CASES[name](Path(folder), text, int(megabytes * MEGABYTE / len(text)), files)
    (Path(folder) / "options.json").write_text(json.dumps(options))


def _encode(name: str, folder: str, megabytes: int, files: int) -> tuple[float, float]:
    options = json.loads((Path(folder) / "options.json").read_text())
    tokenizer = Tokenizer.train("char", [english(1e6)])
    list(tokenizer.encode_stream(["warm"]))
    with _peak_memory() as growth:
        start = time.process_time()
        order = "hash" if "field" in options else "end"  # as `textgen train` chooses
        config = DataConfig(
            **options | {"corpus": tuple(options["corpus"])},
            val_order=order,
            val_characters=DEFAULT_VAL_CHARACTERS,
        )
        corpus = Corpus(config)
        TokenStore.open_or_build(corpus, tokenizer, Path(folder) / "cache")
        seconds = time.process_time() - start
    return seconds, max(growth)


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Megabytes by which anonymous memory has grown, every few milliseconds within the block."""
    before, done, growth = _anonymous_megabytes(), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.01):
            growth.append(_anonymous_megabytes() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    main()
