"""Pushes a run to the hub: first a folder of exactly what is sent, then its upload.

run  ->  prepare(...): a folder  ->  Prepared: its files, and what is left out  ->  upload(...)
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import RunError
from textgen.generation.generator import Generator
from textgen.hub.card import model_card
from textgen.hub.public import public_config
from textgen.hub.repository import Repository, hub_errors, hub_library
from textgen.plots.curves import draw_loss
from textgen.plots.style import can_draw
from textgen.run import (
    CONFIG,
    FILES,
    METRICS,
    NGRAM,
    PICTURE,
    TOKENIZER,
    WEIGHTS,
    Run,
    active_records,
    config_json,
    files_json,
    vocab_of,
)
from textgen.settings.config import SampleConfig
from textgen.system.threads import numpy_threads
from textgen.version import VERSION

CARD = "README.md"
SEED, SAMPLE_TOKENS = 1, 300
_OURS = (CARD, CONFIG, FILES, TOKENIZER, WEIGHTS, NGRAM, METRICS, PICTURE)


@dataclass(frozen=True)
class Prepared:
    """What is to be pushed: a folder, the names of its files, and the names in the run that stay here."""

    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def card(self) -> str:
        """The text of the model card."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def lines(self) -> list[str]:
        """What is sent, with its size, and what is not."""
        width = max(map(len, self.files))
        sizes = {name: (self.folder / name).stat().st_size for name in self.files}
        lines = [f"  {name:<{width}}  {sizes[name]:>13,} bytes" for name in self.files]
        return [*lines, *([f"Not sent: {', '.join(self.left_out)}"] if self.left_out else [])]


def prepare(run: Run, repository: Repository, folder: Path, *, license: str, ngram: bool) -> Prepared:
    """Write what others get of a run into an empty folder.

    license: the identifier of a licence, as the hub knows them. ngram: whether the n-grams are among it,
    which hold pieces of the training text.

    Raises RunError where the run has no weights, or no n-grams when they are to be sent, or is damaged.
    """
    run.facts()  # refuses what is no run, or damaged, by the run's own name
    run.require_weights()
    vocab = vocab_of(run.load_weights())
    if ngram and run.load_companion(vocab) is None:
        raise RunError(
            f"{run.path / NGRAM}: no such file; leave out --ngram, or use textgen ngram {run.path}"
        )
    config = public_config(run.config)
    run.tokenizer  # noqa: B018  refuses what is not as it was written
    (folder / CONFIG).write_text(config_json(config), encoding="utf-8")
    for name in (TOKENIZER, WEIGHTS, *((NGRAM,) if ngram else ()), METRICS):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    (folder / FILES).write_text(files_json(folder), encoding="utf-8")
    public = Run(folder, name=repository.run_name)
    has_picture = _draw(run, public)
    (folder / CARD).write_text(_card(public, repository, license, has_picture=has_picture), encoding="utf-8")
    sent = {path.name for path in folder.iterdir()}
    here = sorted(path.name + "/" * path.is_dir() for path in run.path.iterdir())
    return Prepared(
        folder,
        tuple(name for name in _OURS if name in sent),
        tuple(name for name in here if name not in sent),
    )


def _draw(run: Run, public: Run) -> bool:
    """Draw the loss curve under the public name, or copy it; returns whether there is one."""
    records = active_records(public.metrics())
    if can_draw() and records:
        draw_loss(records, public.name, public.path / PICTURE)
    elif (run.path / PICTURE).is_file():
        shutil.copyfile(run.path / PICTURE, public.path / PICTURE)
    return (public.path / PICTURE).is_file()


def _card(run: Run, repository: Repository, license: str, *, has_picture: bool) -> str:
    generator = Generator.from_run(run, "cpu", numpy_threads())
    config = SampleConfig(max_new_tokens=SAMPLE_TOKENS)
    (sample,) = generator.generate(seed=SEED, config=config)
    return model_card(
        repository,
        run.config,
        run.facts(),
        license=license,
        sample=sample,
        command=f"textgen sample {repository} --seed {SEED} --max-new-tokens {SAMPLE_TOKENS}",
        has_ngrams=run.has_companion,
        has_picture=has_picture,
    )


def upload(prepared: Prepared, repository: Repository, *, private: bool) -> str:
    """Send a folder to a repository, which is made if there is none; returns the address of the commit.

    Files of an earlier push that are not in the folder are removed there. private: whether others may not
    see the repository. repository.revision: the branch, which is made if there is none.

    Raises RunError where the hub refuses or cannot be reached, and for a public repository with `private`.
    """
    hub = hub_library()
    api = hub.HfApi(library_name="textgen", library_version=VERSION)
    with hub_errors(repository):
        api.create_repo(repository.name, private=private or None, exist_ok=True)
        if private and not api.repo_info(repository.name).private:
            raise RunError(
                f"{repository}: is public already, and nothing was sent; make it private in its settings, or "
                "name another one"
            )
        if repository.revision is not None:
            api.create_branch(repository.name, branch=repository.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository.name,
            folder_path=prepared.folder,
            revision=repository.revision,
            allow_patterns=list(prepared.files),
            delete_patterns=list(_OURS),
            commit_message=f"{repository.run_name}, with textgen {VERSION}",
        )
    return str(commit.commit_url)
