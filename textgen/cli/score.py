"""`textgen score`: what a text costs under a run, in all, line by line or token by token."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DEVICES
from textgen.system.threads import multiply_on_few_threads, numpy_threads

if TYPE_CHECKING:
    from textgen.evaluation.report import Report
    from textgen.evaluation.score import ScoredPiece, Scorer
    from textgen.evaluation.summary import Summary
    from textgen.text.documents import Separator
    from textgen.text.lines import Line

MANY_LINES = 10  # of fewer the hardest are found by eye
CONTRADICTIONS = (("--lines", "--tokens", "--view"), ("--view", "--json"))


@click.command(name="score")
@click.argument("run_directory", metavar="RUN")
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option(
    "--lines", "by_line", is_flag=True,
    help="Print each line after its bits/character and a tab; each is read by itself, its line end included.",
)  # fmt: skip
@click.option(
    "--context", is_flag=True, help="With --lines, read each line as going on from those before it."
)
@click.option(
    "--tokens", "by_token", is_flag=True, help="Print each token, as a JSON string, after its bits and a tab."
)
@click.option(
    "--view",
    is_flag=True,
    help="Print the text coloured by surprise: the more bits, the stronger the colour.",
)
@click.option("--encoding", metavar="TEXT", help="The text's encoding.  [default: the corpus's]")
@click.option(
    "--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Where the network runs."
)
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print one JSON object; with --lines or --tokens, one for each of them.",
)  # fmt: skip
def command(
    run_directory: str,
    file: str | None,
    by_line: bool,
    context: bool,
    by_token: bool,
    view: bool,
    encoding: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Say how well RUN predicts a text: FILE, or standard input.

    A bit is one yes-or-no question: text that RUN predicts well takes few bits a character, odd text many.
    FILE is read as plain text; what comes through a pipe is answered as it comes.
    """
    _refuse_contradictions(
        {"--lines": by_line, "--tokens": by_token, "--view": view, "--json": as_json}, context
    )
    set_threads = numpy_threads() if device == "cpu" and multiply_on_few_threads() else None
    from textgen.evaluation.score import Scorer
    from textgen.evaluation.summary import CountedLines, lines_in_context, score_each_line, summarize
    from textgen.run import Run
    from textgen.text.documents import split_documents

    run = Run(run_directory)
    data = run.config.data.for_text(file or "-", encoding=encoding)
    blocks = CountedLines(_blocks(file, data.encoding), data.documents)
    scorer = Scorer.from_run(run, device, set_threads)

    def pieces(*, unbuffered: bool) -> Iterator[ScoredPiece]:
        stream: Iterable[str | Separator] = split_documents(blocks, data.documents)
        return scorer.read(stream, unbuffered=unbuffered)

    if by_line:
        scored = (
            lines_in_context(pieces(unbuffered=True), counted=blocks)
            if context
            else score_each_line(scorer, blocks, data.documents)
        )
        _print_lines(scored, as_json)
    elif by_token:
        _print_tokens(pieces(unbuffered=True), scorer, as_json)
    elif view:
        _print_view(pieces(unbuffered=True))
    else:
        summary = summarize(pieces(unbuffered=False), _progress(file), blocks)
        if not summary.report.loss.tokens:
            raise CorpusError(f"{file or 'standard input'}: there is no text in it; name another")
        source = {"run": str(run.path), "text": file or "-"}
        if as_json:
            print(json.dumps(source | summary.as_dict(), allow_nan=False))
        else:
            print("\n".join(_in_lines(summary)))


def _refuse_contradictions(given: dict[str, bool], context: bool) -> None:
    """Raises ConfigError when options were given of which one would do nothing."""
    if context and not given["--lines"]:
        raise ConfigError("--context does nothing without --lines: give that too, or leave it out")
    for options in CONTRADICTIONS:
        if len(found := [option for option in options if given[option]]) > 1:
            raise ConfigError(f"{found[0]} does not go with {found[1]}: leave one of them out")


def _blocks(file: str | None, encoding: str) -> Iterator[str]:
    """The text, in blocks as they come. Raises CorpusError."""
    from textgen.text.formats import TextFile, decode_stream, text_blocks
    from textgen.text.sources import print_typing_hint

    if file is None or file == "-":
        print_typing_hint()
        return decode_stream(cast(BufferedIOBase, sys.stdin.buffer), "standard input", encoding)
    source = TextFile(Path(file), file)
    if source.path.is_dir():
        raise CorpusError(f"{file}: a folder; name one file")
    if source.format != "text":
        raise CorpusError(
            f"{file}: score reads plain text; pipe its field in, or use `textgen eval RUN FILE --field NAME`"
        )
    return text_blocks(source, encoding)


def _progress(file: str | None) -> Callable[[int], None] | None:
    """Shows how far a file is read, where its size is that of its text; None elsewhere."""
    from textgen.system.progress import Reporter

    path = Path(file or "-")
    if file == "-" or not path.is_file() or path.suffix.lower() == ".gz":
        return None
    reporter, size = Reporter(sys.stderr), path.stat().st_size
    return lambda done: reporter.work(f"scoring {file}", min(done, size), size)


def _print_lines(scored: Iterable[tuple[Line, Report]], as_json: bool) -> None:
    """A line at a time, in pieces where it is too long for memory."""
    for number, (line, report) in enumerate(scored, start=1):
        if as_json:
            figures = json.dumps({"line": number} | report.as_dict(), allow_nan=False)
            sys.stdout.write(figures[:-1] + ', "text": "')
            sys.stdout.writelines(json.dumps(piece)[1:-1] for piece in line.without_end())
            sys.stdout.write('"}\n')
        else:
            sys.stdout.write(f"{report.bits_per_character:.3f}\t")
            sys.stdout.writelines(line.without_end())
            sys.stdout.write("\n")
        sys.stdout.flush()


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

    if os.environ.get("NO_COLOR"):
        raise ConfigError("--view is nothing but colour, and NO_COLOR is set: unset it, or give --tokens")
    print(legend(), end="\n\n")
    tally, ended = Tally(), True
    for piece in pieces:
        tally.add(piece)
        for text in coloured(piece.by_character()):
            sys.stdout.write(text)
            ended = text.endswith("\n")
        sys.stdout.flush()
    if tally.report.loss.tokens:
        print("" if ended else "\n", *tally.report.lines(), sep="\n")


def _in_lines(summary: Summary) -> Iterator[str]:
    """The figures for a person, and the lines that were hardest to predict."""
    from textgen.cli.support.terminal import escaped

    yield from summary.report.lines()
    if summary.num_lines <= MANY_LINES or not summary.hardest:
        return
    yield f"hardest of {summary.num_lines:,} lines, in bits/character:"
    width = len(f"{max(line.number for line in summary.hardest):,}")
    room = shutil.get_terminal_size().columns - width - 18
    for line in summary.hardest:
        text = escaped(line.text)[1:-1]
        text = text if len(text) <= room else text[: max(room - 1, 0)] + "…"
        yield f"  {line.bits_per_character:7.3f}  line {line.number:{width},}  {text}"
