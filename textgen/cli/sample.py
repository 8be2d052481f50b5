"""`textgen sample`: generate text with a run."""

from __future__ import annotations

import dataclasses
import itertools
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.dynamic import adaptation_to, dynamic_options, take_dynamic_config
from textgen.cli.support.novelty import novelty_meter, novelty_options, take_novelty_config, training_corpus
from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    config_option,
    device_option,
    fetch_option,
    grouped_option,
    no_ngram_option,
    reading_options,
    refuse_reading,
    take_reading,
)
from textgen.cli.support.output import as_text, put, show, writable
from textgen.cli.support.prompts import form_note, given_prompt, prompts_of, read_escapes, typed_prompts
from textgen.cli.support.remote import announce, remote_texts
from textgen.errors import ConfigError, TextgenError, TrainingError
from textgen.settings.config import NoveltyConfig, SampleConfig
from textgen.settings.option import COUNT, Range
from textgen.system.threads import multiply_on_few_threads, numpy_threads

if TYPE_CHECKING:
    from textgen.analysis.novelty import NoveltyMeter
    from textgen.generation.generator import Generator
    from textgen.generation.processors import ProcessorFactory
    from textgen.generation.request import Request
    from textgen.generation.sample import Sample
    from textgen.run import Run
    from textgen.text.known_documents import KnownDocuments

EXAMPLES = (
    "textgen sample                                                   the newest run, without a prompt",
    'textgen sample runs/corpus --prompt "Once upon" --temperature 1  continue a prompt, more freely',
    "textgen sample runs/corpus --num-samples 5 --seed 1 --json       five texts as JSON, repeatable",
    "textgen sample runs/corpus --interactive                         continue one prompt after another",
    "textgen sample runs/corpus --adapt letters.txt                   after adapting to another text",
)
SAMPLING, COPYING, ADAPTATION = "Sampling", "Copying", "Adaptation"
COMMON_FIELDS = ("max_new_tokens", "temperature")  # of SampleConfig
ANY_SEED = Range(0, float("inf"), "0 or more")
RUNS = Path("runs")
PROMPTS_AT_ONCE = 64  # of --prompts, in one batch
CONTRADICTIONS = (
    ("--prompt-file", "--prompt"),
    ("--prompts", "--prompt", "--prompt-file"),
    ("--interactive", "--prompt", "--prompt-file", "--prompts", "--output", "--json", "--unique", "--novel"),
    ("--json", "--no-prompt"),
    ("--adapt -", "--interactive", "--prompt-file -", "--prompts -"),
    ("--prompts -", "--prompt-file -"),
)


def sampling_options(group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One option for each field of SampleConfig that belongs under this heading, in their order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(dataclasses.fields(SampleConfig)):
            if (entry.name in COMMON_FIELDS) == (group == COMMON):
                command = config_option(SampleConfig, entry.name, group=group)(command)
        return command

    return decorate


@click.command(
    name="sample", cls=GroupedCommand, examples=EXAMPLES,
    headings=(COMMON, SAMPLING, COPYING, ADAPTATION, OUTPUT),
)  # fmt: skip
@click.argument("run_directory", required=False, metavar="[RUN]")
@grouped_option(
    "--prompt", metavar="TEXT", group=COMMON, help="Continue this text; \\n, \\r, \\t and \\\\ are escapes."
)
@grouped_option(
    "--prompt-file", metavar="FILE", group=COMMON,
    help="Continue the text of a file, read as it is; - is standard input.",
)  # fmt: skip
@grouped_option(
    "--prompts", "prompts_file", metavar="FILE", group=COMMON,
    help="Continue each line of a file, as --prompt; - is standard input.",
)  # fmt: skip
@grouped_option(
    "--interactive", is_flag=True, group=COMMON,
    help="Read prompts from standard input, one per line.",
)  # fmt: skip
@sampling_options(COMMON)
@grouped_option(
    "--stop", multiple=True, metavar="TEXT", group=COMMON,
    help="Stop before this text; may be given several times.",
)  # fmt: skip
@grouped_option(
    "--num-samples", type=Number(int, COUNT), default=1, show_default=True, metavar="N", group=COMMON,
    help="Number of texts to write.",
)  # fmt: skip
@grouped_option(
    "--seed", type=Number(int, ANY_SEED), metavar="N", group=COMMON,
    help="The same seed writes the same text.  [default: random]",
)  # fmt: skip
@device_option("cpu", COMMON)
@no_ngram_option()
@sampling_options(SAMPLING)
@grouped_option(
    "--mid-text", is_flag=True, group=SAMPLING,
    help="Read the prompt as the middle of a text, not its beginning.",
)  # fmt: skip
@grouped_option("--label", metavar="NAME", group=SAMPLING, help="Write a text with this label.")
@grouped_option("--keep-stop", is_flag=True, group=SAMPLING, help="Write the --stop text too.")
@grouped_option("--unique", is_flag=True, group=COPYING, help="Write texts that differ from each other.")
@grouped_option(
    "--novel", is_flag=True, group=COPYING,
    help="Write texts that are no document of the training text, as --unique.",
)  # fmt: skip
@grouped_option(
    "--avoid-copy", type=Number(int, COUNT), metavar="N", group=COPYING,
    help="Copy at most N characters in a row from the training text.",
)  # fmt: skip
@grouped_option(
    "--novelty", is_flag=True, group=COPYING,
    help="Report how much of each text is copied from the training text.",
)  # fmt: skip
@novelty_options(["length"], COPYING)
@grouped_option(
    "--adapt", metavar="FILE", group=ADAPTATION,
    help="Let network and n-grams learn from a text first; - is standard input.",
)  # fmt: skip
@dynamic_options("adapt", ADAPTATION)
@reading_options("--adapt FILE", ADAPTATION)
@fetch_option(group=COPYING)
@grouped_option("--no-prompt", is_flag=True, group=OUTPUT, help="Do not repeat the prompt in the output.")
@grouped_option("--output", metavar="FILE", group=OUTPUT, help="Write to a file instead of standard output.")
@cache_dir_option("Cache of encoded and fetched text.")
@grouped_option(
    "--json", "as_json", is_flag=True, group=OUTPUT,
    help="Write one JSON object with texts, tokens and log-probabilities.",
)  # fmt: skip
def command(
    run_directory: str | None,
    prompt: str | None,
    prompt_file: str | None,
    prompts_file: str | None,
    no_prompt: bool,
    stop: tuple[str, ...],
    mid_text: bool,
    label: str | None,
    keep_stop: bool,
    unique: bool,
    novel: bool,
    adapt: str | None,
    fetch: bool,
    avoid_copy: int | None,
    novelty: bool,
    seed: int | None,
    num_samples: int,
    interactive: bool,
    output: str | None,
    device: str,
    ngram: bool,
    cache_dir: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Generate text with RUN, or with the newest run.

    RUN is a run's directory; the newest run is the one under runs/ that was trained last. In --prompt, --stop
    and the prompts of --interactive, \\n, \\r, \\t and \\\\ are a line end, a carriage return, a tab and a
    backslash.
    """
    given = {"--prompt": prompt is not None, "--prompt-file": prompt_file is not None}
    given |= {"--prompts": prompts_file is not None, "--unique": unique, "--novel": novel}
    given |= {"--interactive": interactive, "--output": output is not None}
    given |= {"--json": as_json, "--no-prompt": no_prompt}
    given |= {"--adapt -": adapt == "-", "--prompt-file -": prompt_file == "-"}
    given |= {"--prompts -": prompts_file == "-"}
    _refuse_contradictions({option for option, is_given in given.items() if is_given})
    reading = take_reading(settings)
    dynamic = take_dynamic_config("adapt", adapt is not None, settings)
    if adapt is None:
        refuse_reading("--adapt FILE", reading)
    measured = take_novelty_config(["length"], novelty, settings)
    if keep_stop and not stop:
        raise ConfigError("--keep-stop does nothing without --stop: give that too, or leave it out")
    if adapt is None and avoid_copy is None and not (novelty or novel):
        for option, is_given in {"--cache-dir": cache_dir is not None, "--fetch": fetch}.items():
            if is_given:
                raise ConfigError(
                    f"{option} does nothing without --adapt, --avoid-copy, --novel or --novelty: leave it out"
                )
    config = SampleConfig(**settings)
    stops = tuple(map(read_escapes, stop))
    target = writable(Path(output)) if output is not None else None
    prompts: Iterable[str]
    if interactive:
        prompts = typed_prompts()
    elif prompts_file is not None:
        prompts = prompts_of(prompts_file)
    else:
        prompts = [given_prompt(prompt, prompt_file)]
    set_threads = numpy_threads() if device == "cpu" and multiply_on_few_threads() else None
    run = _find_run(run_directory, cache_dir, fetch=fetch)
    from textgen.generation.generator import Generator
    from textgen.generation.mixed_engine import MixedEngine
    from textgen.generation.request import Request

    if adapt is None or dynamic is None:
        with _memory_errors(num_samples, device):
            generator = Generator.from_run(run, device, set_threads, ngram=ngram)
    else:
        adaptation = adaptation_to(
            run, adapt, dynamic, reading=reading, device=device, cache_dir=cache_dir, ngram=ngram
        )
        generator = Generator.adapted(run, adaptation.model, adaptation.companion(), set_threads)
        settings |= {"adapt": adapt} | {f"adapt_{name}": value for name, value in vars(dynamic).items()}
    if isinstance(generator.engine, MixedEngine):
        settings["network_weight"] = generator.engine.weight
    processors, meter = _copying(run, avoid_copy, measured, cache_dir)
    if avoid_copy is not None:
        settings["avoid_copy"] = avoid_copy
    like = Request(
        config=config, stop=stops, keep_stop=keep_stop, processors=processors, mid_text=mid_text, label=label,
        log_probabilities=True,
    )  # fmt: skip
    first_seed = secrets.randbits(32) if seed is None else seed
    # Each prompt has its own seed, so that the same prompt again gives another text.
    requests = (
        dataclasses.replace(like, prompt=text, seed=first_seed + number)
        for number, text in enumerate(prompts)
    )
    writer = _Writer(
        run, generator, meter, num_samples, device,
        with_prompt=not no_prompt, is_distinct=unique or novel,
        known=_training_documents(run) if novel else None,
    )  # fmt: skip
    if num_samples == 1 and not (unique or novel or as_json) and prompts_file is None and target is None:
        for request in requests:
            writer.stream(request)
    elif interactive:
        for request in requests:
            writer.write(writer.draw([request]), None)
    else:
        samples: list[Sample] = []
        while several := list(itertools.islice(requests, PROMPTS_AT_ONCE)):
            samples += writer.draw(several)
        if as_json:
            settings |= {"stop": stops, "num_samples": num_samples, "device": device}
            put(_as_json(run, first_seed, settings, samples, meter), target)
        else:
            writer.write(samples, target)


@dataclasses.dataclass
class _Writer:
    """Draws the texts of requests and writes them, with what the meter of --novelty finds.

    known: texts that do not count, for --novel; None: all count.
    """

    run: Run
    generator: Generator
    meter: NoveltyMeter | None
    num_samples: int
    device: str
    with_prompt: bool
    is_distinct: bool
    known: KnownDocuments | None

    def stream(self, request: Request) -> None:
        """Show one text while it is written."""
        self._warn([request])
        drawn: list[str] = []
        pieces = self.generator.stream_request(dataclasses.replace(request, log_probabilities=False))
        if self.meter is not None:
            pieces = _kept(pieces, drawn)
        with _memory_errors(self.num_samples, self.device):
            show(itertools.chain([str(request.prompt)], pieces) if self.with_prompt else pieces)
        _report(self.meter, ["".join(drawn)])

    def draw(self, requests: Sequence[Request]) -> list[Sample]:
        """num_samples texts for each request, in one batch unless they have to differ."""
        from textgen.generation.request import several_of

        self._warn(requests)
        with _memory_errors(self.num_samples, self.device):
            if self.is_distinct:
                return [sample for request in requests for sample in self._distinct(request)]
            copies = [copy for request in requests for copy in several_of(request, self.num_samples)]
            return self.generator.complete(copies)

    def _warn(self, requests: Sequence[Request]) -> None:
        """Say on stderr what training has not seen of the prompts."""
        if note := form_note(self.run.config, [str(request.prompt) for request in requests]):
            print(note, file=sys.stderr)
        _warn_of_unseen(self.generator, requests)

    def _distinct(self, request: Request) -> Sequence[Sample]:
        """Texts that differ from each other and from what is known; a warning if too few are found."""
        is_known = None if self.known is None else self.known.__contains__
        found = self.generator.distinct(request, self.num_samples, is_known)
        if len(found.samples) < self.num_samples:
            print(
                f"only {len(found.samples):,} of {self.num_samples:,} different texts were found in "
                f"{found.num_draws:,} draws: raise --temperature for more",
                file=sys.stderr,
            )
        return found.samples

    def write(self, samples: Sequence[Sample], target: Path | None) -> None:
        """Write texts to a file or to standard output."""
        data = self.run.config.data
        # Records, unless they have line ends themselves, are lines too.
        are_lines = data.field is not None and not any("\n" in sample.text for sample in samples)
        documents = "line" if are_lines else data.documents
        put(as_text(samples, with_prompt=self.with_prompt, documents=documents), target)
        _report(self.meter, [sample.text for sample in samples])


def _training_documents(run: Run) -> KnownDocuments:
    """The documents of the training text. Raises ConfigError where that is a single one, RunError."""
    from textgen.text.known_documents import KnownDocuments

    if run.config.data.document_kind == "file":
        raise ConfigError(
            f"--novel compares with documents, and those of {run.path} are whole files: "
            "use --novelty or --avoid-copy"
        )
    return KnownDocuments(training_corpus(run, "--novel").stream("train"))


@contextmanager
def _memory_errors(num_samples: int, device: str) -> Iterator[None]:
    """Report running out of memory, for the network or its texts, in one line. Raises TextgenError."""
    from textgen.system.memory import memory_errors

    try:
        with nullcontext() if device == "cpu" else memory_errors():  # which loads torch
            yield
    except (MemoryError, TrainingError) as error:
        advice = "--device cpu" if device != "cpu" else "fewer --max-new-tokens"
        if num_samples > 1:
            advice = f"fewer --num-samples than {num_samples:,}, or {advice}"
        raise TextgenError(f"out of memory: this machine has too little for that; use {advice}") from error


def _warn_of_unseen(generator: Generator, requests: Sequence[Request]) -> None:
    counts = [generator.count_unseen(str(request.prompt)) for request in requests]
    unseen, total = sum(unseen for unseen, _ in counts), sum(total for _, total in counts)
    if unseen:
        owner = "the prompt's" if len(requests) == 1 else "the prompts'"
        print(f"{unseen:,} of {owner} {total:,} tokens were never seen in training", file=sys.stderr)


def _copying(
    run: Run, avoid_copy: int | None, measured: NoveltyConfig | None, cache_dir: str | None
) -> tuple[list[ProcessorFactory], NoveltyMeter | None]:
    """The processors for --avoid-copy and the meter for --novelty, on one index of the training text."""
    if avoid_copy is None and measured is None:
        return [], None
    from textgen.analysis.real_text import RealText
    from textgen.generation.processors import CopyLimit
    from textgen.system.progress import Reporter
    from textgen.text.cache import record_use
    from textgen.text.copies import Copies
    from textgen.text.store import default_cache_dir

    reporter = Reporter(sys.stderr)
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    corpus = training_corpus(run, "--novelty" if avoid_copy is None else "--avoid-copy")
    processors: list[ProcessorFactory] = []
    meter = None
    if avoid_copy is not None:
        copies = Copies.open_or_build(corpus, cache, reporter.work)
        record_use(copies.path, run.config.data.corpus, run.path)
        processors.append(CopyLimit(copies, avoid_copy))
        if measured is None:  # else the meter's report includes the remarks
            for remark in copies.remarks():
                reporter.line(remark)
    if measured is not None:
        real = RealText("val", corpus.stream("val"))
        meter = novelty_meter(run, corpus, real, measured.length, cache, reporter.work)
    return processors, meter


def _kept(pieces: Iterator[str], kept: list[str]) -> Iterator[str]:
    """Yield the pieces and append each to a list."""
    for piece in pieces:
        kept.append(piece)
        yield piece


def _report(meter: NoveltyMeter | None, texts: list[str]) -> None:
    if meter is not None:
        for line in meter.lines_of_each(meter.report(texts)):
            print(line, file=sys.stderr)


def _refuse_contradictions(given: set[str]) -> None:
    """Raises ConfigError for options that exclude each other."""
    for option, *others in CONTRADICTIONS:
        for other in others:
            if {option, other} <= given:
                raise ConfigError(f"{option} does not go with {other}: leave one of them out")


def _find_run(directory: str | None, cache_dir: str | None, *, fetch: bool) -> Run:
    from textgen.hub.fetch import open_run
    from textgen.run import newest_run
    from textgen.system.progress import Reporter

    if directory is None:
        directory = str(newest_run(RUNS).path)
        print(f"run: {directory}", file=sys.stderr)
    # Most samples need no training text, and so no cache.
    needed = fetch or cache_dir is not None
    remote = remote_texts(cache_dir, Reporter(sys.stderr), fetch=fetch) if needed else None
    return open_run(directory, remote, announce)


def _as_json(
    run: Run, seed: int, settings: dict[str, Any], samples: list[Sample], meter: NoveltyMeter | None
) -> str:
    found = [dataclasses.asdict(sample) for sample in samples]
    content = {"run": str(run.path), "seed": seed, "settings": settings, "samples": found}
    if meter is not None:
        report = meter.report([sample.text for sample in samples])
        content["novelty"] = report.reference()
        for sample, novelty in zip(found, report.samples, strict=True):
            sample["novelty"] = novelty.as_dict()
    return json.dumps(content, allow_nan=False)
