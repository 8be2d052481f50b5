"""`textgen sample`: a run writes new text."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.atomic import write_file
from textgen.cli.dynamic import adapted_model, dynamic_options, take_dynamic_config
from textgen.cli.options import config_option
from textgen.config import DEVICES, SampleConfig
from textgen.device import multiply_on_few_threads, numpy_threads
from textgen.errors import ConfigError, TextgenError

if TYPE_CHECKING:
    from textgen.generation.draft import Sample
    from textgen.run import Run

RUNS = Path("runs")
ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
CONTRADICTIONS = (
    ("--prompt-file", "--prompt"),
    ("--interactive", "--prompt", "--prompt-file", "--output", "--json"),
    ("--json", "--no-prompt"),
    ("--adapt -", "--interactive", "--prompt-file -"),
)
RULE = "-" * 12
SECONDS_BETWEEN_FLUSHES = 1 / 30  # to a terminal: as often as an eye can tell


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for every field of SampleConfig, in their order."""
    for entry in reversed(dataclasses.fields(SampleConfig)):
        command = config_option(SampleConfig, entry.name)(command)
    return command


@click.command(name="sample")
@click.argument("run_directory", required=False, metavar="[RUN]")
@click.option("--prompt", metavar="TEXT", help="Text to go on from; \\n, \\t and \\\\ are read.")
@click.option(
    "--prompt-file", metavar="FILE", help="Go on from the text of a file, as it is; - is standard input."
)
@click.option("--no-prompt", is_flag=True, help="Do not repeat the prompt in the output.")
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    help="End before this text; \\n, \\t and \\\\ are read. May be given several times.",
)
@sampling_options
@click.option(
    "--adapt",
    metavar="FILE",
    help="Lean towards a text first: the weights follow it once; - is standard input.",
)
@dynamic_options("adapt")
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Same seed, same text.  [default: random]"
)
@click.option(
    "--num-samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Texts to draw side by side.",
)
@click.option(
    "--interactive", is_flag=True, help="Read prompts from standard input, one a line, as --prompt is read."
)
@click.option(
    "--output", metavar="FILE", help="Write to a file, whole or not at all, instead of standard output."
)
@click.option(
    "--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Where the network runs."
)
@click.option(
    "--cache-dir", metavar="DIR", help="Where --adapt keeps encoded text.  [default: the user's cache]"
)
@click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON object: texts, tokens, log-probabilities."
)
def command(
    run_directory: str | None,
    prompt: str | None,
    prompt_file: str | None,
    no_prompt: bool,
    stop: tuple[str, ...],
    adapt: str | None,
    seed: int | None,
    num_samples: int,
    interactive: bool,
    output: str | None,
    device: str,
    cache_dir: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write new text with RUN, a run's directory; by default the newest one under runs/ that has weights."""
    given = {"--prompt": prompt is not None, "--prompt-file": prompt_file is not None}
    given |= {"--interactive": interactive, "--output": output is not None}
    given |= {"--json": as_json, "--no-prompt": no_prompt}
    given |= {"--adapt -": adapt == "-", "--prompt-file -": prompt_file == "-"}
    _refuse_contradictions({option for option, is_given in given.items() if is_given})
    dynamic = take_dynamic_config("adapt", adapt is not None, settings)
    if adapt is None and cache_dir is not None:
        raise ConfigError("--cache-dir does nothing without --adapt: leave it out")
    config = SampleConfig(**settings)
    stops = tuple(map(read_escapes, stop))
    target = _writable(Path(output)) if output is not None else None
    prompts = _typed_prompts() if interactive else iter([_given_prompt(prompt, prompt_file)])
    set_threads = numpy_threads() if device == "cpu" and multiply_on_few_threads() else None
    run = _find_run(run_directory)
    from textgen.generation.generator import Generator

    if adapt is None or dynamic is None:
        generator = Generator.from_run(run, device, set_threads)
    else:
        adapted = adapted_model(run, adapt, dynamic, device=device, cache_dir=cache_dir)
        generator = Generator(adapted, run.tokenizer, set_threads)
        settings |= {"adapt": adapt} | {f"adapt_{name}": value for name, value in vars(dynamic).items()}
    # Interactively each prompt has its own seed, so that asking again gives another answer.
    seeds = itertools.count(secrets.randbits(32) if seed is None else seed)
    for text, text_seed in zip(prompts, seeds, strict=False):
        if not as_json and target is None and num_samples == 1:
            pieces = generator.stream(text, stop=stops, seed=text_seed, config=config)
            show(pieces if no_prompt else itertools.chain([text], pieces))
            continue
        samples = generator.generate(text, num_samples=num_samples, stop=stops, seed=text_seed, config=config)
        if as_json:
            settings |= {"stop": stops, "num_samples": num_samples, "device": device}
            content = _as_json(run, text_seed, settings, samples)
        else:
            content = _as_text(samples, with_prompt=not no_prompt)
        _put(content, target)


def read_escapes(text: str) -> str:
    r"""Read \n, \t and \\ as the characters they stand for, and no other escape.

    >>> read_escapes(r"a\tb\d") == "a" + chr(9) + r"b\d"
    True
    """
    return re.sub(r"\\[nt\\]", lambda escape: ESCAPES[escape[0]], text)


def _refuse_contradictions(given: set[str]) -> None:
    """Raises ConfigError when options were given of which one would do nothing."""
    for option, *others in CONTRADICTIONS:
        for other in others:
            if {option, other} <= given:
                raise ConfigError(f"{option} does not go with {other}: leave one of them out")


def _given_prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt_file is None:
        return read_escapes(prompt or "")
    try:
        content = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise ConfigError(f"--prompt-file {prompt_file}: {error.strerror}") from error
    try:
        return content.decode("utf-8").removeprefix("\ufeff")  # a byte-order mark is not part of the text
    except UnicodeDecodeError as error:
        raise ConfigError(f"--prompt-file {prompt_file}: not UTF-8 at byte {error.start}") from error


def _typed_prompts() -> Iterator[str]:
    """The lines of standard input as they come; asked for where a person types them."""
    asks = sys.stdin.isatty()
    while True:
        if asks:
            print("> ", end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not {sys.stdin.encoding} text ({error.reason})") from error
        if not line:
            return
        yield read_escapes(line.removesuffix("\n"))


def _writable(path: Path) -> Path:
    """Where to write, checked before anything is drawn. Raises ConfigError."""
    path = path.resolve()  # a link stays one: what it points to is written
    if path.exists() and not path.is_file():
        raise ConfigError(f"--output {path}: not a file; name a file to write")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--output {path}: cannot write into {path.parent}; name another place")
    return path


def _find_run(directory: str | None) -> Run:
    from textgen.run import Run, newest_run

    if directory is not None:
        return Run(directory)
    run = newest_run(RUNS)
    print(f"run: {run.path}", file=sys.stderr)
    return run


def _as_text(samples: list[Sample], *, with_prompt: bool) -> str:
    """All samples, each ending with a newline, and between them a line that says which comes."""
    texts = [_whole_lines((sample.prompt if with_prompt else "") + sample.text) for sample in samples]
    headings = [f"{RULE} sample {number} of {len(texts)} {RULE}\n" for number in range(2, len(texts) + 1)]
    return "".join(itertools.chain([texts[0]], *zip(headings, texts[1:], strict=True)))


def _as_json(run: Run, seed: int, settings: dict[str, Any], samples: list[Sample]) -> str:
    found = [dataclasses.asdict(sample) for sample in samples]
    return json.dumps({"run": str(run.path), "seed": seed, "settings": settings, "samples": found})


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _put(content: str, target: Path | None) -> None:
    """Write to the file, whole or not at all, or to standard output."""
    if target is None:
        show([content])
        return
    try:
        write_file(target, _whole_lines(content))
    except OSError as error:
        raise TextgenError(f"--output {target}: {error.strerror}; nothing was written") from error


def show(pieces: Iterable[str]) -> None:
    """Write to standard output, to a terminal as pieces come, to a pipe in blocks; ends with a newline."""
    out = sys.stdout
    # Whoever sets PYTHONUNBUFFERED wants to see text as it comes, but not to pay a system call a character.
    unbuffered = isinstance(out, io.TextIOWrapper) and out.write_through
    at_once = unbuffered or out.isatty()
    if isinstance(out, io.TextIOWrapper):
        # Text is written as drawn, "\r\n" too; what the encoding has no character for becomes "?".
        out.reconfigure(errors="replace", newline="", line_buffering=False, write_through=False)
    flushed, last = 0.0, ""
    try:
        for piece in pieces:
            out.write(piece)
            last = piece or last
            if piece and at_once and time.monotonic() - flushed > SECONDS_BETWEEN_FLUSHES:
                out.flush()
                flushed = time.monotonic()
    finally:
        # After Ctrl-C too: what was drawn stays, on lines of its own.
        if not last.endswith("\n"):
            out.write("\n")
        out.flush()
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(write_through=unbuffered)
