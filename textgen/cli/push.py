"""`textgen push`: push a run to the Hugging Face Hub."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from textgen.cli.support.options import COMMON, OUTPUT, GroupedCommand, grouped_option, json_option
from textgen.cli.support.remote import announce

EXAMPLES = (
    "textgen push runs/tales ada/tales --license mit --dry-run  show what would be sent",
    "textgen push runs/tales ada/tales --license cc-by-4.0      push it",
    "textgen push runs/tales ada/tales --license mit --private  to a repository that only you see",
)


@click.command(name="push", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, OUTPUT))
@click.argument("run_directory", metavar="RUN")
@click.argument("name", metavar="USER/NAME")
@grouped_option(
    "--license", metavar="ID", group=COMMON,
    help="Licence of the model: mit, cc-by-4.0, other, ...; required.",
)  # fmt: skip
@grouped_option("--private", is_flag=True, group=COMMON, help="Make a repository that only you can see.")
@grouped_option("--revision", metavar="BRANCH", group=COMMON, help="Push to this branch.  [default: main]")
@grouped_option(
    "--ngram", is_flag=True, group=COMMON, help="Send the n-grams too; they hold pieces of the text."
)
@grouped_option("--dry-run", is_flag=True, group=COMMON, help="Show what would be sent, and send nothing.")
@json_option("the result")
def command(
    run_directory: str,
    name: str,
    license: str | None,
    private: bool,
    revision: str | None,
    ngram: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Push RUN to the Hugging Face Hub, with a model card.

    Everybody can use it there by hf:USER/NAME. Sent are the network, its tokenizer, settings and
    measurements; of paths only file names, and no text, unless --ngram is given. Log in first with
    `hf auth login`, or set HF_TOKEN. Needs the extra `hub`.
    """
    import json

    from textgen.hub.fetch import open_run
    from textgen.hub.licenses import check_license
    from textgen.hub.push import prepare, upload
    from textgen.hub.repository import PREFIX, Repository, hub_library
    from textgen.system.progress import Reporter

    repository = Repository(name.removeprefix(PREFIX), revision)
    license = check_license(license)
    hub_library()  # so that it is missed before a run is loaded
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    run = open_run(run_directory, announce=announce)
    with tempfile.TemporaryDirectory(prefix="textgen-push-") as folder:
        prepared = prepare(run, repository, Path(folder), license=license, ngram=ngram)
        kind = " (private)" if private else ""
        reporter.line(f"{'Would be sent' if dry_run else 'Sending'} to {repository}{kind}:")
        for line in prepared.lines():
            reporter.line(line)
        commit = None if dry_run else upload(prepared, repository, private=private)
        if dry_run:
            reporter.line(f"\n{prepared.card}")
        else:
            reporter.line(f"Pushed: {commit}\nUse it with: textgen sample {repository}")
        if as_json:
            result = {"repository": str(repository), "files": prepared.files, "commit": commit}
            print(json.dumps(result | {"card": prepared.card}))
