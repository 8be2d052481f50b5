"""`textgen info`: describe a run, or list all runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.options import OUTPUT, GroupedCommand, json_option
from textgen.cli.support.remote import announce
from textgen.errors import TextgenError
from textgen.system.terminal import NEWLINE_PICTURE

if TYPE_CHECKING:
    from textgen.run import Run


EXAMPLES = (
    "textgen info              list the runs in runs/",
    "textgen info runs/corpus  describe one run",
)


@click.command(name="info", cls=GroupedCommand, examples=EXAMPLES, headings=(OUTPUT,))
@click.argument("run_directory", metavar="[RUN]", required=False)
@json_option("everything")
def command(run_directory: str | None, as_json: bool) -> None:
    """Describe RUN, or list the runs in runs/.

    Shown are the network, the corpus, the training time and the best validation loss.
    """
    from textgen.hub.fetch import open_run
    from textgen.run import all_runs

    if run_directory is not None:
        facts = open_run(run_directory, announce=announce).facts()
        print(json.dumps(facts) if as_json else _in_lines(facts))
        return
    listed = [_facts_or_error(run) for run in all_runs(Path("runs"))]
    if as_json:
        print(json.dumps({"runs": listed}))
    elif not listed:
        print("No runs in runs/ yet. Train one with: textgen train CORPUS")
    else:
        for facts in listed:
            print(_line(f"{facts['run']}: {facts.get('error') or _summary(facts)}"))


def _facts_or_error(run: Run) -> dict[str, Any]:
    """A run's facts, or why they cannot be read, so that one damaged run does not hide the others."""
    try:
        return run.facts()
    except TextgenError as error:
        return {"run": str(run.path), "error": f"not readable ({error})"}


def _summary(facts: dict[str, Any]) -> str:
    return f"{facts['network']}, {_best(facts)}, {facts['status']}{_rounded(facts)}{_cut(facts)}"


def _status(facts: dict[str, Any]) -> str:
    resume = f"; resume with: textgen train --resume {facts['run']}"
    return f"{facts['status']}{_cut(facts)}{resume if facts['status'] == 'not complete' else ''}"


def _cut(facts: dict[str, Any]) -> str:
    return "; the end of metrics.jsonl is missing" if facts["metrics_cut_short"] else ""


def _best(facts: dict[str, Any]) -> str:
    if facts["best"] is None:
        return "not evaluated yet" if facts["validates"] else "not validated"
    return f"{facts['best']['nats_per_token']:.4f} nats/token"


def _rounded(facts: dict[str, Any]) -> str:
    return "" if facts["weights"] in ("float32", None) else f"; weights rounded to {facts['weights']}"


def _in_lines(facts: dict[str, Any]) -> str:
    lines = {
        "run": facts["run"],
        "status": _status(facts),
        "network": f"{facts['network']}; {facts['parameters']:,} parameters{_rounded(facts)}",
        "tokenizer": f"{facts['tokenizer']}, {facts['vocab_size']:,} distinct tokens in the training text",
        "corpus": f"{', '.join(facts['corpus'])}; {facts['train_characters']:,} characters to train on",
        "training": f"{facts['settings']}; {facts['steps']:,} steps in {facts['seconds']:.0f} s",
        "validation": _validation(facts) if facts["validates"] else "none",
    }
    for entry in facts["remote"]:
        lines.setdefault("fetched", "")
        lines["fetched"] += f"{', ' if lines['fetched'] else ''}{entry['url']}, SHA-256 {entry['sha256']}"
    if facts["ngrams"]:
        lines["n-grams"] = f"{_with_ngrams(facts)}; they hold pieces of the training text"
    if facts["from_run"] is not None:
        lines["started from"] = facts["from_run"]
    width = max(map(len, lines)) + 2
    return "\n".join(_line(f"{name + ':':<{width}}{value}") for name, value in lines.items())


def _line(text: str) -> str:
    """A text with symbols for its newlines, so that no name looks like a line of ours."""
    return text.replace("\n", NEWLINE_PICTURE)


def _with_ngrams(facts: dict[str, Any]) -> str:
    figures = facts["with_ngrams"]
    if figures is None:
        return "yes, but the loss with them is in no measurement of the run: textgen eval measures it"
    return (
        f"with them {figures['nats_per_token']:.4f} nats/token, "
        f"{figures['bits_per_character']:.4f} bits/character"
    )


def _validation(facts: dict[str, Any]) -> str:
    best = facts["best"]
    if best is None:
        return "not evaluated yet"
    figures = [f"{best['nats_per_token']:.4f} nats/token"]
    if "bits_per_character" in best:
        figures += [
            f"{best['bits_per_character']:.4f} bits/character",
            f"{best['bits_per_byte']:.4f} bits/byte",
        ]
        figures += [f"perplexity {best['perplexity_per_token']:.2f} per token"]
    about = ["all validation text" if len(figures) > 1 else "during training"]
    about += ["the network alone"] if facts["ngrams"] else []
    about += [f"before its weights were rounded to {facts['weights']}"] if _rounded(facts) else []
    return f"{', '.join(figures)} ({', '.join(about)})"
