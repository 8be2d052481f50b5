"""`textgen inspect`: what a network expects of a text, what it remembers, and what its gates do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textgen.cli.support.options import cache_dir_option, json_option, reading_options, refuse_reading
from textgen.cli.support.output import writable
from textgen.errors import ConfigError, RunError, TextgenError

if TYPE_CHECKING:
    from textgen.analysis.inspection.excerpt import Excerpt
    from textgen.analysis.inspection.inspection import Inspection, Unit
    from textgen.run import Run
    from textgen.system.progress import Reporter

LISTED_UNITS = 10  # of the most selective ones, in the lines for a person


@click.command(name="inspect")
@click.argument("run_directory", metavar="RUN")
@click.argument("text", required=False)
@click.option(
    "--characters", type=click.IntRange(min=1), default=5000, show_default=True, metavar="N",
    help="How much of the text to read, from its beginning.",
)  # fmt: skip
@click.option(
    "--output", metavar="FILE",
    help="Where the page goes, an .html file.  [default: inspect-<name of RUN>.html; no page with --png or "
    "--npz alone]",
)  # fmt: skip
@click.option(
    "--units", metavar="WHICH",
    help="Which units to show in full: a number of the most selective ones, or layer:unit such as "
    "0:17,1:0-5, both counted from 0.  [default: 64, fewer of a long text, to keep the page near 5 MB]",
)  # fmt: skip
@click.option(
    "--png", metavar="DIR", help="Draw pictures into DIR: surprisal.png, gates.png and saturation.png."
)
@click.option(
    "--npz", metavar="FILE",
    help="Write all figures as NumPy arrays into FILE; "
    "help(textgen.analysis.inspection.inspection.Inspection.arrays) says their names and shapes.",
)  # fmt: skip
@reading_options("TEXT")
@cache_dir_option
@json_option("the figures")
def command(
    run_directory: str,
    text: str | None,
    characters: int,
    output: str | None,
    units: str | None,
    png: str | None,
    npz: str | None,
    field: str | None,
    encoding: str | None,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Look inside RUN while it reads TEXT (a file; - is standard input), or its own validation text.

    Makes one HTML page, to be opened from disk: how surprised the network is by each character and what it
    expected, what each unit remembers, which feature of the text it follows, and every gate.
    """
    from textgen.run import Run

    run = Run(run_directory)
    places = _places(run, output, png, npz)
    if text is None:
        refuse_reading("TEXT", field, encoding)
    elif cache_dir is not None:
        raise ConfigError("--cache-dir is of the run's own text: leave it out, or leave TEXT out")
    from textgen.analysis.inspection.excerpt import excerpt_of_file
    from textgen.analysis.inspection.inspection import inspect_run
    from textgen.system.progress import Reporter

    reporter = Reporter(sys.stderr)
    if text is None:
        excerpt = _validation_text(run, characters, cache_dir, reporter)
    else:
        excerpt = excerpt_of_file(
            run.tokenizer, run.config.data, text, characters, field=field, encoding=encoding
        )
    inspection = inspect_run(run, excerpt, lambda done, total: reporter.work("reading", done, total))
    shown = inspection.units(units)
    if excerpt.is_cut:
        reporter.line(
            f"{excerpt.name} goes on: read were its first {excerpt.num_characters:,} characters "
            "(--characters)"
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
    """What is to be written where, checked before any work. Raises ConfigError."""
    if output is None and png is None and npz is None:
        output = f"inspect-{run.path.resolve().name}.html"
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
        raise ConfigError(f"--png {name}: not a folder; name one")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--png {name}: {error.strerror}; name another place") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"--png {name}: cannot write into it; name another place")
    return path


def _validation_text(run: Run, characters: int, cache_dir: str | None, reporter: Reporter) -> Excerpt:
    from textgen.analysis.inspection.excerpt import excerpt_of_tokens
    from textgen.text.documents import Separator
    from textgen.text.store import TokenStore, default_cache_dir

    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    try:
        corpus = run.open_corpus()
        store = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work)
    except TextgenError as error:
        raise RunError(f"{error} (Or name a TEXT to inspect: textgen inspect {run.path} TEXT)") from error
    part = run.require_part(store, "val")
    name = f"the validation text of {', '.join(Path(name).name for name in run.config.data.corpus)}"

    def separators() -> Iterator[Separator]:  # the store has end-of-text alone; the text is read where one is
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
    """The figures for a person."""
    excerpt = inspection.excerpt
    lines = [
        f"{excerpt.num_characters:,} characters, {len(excerpt.token_ids):,} tokens, "
        f"{inspection.bits_per_character:.4f} bits/character"
    ]
    if not inspection.features:
        return [*lines, "the text is too short, or too much alike, to say what a unit follows"]
    if inspection.is_short:
        lines.append("so short a text says little of what a unit follows: much of it may be chance")
    lines.append("units by the share of their variance that one feature of the text explains:")
    for layer, unit in units[:LISTED_UNITS]:
        share = inspection.selectivity.share[layer, unit]
        lines.append(f"  {f'{layer}:{unit}':>7} {share:6.1%}  {inspection.selectivity.name(layer, unit)}")
    return lines


def _written(places: dict[str, Path | None]) -> list[str]:
    texts = {"page": "open {} in a browser", "png": "pictures are in {}", "npz": "arrays are in {}"}
    return [texts[name].format(path) for name, path in places.items() if path is not None]
