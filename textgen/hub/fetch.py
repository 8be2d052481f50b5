"""Opens a run by the name that the user gave: a directory, or hf:USER/NAME[@REVISION] on the hub.

A run from the hub lies in the cache of huggingface_hub, is looked for there when the hub cannot be reached,
and is not written to. Only the user can name one: what a run's own files name is never fetched.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from textgen.errors import ConfigError, RunError
from textgen.hub.progress import byte_counter
from textgen.hub.repository import Repository, hub_errors, hub_library, is_on_hub
from textgen.run import CONFIG, FILES, METRICS, NGRAM, TOKENIZER, WEIGHTS, Announce, Run
from textgen.system.progress import Reporter
from textgen.text.remote.texts import RemoteTexts
from textgen.version import VERSION

FETCHED = (CONFIG, FILES, TOKENIZER, WEIGHTS, NGRAM, METRICS)


def open_run(
    name: str | os.PathLike[str], remote: RemoteTexts | None = None, announce: Announce | None = None
) -> Run:
    """The run of a directory or of the hub; the other arguments are those of Run.

    Raises RunError when there is none, ConfigError for a name that no repository can have, and TextgenError
    without huggingface_hub.
    """
    if not is_on_hub(name):
        return Run(name, remote, announce)
    repository = Repository.parse(str(name))
    return Run(fetch(repository, announce), remote, announce, name=repository.run_name)


def local_path(name: str, announce: Announce | None = None) -> str:
    """The directory of a run, which is fetched if it is on the hub; another name is returned as it is.

    Raises what open_run raises.
    """
    return str(fetch(Repository.parse(name), announce)) if is_on_hub(name) else name


def refuse_hub(name: str | os.PathLike[str], what: str, instead: str) -> None:
    """Refuse a run on the hub for what writes to the run. Raises ConfigError."""
    if is_on_hub(name):
        raise ConfigError(f"{name}: {what}, and a run on the hub is only read; {instead}")


def fetch(repository: Repository, announce: Announce | None = None) -> Path:
    """The local directory of a run on the hub; what is not in the cache yet is fetched.

    announce: called with a line if that version is not in the cache, and a terminal then shows a bar as well;
    None: silent. Raises as open_run does.
    """
    hub = hub_library()
    name, revision = repository.name, repository.revision
    reporter = Reporter(None if announce is None else sys.stderr)
    with hub_errors(repository), closing(reporter):
        if announce is not None and hub.try_to_load_from_cache(name, WEIGHTS, revision=revision) is None:
            announce(f"Fetching {repository}")
        path = Path(
            hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(FETCHED),
                library_name="textgen",
                library_version=VERSION,
                tqdm_class=byte_counter(partial(reporter.work, str(repository))),
            )
        )
    if not (path / CONFIG).is_file():
        raise RunError(f"{repository}: not a run of textgen: it has no {CONFIG}; check the name")
    return path
