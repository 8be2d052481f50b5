"""`textgen encode`: encode a text ahead of training, in shards."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    Number,
    cache_dir_option,
    config_option,
    grouped_option,
    json_option,
)
from textgen.cli.support.remote import announce, remote_texts
from textgen.errors import ConfigError
from textgen.settings.config import SHARD_CHARACTERS, TEXT, DataConfig
from textgen.settings.option import COUNT, options_of, shown

if TYPE_CHECKING:
    from textgen.run import Run
    from textgen.settings.given import Section
    from textgen.training.planning.encode import Encoded, Turn

EXAMPLES = (
    "textgen encode books/ --tokenizer bpe --output encoded    then: textgen train encoded",
    "textgen encode books/ --output encoded --jobs 8           in eight processes",
    "textgen encode books/ --output encoded --dask tcp://node1:8786  on a dask cluster",
    "textgen encode books/ --output encoded --shard 2/10       a tenth of the shards",
    "textgen encode more/ --run-config runs/a --output encoded  with the tokenizer of a run",
)
NOT_FOR_ENCODING = ("corpus", "tokenizer", "chat_template", "chat_stop")


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `train` that determine the tokens of a text."""
    for name in reversed([name for name in options_of(DataConfig) if name not in NOT_FOR_ENCODING]):
        command = config_option(DataConfig, name, unset=True)(command)
    return config_option(DataConfig, "tokenizer", unset=True, group=COMMON)(command)


@click.command(name="encode", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, TEXT, OUTPUT))
@click.argument("corpus", nargs=-1, required=True)
@grouped_option(
    "--output", metavar="FOLDER", required=True, group=COMMON,
    help="Where the shards are, and those that are missing are made.",
)  # fmt: skip
@grouped_option(
    "--run-config", metavar="RUN", group=COMMON,
    help="Use the tokenizer of this run, or the options of a TOML file.",
)  # fmt: skip
@grouped_option(
    "--jobs", type=Number(int, COUNT), metavar="N", default=1, group=COMMON,
    help="Shards that are made at a time, each by one process.  [default: 1]",
)  # fmt: skip
@grouped_option(
    "--dask", metavar="ADDRESS", group=COMMON,
    help="Make shards on the dask cluster whose scheduler is there.",
)  # fmt: skip
@grouped_option("--shard", metavar="I/N", group=COMMON, help="Make every N-th shard, from the I-th on.")
@grouped_option(
    "--shard-size", type=Number(int, COUNT), metavar="N", default=SHARD_CHARACTERS, group=COMMON,
    help=f"Characters in a shard, about.  [default: {SHARD_CHARACTERS:,}]",
)  # fmt: skip
@data_options
@cache_dir_option("Where fetched text is kept.")
@json_option("the result")
def command(
    corpus: tuple[str, ...],
    output: str,
    run_config: str | None,
    jobs: int,
    dask: str | None,
    shard: str | None,
    shard_size: int,
    cache_dir: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode CORPUS in shards, for `textgen train FOLDER` to read.

    The text is read once to plan the shards; any shard can then be made by anyone, in any order. Run again,
    it makes what is missing, also after it was killed. Several machines share the work with --shard, into one
    folder, or each into its own; put together, they are completed by the same command without --shard.

    With --dask, the workers make the shards, and must see CORPUS and the output FOLDER at the same absolute
    paths as this machine, on a file system that all share. They need textgen in this version. A dask cluster
    runs any code that is sent to it, and this command trusts what it answers.
    """
    from textgen.system.progress import Reporter
    from textgen.training.planning.encode import encode_text

    if not output or "\0" in output:
        raise ConfigError(f"--output {shown(output)}: not a folder; name one")
    if dask is not None and jobs > 1:
        raise ConfigError(
            "--jobs does nothing with --dask, where each worker makes shards: leave one of them out"
        )
    turn = None if shard is None else _turn(shard)
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    data, source = _data(corpus, run_config, options)
    encoded = encode_text(
        data,
        Path(output),
        remote=remote_texts(cache_dir, reporter),
        source=source,
        turn=turn,
        shard_characters=shard_size,
        jobs=jobs,
        dask=dask,
        progress=reporter.work,
    )
    for note in encoded.notes:
        reporter.line(note)
    reporter.line(_summary(encoded, output))
    if as_json:
        print(json.dumps(_figures(encoded, output)))


def _turn(shard: str) -> Turn:
    """The shards of --shard. Raises ConfigError."""
    from textgen.training.planning.encode import Turn

    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", shard)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"--shard {shown(shard)}: not a share of the shards; give I/N with I from 1 to N, as in 2/10"
        )
    return Turn(int(found[1]), int(found[2]))


def _data(
    corpus: tuple[str, ...], run_config: str | None, options: dict[str, Any]
) -> tuple[Section[DataConfig], Run | None]:
    """The options of the text, and the run whose tokenizer is used. Raises ConfigError, RunError."""
    from textgen.hub.fetch import local_path
    from textgen.run import Run
    from textgen.settings.files import read_options
    from textgen.settings.given import UserOptions

    given = UserOptions.from_names(options | {"corpus": corpus})
    if run_config is None:
        return given.data, None
    path = Path(local_path(run_config, announce))
    if path.name == "config.json":
        path = path.parent
    if path.suffix == ".toml":
        return read_options(path).overridden_by(given).data.without(NOT_FOR_ENCODING[2:]), None
    return given.data, Run(path, None, announce)


def _figures(encoded: Encoded, output: str) -> dict[str, Any]:
    """The result by name; tokens are those of each part, None while shards are missing."""
    manifest = encoded.manifest
    tokens = None
    if manifest is not None:
        tokens = {name: sum(shard.length for shard in part.tokens) for name, part in manifest.parts.items()}
    return {
        "output": output,
        "shards": len(encoded.plan.shards),
        "made": encoded.made,
        "missing": encoded.missing,
        "tokens": tokens,
    }


def _summary(encoded: Encoded, output: str) -> str:
    figures = _figures(encoded, output)
    made = f"{output}: made {figures['made']:,} of {figures['shards']:,} shards"
    if encoded.manifest is None:
        return f"{made}; {encoded.missing:,} still missing. Train on it once all are there."
    tokens = ", ".join(f"{count:,} tokens for {part}" for part, count in figures["tokens"].items())
    return f"{made}; complete: {tokens}. Train on it with: textgen train {output}"
