"""`textgen serve`: serve runs over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from textgen.cli.support.options import (
    COMMON,
    OUTPUT,
    GroupedCommand,
    config_option,
    grouped_option,
    no_ngram_option,
)
from textgen.errors import ConfigError, TextgenError
from textgen.hub.repository import Repository, is_on_hub
from textgen.settings.option import options_of
from textgen.settings.request_limits import RequestLimits
from textgen.settings.serving import SAFETY, ServingConfig
from textgen.system.terminal import one_line
from textgen.system.threads import multiply_on_few_threads

EXAMPLES = (
    "textgen serve runs/tales                                      at http://127.0.0.1:8000",
    "textgen serve runs/tales runs/places --port 9000              two runs, by their names",
    "textgen serve runs/tales --host 0.0.0.0 --api-key-file keys   to other machines, with keys",
    "textgen serve runs/tales --cors https://example.org           to the pages of another site",
)


@click.command(name="serve", cls=GroupedCommand, examples=EXAMPLES, headings=(COMMON, SAFETY, OUTPUT))
@click.argument("run_directories", required=True, nargs=-1, metavar="RUN...")
@config_option(ServingConfig, "host", group=COMMON)
@config_option(ServingConfig, "port", group=COMMON)
@config_option(RequestLimits, "max_streams", group=COMMON)
@no_ngram_option()
@config_option(ServingConfig, "api_key_file")
@config_option(ServingConfig, "cors")
@grouped_option("--insecure", is_flag=True, group=SAFETY, help=options_of(ServingConfig)["insecure"].help)
def command(run_directories: tuple[str, ...], max_streams: int, ngram: bool, **settings: Any) -> None:
    """Serve RUNs over HTTP: a page to write with, and the API of OpenAI's completions.

    Each run goes by the name of its folder. Only this machine can use the server, unless --host says
    otherwise. Ctrl-C lets texts that are being written end; a second one does not.
    """
    multiply_on_few_threads()
    config, limits = ServingConfig(**settings), RequestLimits(max_streams=max_streams)
    runs = named(run_directories)
    _serve(runs, config, limits, ngram=ngram)


def named(run_directories: Sequence[str]) -> dict[str, str]:
    """The runs by the names of their folders, or repositories. Raises ConfigError where two are the same."""
    runs: dict[str, str] = {}
    for directory in run_directories:
        path = Path(directory)
        if is_on_hub(directory):
            name = Repository.parse(directory).run_name
        else:
            name = path.resolve().name if path.name in ("", "..") else path.name
        if name in runs:
            raise ConfigError(
                f"{runs[name]} and {directory} are both called {one_line(name)!r}; rename one of the folders"
            )
        runs[name] = directory
    return runs


def _serve(runs: dict[str, str], config: ServingConfig, limits: RequestLimits, *, ngram: bool) -> None:
    try:
        import uvicorn  # noqa: F401  so that it is missed before a run is loaded

        from textgen.serving.asgi import app
    except ModuleNotFoundError as error:
        raise TextgenError(
            f"serving needs {(error.name or '').partition('.')[0]}: pip install 'textgen[serve]'"
        ) from error
    from textgen.api import load
    from textgen.serving.access import read_keys, require_safe
    from textgen.serving.guard import Guard
    from textgen.serving.metrics import Metrics
    from textgen.serving.server import logged, run
    from textgen.serving.status_routes import status_routes

    require_safe(config)
    keys = [] if config.api_key_file is None else read_keys(config.api_key_file)
    models = {name: load(directory, ngram=ngram) for name, directory in runs.items()}
    metrics = Metrics()
    guard = Guard(app(models, limits, routes=status_routes(metrics)), config, metrics=metrics, keys=keys)
    with logged():
        run(guard, lambda line: print(line, flush=True), ", ".join(map(one_line, runs)))
