"""Measure what encoding a large text costs, at three sizes, and what a terabyte costs by these slopes.

FILES of text are repeated until they have each of the sizes, with a line as a document. Measured are the
reading that plans the shards, the making of shards, both also in memory, the bounds of documents that
shuffling needs at the start, and learning a vocabulary. A slope is a least-squares line through the sizes;
what lies beyond them is computed, not measured.

Examples:
    python scripts/terabyte.py corpus.txt
    python scripts/terabyte.py corpus.txt --megabytes 10 --megabytes 30 --megabytes 100 --tokenizer bpe
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.command import Script
from benchmarks.measure import machine, markdown, plain

from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.shard_encoding import assemble, encode_shard
from textgen.text.shard_planner import make_plan
from textgen.text.shuffle import DocumentOrder
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer

MEGABYTE, TERABYTE = 10**6, 10**12
HOUR = 3600


@click.command(cls=Script, help=__doc__)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--megabytes", multiple=True, default=(10, 30, 100), type=click.IntRange(min=1), show_default=True
)
@click.option("--tokenizer", default="char", show_default=True, help="char, byte, word or bpe.")
def main(files: tuple[Path, ...], megabytes: tuple[int, ...], tokenizer: str) -> None:
    """Measure each size, and print the tables."""
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()))
    text = b"\n".join(path.read_bytes() for path in files)
    sizes = sorted(megabytes)
    measured = [_measure(text, size * MEGABYTE, tokenizer) for size in sizes]
    rows = [("", *(f"{size} MB" for size in sizes), "per GB", "per TB")]
    for name in measured[0]:
        values = [figures[name] for figures in measured]
        slope = _slope([size * MEGABYTE for size in sizes], values)
        rows.append((name, *map(plain, values), plain(slope * 1e9), _of_terabyte(name, slope)))
    click.echo("\n".join(["", f"{tokenizer}, one process:", "", *markdown(rows)]))


def _measure(text: bytes, size: int, kind: str) -> dict[str, float]:
    """Seconds and bytes, by name, for a text of this size."""
    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "corpus.txt", Path(name) / "encoded"
        with path.open("wb") as file:
            for _ in range(-(-size // len(text))):
                file.write(text[: size - file.tell()])
        config = DataConfig(corpus=(str(path),), documents="line", val_order="hash", val_characters=2_000_000)
        corpus = Corpus(config)
        figures = {"fingerprint, s": _seconds(lambda: corpus.fingerprint)}
        figures["division by hash, s"] = _seconds(lambda: corpus.characters("train"))
        made: dict[str, Any] = {}

        def keep(key: str, work: Callable[[], Any]) -> None:
            figures[f"{key}, s"] = _seconds(lambda: made.__setitem__(key, work()))

        keep("vocabulary", lambda: Tokenizer.train(kind, corpus.stream("train")))
        keep("plan", lambda: make_plan(corpus, made["vocabulary"], {}, shard_characters=2**22))
        plan = made["plan"]
        keep("shards", lambda: [encode_shard(plan, index, folder) for index in range(len(plan.shards))])
        keep("manifest", lambda: assemble(plan, folder))
        plan.write(folder)
        store = TokenStore(folder, is_cached=False)
        end_of_text = made["vocabulary"].end_of_text_id
        keep("order of documents", lambda: DocumentOrder(store.tokens("train"), end_of_text, seed=0))
        figures["documents"] = store.size("train").documents
        figures["tokens, bytes"] = sum(file.stat().st_size for file in folder.glob("train-*.bin"))
        figures["plan, bytes"] = (folder / "plan.json").stat().st_size
        figures["manifest, bytes"] = (folder / "manifest.json").stat().st_size
        return figures


def _seconds(work: Callable[[], Any]) -> float:
    """Seconds of this process on a processor, which other programs do not lengthen."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """By how much a value grows with each byte of text."""
    return max(0.0, float(np.polyfit(sizes, values, 1)[0])) if len(sizes) > 1 else values[0] / sizes[0]


def _of_terabyte(name: str, slope: float) -> str:
    if name.endswith(", s"):
        return f"{plain(slope * TERABYTE / HOUR)} h"
    if name.endswith(", bytes"):
        return f"{plain(slope * TERABYTE / 1e9)} GB"
    return f"{slope * TERABYTE:.2g}"


if __name__ == "__main__":
    main()
