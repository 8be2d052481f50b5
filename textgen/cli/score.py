"""`textgen score`: the bits that a run needs for a text, in all, by line, by record or by token."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    cache_dir_option,
    device_option,
    grouped_option,
    no_ngram_option,
    reading_options,
)
from textgen.cli.support.remote import announce, fetched_file
from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DEVICE, TEXT
from textgen.system.threads import multiply_on_few_threads, numpy_threads

if TYPE_CHECKING:
    from textgen.evaluation.report import Report
    from textgen.evaluation.score import ScoredPiece, Scorer
    from textgen.evaluation.scored_lines import PlainText, Records
    from textgen.evaluation.summary import Summary
    from textgen.run import Run
    from textgen.settings.config import DataConfig
    from textgen.text.formats import TextFile
    from textgen.text.lines import Line

EXAMPLES = (
    "textgen score runs/corpus letter.txt                 the bits/character and the hardest lines",
    "textgen score runs/corpus letter.txt --view          in colour, character by character",
    "textgen score runs/corpus names.csv --field name     every record is a document",
    "textgen score runs/corpus a.txt b.txt --lines --dask tcp://node1:8786  on a dask cluster",
    "cat app.log | textgen score runs/log --lines --json  as a filter",
)
LINE_ENDS = str.maketrans({"\n": r"\n", "\r": r"\r"})
MANY_LINES = 10  # with fewer, the hardest lines are not listed
CONTRADICTIONS = (("--lines", "--tokens", "--view"), ("--view", "--json"))


@click.command(name="score", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, TEXT, DEVICE, OUTPUT))
@click.argument("run_directory", metavar="RUN")
@click.argument("files", nargs=-1, metavar="[FILE|-]...")
@grouped_option(
    "--lines", "by_line", is_flag=True, group=COMMON,
    help="Print the bits/character of each line, or record, and its text.",
)  # fmt: skip
@grouped_option(
    "--context", is_flag=True, group=COMMON,
    help="With --lines: read each as a continuation of those before.",
)  # fmt: skip
@grouped_option(
    "--dask", metavar="ADDRESS", group=COMMON,
    help="With --lines: score on the dask cluster whose scheduler is there.",
)  # fmt: skip
@grouped_option(
    "--tokens", "by_token", is_flag=True, group=COMMON,
    help="Print the bits of each token, and the token as a JSON string.",
)  # fmt: skip
@grouped_option(
    "--view", is_flag=True, group=COMMON,
    help="Print the text in colour: the more bits, the stronger.",
)  # fmt: skip
@grouped_option("--label", metavar="NAME", group=TEXT, help="Score documents as those with this label.")
@reading_options("FILE")
@device_option("cpu")
@no_ngram_option()
@cache_dir_option("Where a FILE that is a URL is kept.")
@grouped_option(
    "--json", "as_json", is_flag=True, group=OUTPUT,
    help="Print one JSON object; with --lines or --tokens, one for each of them.",
)  # fmt: skip
def command(
    run_directory: str,
    files: tuple[str, ...],
    by_line: bool,
    context: bool,
    dask: str | None,
    by_token: bool,
    view: bool,
    label: str | None,
    device: str,
    ngram: bool,
    cache_dir: str | None,
    as_json: bool,
    **reading: str | None,
) -> None:
    """Measure how surprising a text is to RUN, in bits.

    The text is FILE, or standard input, which is scored as it arrives. The better RUN predicts a text, the
    fewer bits a character needs. In a table (.jsonl, .json, .csv, .tsv) each record is a document. In plain
    text a document is what it is in the text of RUN; where that is records, each line is a document. Several
    FILEs need --lines.

    With --dask, RUN and the text are sent to the cluster, which needs textgen in this version, but no files.
    A dask cluster runs any code that is sent to it, and this command trusts what it answers.
    """
    _refuse_contradictions(
        {"--lines": by_line, "--tokens": by_token, "--view": view, "--json": as_json},
        {"--context": context, "--dask": dask is not None, "more than one FILE": len(files) > 1},
    )
    set_threads = numpy_threads() if device == "cpu" and multiply_on_few_threads() else None
    from textgen.evaluation.score import Scorer
    from textgen.hub.fetch import open_run

    run = open_run(run_directory, announce=announce)
    sources = _sources(files, cache_dir)
    texts = [_open(source, run.config.data, reading) for source in sources]
    names = ["-" if source is None else source.name for source in sources]
    if dask is not None:
        from textgen.evaluation.cluster_scoring import RunCopy, ScoringSettings, score_on_cluster

        sent = RunCopy(run, ScoringSettings(device, label, ngram))
        _print_lines(score_on_cluster(dask, sent, texts), texts, names, as_json)
    else:
        scorer = Scorer.from_run(run, device, set_threads, label, ngram=ngram)
        if by_line:
            _print_lines(_each(scorer, texts, context), texts, names, as_json)
        elif by_token:
            _print_tokens(scorer.read(texts[0].stream(), unbuffered=True), scorer, as_json)
        elif view:
            _print_view(scorer.read(texts[0].stream(), unbuffered=True))
        else:
            _print_summary(run, scorer, sources[0], texts[0], as_json)
    for name, text in zip(names, texts, strict=True):
        if text.skipped is not None:
            print(text.skipped if len(texts) == 1 else f"{name}: {text.skipped}", file=sys.stderr)


def _refuse_contradictions(given: dict[str, bool], of_lines: dict[str, bool]) -> None:
    """Refuse combinations in which an option would do nothing. Raises ConfigError.

    of_lines: what is only for --lines, and whether it was given.
    """
    for option in [option for option, is_given in of_lines.items() if is_given and not given["--lines"]]:
        raise ConfigError(f"{option} does nothing without --lines: give that too, or leave it out")
    if of_lines["--context"] and of_lines["--dask"]:
        raise ConfigError(
            "--context does not go with --dask, which scores lines at the same time: leave one of them out"
        )
    for options in CONTRADICTIONS:
        if len(found := [option for option in options if given[option]]) > 1:
            raise ConfigError(f"{found[0]} does not go with {found[1]}: leave one of them out")


def _sources(files: tuple[str, ...], cache_dir: str | None) -> list[TextFile | None]:
    """The FILEs, fetched where they are URLs; None for standard input. Raises ConfigError, CorpusError."""
    from textgen.system.progress import Reporter
    from textgen.text.formats import TextFile
    from textgen.text.remote.urls import is_url

    if cache_dir is not None and not any(map(is_url, files)):
        raise ConfigError("--cache-dir is for a FILE that is a URL: leave it out")
    sources = list[TextFile | None]()
    for file in files or ("-",):
        if file == "-":
            sources.append(None)
            continue
        name, fetched = fetched_file(file, cache_dir, Reporter(sys.stderr))
        sources.append(TextFile(fetched.get(name, Path(name)), name))
    if sources.count(None) > 1:
        raise ConfigError("- is standard input, which can be read once: name it once")
    return sources


def _each(
    scorer: Scorer, texts: Sequence[PlainText | Records], context: bool
) -> Generator[tuple[int, Line, Report], None, None]:
    """Each line or record of some texts, scored, after the index of its text."""
    for index, text in enumerate(texts):
        if context:
            scored = text.each_in_context(scorer.read(text.stream(), unbuffered=True))
        else:
            scored = text.each_alone(scorer)
        for line, report in scored:
            yield index, line, report


def _open(
    source: TextFile | None, run_data: DataConfig, reading: dict[str, str | None]
) -> PlainText | Records:
    """The text, read as that of the run but for the options of `reading`. Raises ConfigError, CorpusError."""
    from textgen.evaluation.scored_lines import PlainText, Records
    from textgen.text.formats import decode_stream, text_blocks
    from textgen.text.normalize import normalized
    from textgen.text.sources import print_typing_hint, require_reading

    data = run_data.for_text("-", **reading)
    if source is None:
        require_reading({"text"}, reading)
        print_typing_hint()
        stdin = cast(BufferedIOBase, sys.stdin.buffer)
        blocks = decode_stream(stdin, "standard input", data.encoding)
        return PlainText(normalized(blocks, data.normalize), data.documents)
    path = Path(source.path)
    if path.is_dir():
        raise CorpusError(f"{source.name}: a folder; name one file")
    if path.suffix.lower() == ".json" and path.exists() and not path.is_file():
        raise CorpusError(f"{source.name}: not a regular file, so it cannot be read twice; pipe it into `-`")
    kind = source.format
    require_reading({kind}, reading)
    if kind == "text":
        return PlainText(normalized(text_blocks(source, data.encoding), data.normalize), data.documents)
    return Records(source, data.field, data.encoding, data.delimiter_character, data.normalize)


def _progress(source: TextFile | None) -> Callable[[int], None] | None:
    """A function that shows the progress through a file; None where the size of the text is not known."""
    from textgen.system.progress import Reporter

    if source is None or not Path(source.path).is_file() or source.is_compressed:
        return None
    reporter, size = Reporter(sys.stderr), Path(source.path).stat().st_size
    return lambda done: reporter.work(f"scoring {source.name}", min(done, size), size)


def _print_lines(
    scored: Generator[tuple[int, Line, Report], None, None],
    texts: Sequence[PlainText | Records],
    names: Sequence[str],
    as_json: bool,
) -> None:
    """Print one line or record at a time, one that is too long for memory in pieces.

    JSON names the text where there are several.
    """
    with closing(scored):  # so that an interruption ends the work on a cluster
        for index, line, report in scored:
            unit = texts[index].unit
            if as_json:
                where = {"file": names[index]} if len(names) > 1 else {}
                figures = json.dumps(where | {unit: line.number} | report.as_dict(), allow_nan=False)
                sys.stdout.write(figures[:-1] + ', "text": "')
                sys.stdout.writelines(json.dumps(piece)[1:-1] for piece in line.without_end())
                sys.stdout.write('"}\n')
            else:
                sys.stdout.write(f"{report.bits_per_character:.3f}\t")
                pieces = line.without_end()
                # What is printed has a line for each record, whatever line ends are in it.
                sys.stdout.writelines(pieces if unit == "line" else (p.translate(LINE_ENDS) for p in pieces))
                sys.stdout.write("\n")
            sys.stdout.flush()


def _print_summary(
    run: Run, scorer: Scorer, source: TextFile | None, text: PlainText | Records, as_json: bool
) -> None:
    """Print the figures of a whole text. Raises CorpusError when there is none in it."""
    from textgen.evaluation.summary import summarize

    progress = _progress(source) if text.unit == "line" else None
    summary = summarize(scorer.read(text.stream()), progress, text)
    name = "standard input" if source is None else source.name
    if not summary.report.loss.tokens:
        raise CorpusError(f"{name}: there is no text in it; name another file")
    about: dict[str, object] = {"run": str(run.path), "text": "-" if source is None else name}
    if scorer.network_weight is not None:
        about["network_weight"] = scorer.network_weight
    if as_json:
        print(json.dumps(about | summary.as_dict(), allow_nan=False))
        return
    print("\n".join(_in_lines(summary)))
    if scorer.network_weight is not None:
        print(f"with the run's n-grams; weight of the network: {scorer.network_weight:.2f}")


def _print_tokens(pieces: Iterable[ScoredPiece], scorer: Scorer, as_json: bool) -> None:
    from textgen.cli.support.terminal import escaped

    for piece in pieces:
        for token in scorer.tokens(piece):
            if as_json:
                print(json.dumps(vars(token), allow_nan=False))
            else:
                print(f"{token.bits:.3f}\t{escaped(token.token)}")
        sys.stdout.flush()


def _print_view(pieces: Iterable[ScoredPiece]) -> None:
    from textgen.cli.support.terminal import coloured, legend
    from textgen.evaluation.score import Tally
    from textgen.system.terminal import unguarded

    if os.environ.get("NO_COLOR"):
        raise ConfigError("--view shows colours, but NO_COLOR is set: unset it, or use --tokens instead")
    out = unguarded(sys.stdout)  # for the colours; `coloured` makes control characters visible
    print(legend(), end="\n\n", file=out)
    tally, ended = Tally(), True
    for piece in pieces:
        tally.add(piece)
        for text in coloured(piece.by_character()):
            out.write(text)
            ended = text.endswith("\n")
        out.flush()
    if tally.report.loss.tokens:
        print("" if ended else "\n", *tally.report.lines(), sep="\n")


def _in_lines(summary: Summary) -> Iterator[str]:
    """The lines of the report, with those lines of the text that were hardest to predict."""
    from textgen.cli.support.terminal import escaped

    yield from summary.report.lines()
    if summary.num_lines <= MANY_LINES or not summary.hardest:
        return
    yield f"hardest of {summary.num_lines:,} {summary.unit}s, in bits/character:"
    width = len(f"{max(line.number for line in summary.hardest):,}")
    room = shutil.get_terminal_size().columns - width - len(summary.unit) - 14
    for line in summary.hardest:
        text = escaped(line.text)[1:-1]
        text = text if len(text) <= room else text[: max(room - 1, 0)] + "…"
        yield f"  {line.bits_per_character:7.3f}  {summary.unit} {line.number:{width},}  {text}"
