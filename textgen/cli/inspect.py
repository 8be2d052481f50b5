"""`textgen inspect`: surprisal, hidden and cell states, and gates of a run on a text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    fetch_option,
    grouped_option,
    json_option,
    reading_options,
    refuse_reading,
)
from textgen.cli.support.output import writable
from textgen.cli.support.remote import announce, fetched_file, remote_texts
from textgen.errors import ConfigError, RunError, TextgenError
from textgen.settings.config import TEXT
from textgen.settings.option import COUNT

if TYPE_CHECKING:
    from textgen.analysis.inspection.excerpt import Excerpt
    from textgen.analysis.inspection.inspection import Inspection, Unit
    from textgen.run import Run
    from textgen.system.progress import Reporter

EXAMPLES = (
    "textgen inspect runs/corpus                           a page about its validation text",
    "textgen inspect runs/corpus letter.txt                about another text",
    "textgen inspect runs/corpus --units 0:17,1:0-5        with chosen units",
    "textgen inspect runs/corpus --png pictures            pictures for a paper",
    "textgen inspect runs/corpus --npz all.npz             arrays for NumPy",
)
LISTED_UNITS = 10  # of the most selective units, on standard output


@click.command(name="inspect", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, TEXT, OUTPUT))
@click.argument("run_directory", metavar="RUN")
@click.argument("text", required=False)
@grouped_option(
    "--characters", type=Number(int, COUNT), default=5000, show_default=True, metavar="N", group=COMMON,
    help="Read this much of the text, from its beginning.",
)  # fmt: skip
@grouped_option(
    "--units", metavar="N|LIST", group=COMMON,
    help="Units to show in full: the N most selective, or layer:unit, such as 0:17,1:0-5.",
)  # fmt: skip
@grouped_option(
    "--output", metavar="FILE", group=COMMON,
    help="Write the page to this .html file.  [default: inspect-<name of RUN>.html]",
)  # fmt: skip
@reading_options("TEXT")
@fetch_option()
@grouped_option(
    "--png", metavar="DIR", group=OUTPUT,
    help="Write surprisal.png, gates.png and saturation.png; no page without --output.",
)  # fmt: skip
@grouped_option(
    "--npz", metavar="FILE", group=OUTPUT,
    help="Write all values to FILE as NumPy arrays; no page without --output.",
)  # fmt: skip
@cache_dir_option()
@json_option("the results")
def command(
    run_directory: str,
    text: str | None,
    characters: int,
    output: str | None,
    units: str | None,
    png: str | None,
    npz: str | None,
    fetch: bool,
    cache_dir: str | None,
    as_json: bool,
    **reading: str | None,
) -> None:
    """Look inside RUN while it reads its validation text or TEXT.

    TEXT is a file, a URL, or - for standard input. The result is one HTML page: the surprisal of every
    character and what the model expected instead, the hidden and cell states of each unit, the feature of the
    text that it tracks, and every gate. The arrays of --npz are described in
    help(textgen.analysis.inspection.inspection.Inspection.arrays).
    """
    from textgen.hub.fetch import open_run
    from textgen.system.progress import Reporter
    from textgen.text.remote.urls import is_url

    reporter = Reporter(sys.stderr)
    remote = None if text is not None else remote_texts(cache_dir, reporter, fetch=fetch)
    run = open_run(run_directory, remote, announce)
    places = _places(run, output, png, npz)
    if text is None:
        refuse_reading("TEXT", reading)
    elif fetch:
        raise ConfigError("--fetch is for the run's own text: leave it out, or leave TEXT out")
    elif cache_dir is not None and not is_url(text):
        raise ConfigError("--cache-dir is for the run's own text: leave it out, or leave TEXT out")
    from textgen.analysis.inspection.excerpt import excerpt_of_file
    from textgen.analysis.inspection.inspection import inspect_run

    if remote is not None:
        excerpt = _validation_text(run, characters, remote.cache_dir, reporter)
    elif text is not None:
        text, fetched = fetched_file(text, cache_dir, reporter)
        excerpt = excerpt_of_file(
            run.tokenizer, run.config.data, text, characters, fetched=fetched, **reading
        )
    inspection = inspect_run(run, excerpt, lambda done, total: reporter.work("reading", done, total))
    shown = inspection.units(units)
    if excerpt.is_cut:
        reporter.line(
            f"Read the first {excerpt.num_characters:,} characters of {excerpt.name}; "
            "--characters reads more."
        )
    _write(inspection, shown, places)
    if as_json:
        written = {name: None if path is None else str(path) for name, path in places.items()}
        figures = {"run": str(run.path)} | inspection.as_dict(shown) | written
        print(json.dumps(figures, allow_nan=False))
        return
    standard_output = Reporter(sys.stdout)
    for line in [*_lines(inspection, shown), *_written(places)]:
        standard_output.line(line)


def _places(run: Run, output: str | None, png: str | None, npz: str | None) -> dict[str, Path | None]:
    """The files and folders to write, checked before any work. Raises ConfigError."""
    if output is None and png is None and npz is None:
        output = f"inspect-{run.name}.html"
    if png is not None:
        from textgen.plots.style import can_draw

        if not can_draw():
            raise ConfigError("--png: pictures need matplotlib: pip install 'textgen[plot]'")
    return {
        "page": _file("--output", output, (".html", ".htm")),
        "png": _folder(png),
        "npz": _file("--npz", npz, (".npz",)),
    }


def _file(option: str, name: str | None, endings: tuple[str, ...]) -> Path | None:
    if name is None:
        return None
    if Path(name).resolve().suffix.lower() not in endings:
        raise ConfigError(f"{option} {name}: the name must end in {endings[0]}")
    return writable(Path(name), option)


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    path = Path(name).resolve()
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--png {name}: not a folder; name a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--png {name}: {error.strerror}; name another folder") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"--png {name}: cannot write into it; name another folder")
    return path


def _validation_text(run: Run, characters: int, cache: Path, reporter: Reporter) -> Excerpt:
    from textgen.analysis.inspection.excerpt import excerpt_of_tokens
    from textgen.text.documents import Separator
    from textgen.text.store import TokenStore

    try:
        corpus = run.open_corpus()
        store = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work)
    except TextgenError as error:
        raise RunError(f"{error} (Or inspect another text: textgen inspect {run.path} TEXT)") from error
    part = run.require_part(store, "val")
    name = f"the validation text of {', '.join(Path(name).name for name in run.config.data.corpus)}"

    def separators() -> Iterator[Separator]:  # the store has only end-of-text tokens, not their text
        yield from (item for item in corpus.stream(part) if isinstance(item, Separator))

    return excerpt_of_tokens(run.tokenizer, store.tokens(part), characters, name, separators())


def _write(inspection: Inspection, units: list[Unit], places: dict[str, Path | None]) -> None:
    from textgen.analysis.inspection.inspection import write_arrays
    from textgen.analysis.inspection.page import write_page
    from textgen.analysis.inspection.pictures import draw_pictures

    for path, write in (
        (places["page"], lambda path: write_page(inspection, units, path)),
        (places["png"], lambda path: draw_pictures(inspection, units, path)),
        (places["npz"], lambda path: write_arrays(inspection, path)),
    ):
        if path is None:
            continue
        try:
            write(path)
        except OSError as error:
            raise TextgenError(f"{path}: {error.strerror or error}; nothing was written there") from error


def _lines(inspection: Inspection, units: list[Unit]) -> list[str]:
    """The summary on standard output."""
    excerpt = inspection.excerpt
    lines = [
        f"{excerpt.num_characters:,} characters, {len(excerpt.token_ids):,} tokens, "
        f"{inspection.bits_per_character:.4f} bits/character"
    ]
    if not inspection.features:
        return [*lines, "the text is too short, or too uniform, to say what a unit tracks"]
    if inspection.is_short:
        lines.append("the text is short: what a unit seems to track may be chance")
    lines.append("most selective units, with the share of variance that a feature of the text explains:")
    for layer, unit in units[:LISTED_UNITS]:
        share = inspection.selectivity.share[layer, unit]
        lines.append(f"  {f'{layer}:{unit}':>7} {share:6.1%}  {inspection.selectivity.name(layer, unit)}")
    return lines


def _written(places: dict[str, Path | None]) -> list[str]:
    texts = {"page": "Open {} in a browser.", "png": "Pictures are in {}.", "npz": "Arrays are in {}."}
    return [texts[name].format(path) for name, path in places.items() if path is not None]
