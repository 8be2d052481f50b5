"""`textgen eval`: measure how well a run predicts a text."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any, cast

import click

from textgen.cli.support.dynamic import dynamic_options, take_dynamic_config, training_store
from textgen.cli.support.novelty import (
    ALL_FIELDS,
    novelty_meter,
    novelty_options,
    take_novelty_config,
    training_corpus,
)
from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    cache_size_option,
    device_option,
    fetch_option,
    grouped_option,
    json_option,
    no_ngram_option,
    reading_options,
    refuse_reading,
    take_reading,
)
from textgen.cli.support.remote import announce, fetched_file, remote_texts
from textgen.errors import ConfigError
from textgen.settings.config import TEXT
from textgen.settings.option import COUNT, flag

if TYPE_CHECKING:
    from textgen.evaluation.report import DynamicReport, MixtureReport, Report


EXAMPLES = (
    "textgen eval runs/corpus               on its validation text",
    "textgen eval runs/corpus --part test   on the test text that was set aside",
    "textgen eval runs/corpus other.txt     on another text",
    "textgen eval runs/corpus --dynamic     learning from the text as it is read",
    "textgen eval runs/corpus --novelty     and how much of its samples is copied",
)
DYNAMIC, NOVELTY = "Dynamic evaluation", "Novelty"


@click.command(
    name="eval", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, TEXT, DYNAMIC, NOVELTY, OUTPUT)
)
@click.argument("run_directory", metavar="RUN")
@click.argument("file", required=False)
@grouped_option(
    "--part", type=click.Choice(["val", "test", "train"]), group=COMMON,
    help="Part of the run's corpus, or of encoded text.  [default: val]",
)  # fmt: skip
@grouped_option(
    "--window", "reset_every", type=Number(int, COUNT), metavar="N", group=COMMON,
    help="Reset the state every N tokens.  [default: never]",
)  # fmt: skip
@device_option("auto", COMMON)
@no_ngram_option()
@reading_options("FILE")
@fetch_option()
@grouped_option(
    "--dynamic", "is_dynamic", is_flag=True, group=DYNAMIC,
    help="Let network and n-grams learn from the text as they read it.",
)  # fmt: skip
@dynamic_options("dynamic", DYNAMIC)
@grouped_option(
    "--novelty", is_flag=True, group=NOVELTY,
    help="Also sample texts and measure how much of them is copied.",
)  # fmt: skip
@novelty_options(ALL_FIELDS, NOVELTY)
@cache_dir_option()
@cache_size_option()
@json_option("the results")
def command(
    run_directory: str,
    file: str | None,
    part: str | None,
    reset_every: int | None,
    is_dynamic: bool,
    novelty: bool,
    fetch: bool,
    cache_size: int | None,
    device: str,
    ngram: bool,
    cache_dir: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure how well RUN predicts its validation text or FILE.

    FILE may be a URL, - for standard input, or a folder of `textgen encode` or its URL. Every token is
    predicted once, and the state is carried through the whole text; a long text is read as several segments
    in parallel. Where RUN was trained on records, a line of a plain text is a document.
    """
    from textgen.analysis.real_text import RealText
    from textgen.evaluation.adaptation import adapt
    from textgen.evaluation.evaluate import MAX_SEGMENTS, evaluate_run
    from textgen.evaluation.with_ngrams import evaluate_run_with_ngrams
    from textgen.generation.generator import Generator
    from textgen.hub.fetch import open_run
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.text.corpus import Corpus
    from textgen.text.opening import open_encoded
    from textgen.text.sources import standard_input
    from textgen.text.store import TokenStore

    reading = take_reading(settings)
    dynamic = take_dynamic_config("dynamic", is_dynamic, settings)
    if dynamic is not None and reset_every is not None:
        raise ConfigError(
            "--window does not go with --dynamic, whose weights carry over from window to window: "
            "leave one of them out"
        )
    measured = take_novelty_config(ALL_FIELDS, novelty, settings)
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    remote = remote_texts(cache_dir, reporter, fetch=fetch, cache_size=cache_size)
    run, cache = open_run(run_directory, remote, announce), remote.cache_dir
    trained_on = None if measured is None else training_corpus(run, "--novelty")
    if file is None:
        refuse_reading("FILE", reading)
        store = run.open_store(cache, reporter.work)
        part = run.require_part(store, part or "val")
        real = None if trained_on is None else RealText(part, trained_on.stream(part))
    elif (encoded := open_encoded((file,), remote)) is not None:
        if given := [flag(name) for name, value in reading.items() if value is not None]:
            raise ConfigError(f"{file}: its text is encoded already: leave out {', '.join(given)}")
        for note in encoded.notes:
            print(note, file=sys.stderr)
        file = encoded.name
        store = cast(TokenStore, encoded.corpus.store_of(run.tokenizer))
        if store.manifest.labels not in ((), run.config.model.labels):
            raise ConfigError(f"{file}: was encoded with other labels than those of {run.path}")
        part = part or ("val" if "val" in store.parts else store.parts[0])
        if part not in store.parts:
            raise ConfigError(f"--part {part}: {file} has only {', '.join(store.parts)}")
        real = None if trained_on is None else RealText(file, encoded.corpus.stream(part))
    else:
        if part is not None:
            raise ConfigError("--part is for the run's own corpus: leave it out, or leave FILE out")
        file, fetched = fetched_file(file, cache_dir, reporter)
        with standard_input((file,)) as stdin:
            corpus = Corpus.whole(run.config.data, file, stdin, fetched=fetched, **reading)
            store = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work)
            part = corpus.parts[0]
            real = None if trained_on is None else RealText(file, corpus.stream(part))
    places = 1 if reset_every is not None or dynamic is not None else MAX_SEGMENTS
    store.read_at({part: places}, f"a text is evaluated at {places} places at the same time")
    with memory_errors():
        where = resolve_device(device)
        report: Report | DynamicReport | MixtureReport
        if dynamic is None:
            evaluated = evaluate_run_with_ngrams if ngram else evaluate_run
            report = evaluated(
                run, store, part, device=where, reset_every=reset_every, progress=reporter.work
            )
        else:
            report = adapt(
                run,
                store,
                part,
                dynamic,
                device=where,
                training_store=lambda: training_store(run, "dynamic", cache, reporter.work),
                ngram=ngram,
                progress=reporter.work,
            ).report
        figures: dict[str, Any] = dict(report.as_dict())
        lines = report.lines()
        if measured is not None and trained_on is not None and real is not None:
            meter = novelty_meter(run, trained_on, real, measured.length, cache, reporter.work)
            found = meter.report_on(Generator.from_run(run, where, ngram=ngram), measured)
            figures["novelty"] = found.as_dict() | {"settings": dataclasses.asdict(measured)}
            lines += ["", *meter.lines(found)]
    if as_json:
        source = {"run": str(run.path), "text": file or part, "window": reset_every}
        print(json.dumps(source | figures, allow_nan=False))
        return
    for line in lines:
        reporter.line(line)
