"""The plan of a comparison of cells: its runs, and the options of each, so that only the cell differs.

    seed 1:  first cell ─ its settings, matched ─→ second cell ...      (match=minutes: each chooses its own)
                 │ the same                          │ the same
    seed 2:  first cell                          second cell ...

The cells take turns, seed by seed: a machine that becomes busy slows all of them, and a comparison that is
stopped has complete pairs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from textgen.errors import ConfigError, CorpusError, RunError
from textgen.models.cost import matched_hidden_size
from textgen.settings.config import CELLS, DROPOUTS, DataConfig, RunConfig
from textgen.settings.given import Section, UserOptions
from textgen.settings.option import (
    COUNT,
    POSITIVE,
    as_arguments,
    check_options,
    from_mapping,
    option,
    options_of,
    unknown_name,
)
from textgen.system.atomic import write_file
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.locks import folder_lock
from textgen.text.remote.texts import RemoteTexts
from textgen.text.remote.urls import is_url
from textgen.training.planning.recipe import CHARACTER_EMBEDDING_DIM, SUBWORD_EMBEDDING_DIM

# What may be compared with cells: an n-gram model, which is counted and not trained.
NGRAM = "ngram"
MATCHES = ("parameters", "size", "minutes")
PLAN, FORMAT = "plan.json", 1

# Chosen by the first cell's first run or given, and the same in the others.
MATCHED_MODEL = ("embedding_dim", "tie_weights", "hidden_size", "num_layers", *DROPOUTS)
MATCHED_TRAINING = ("batch_size", "seq_len", "weight_decay")
# Each cell has its own learning rate, momentum and penalty (an LSTM's rate is too high for a GRU) and what
# makes it fast on this machine; the seeds of one cell share them.
OWN_TRAINING = ("learning_rate", "beta1", "temporal_activation_penalty", "threads", "precision")
REPEATED_TRAINING = (*MATCHED_TRAINING, *OWN_TRAINING)


class PlannedRun(NamedTuple):
    """One of a comparison's runs."""

    cell: str
    seed: int

    @property
    def name(self) -> str:
        """Its directory within the comparison's."""
        return f"{self.cell}-seed{self.seed}"


def check_cells(cells: Sequence[str], known: Sequence[str] = CELLS) -> None:
    """Refuse names of --cells that are not among those known, or named twice. Raises ConfigError."""
    for cell in cells:
        if cell not in known:
            is_ngram = cell == NGRAM
            what = "n-grams are not a network" if is_ngram else unknown_name("cell", cell, known)
            raise ConfigError(f"--cells: {what}; there are {', '.join(known)}")
        if cells.count(cell) > 1:
            raise ConfigError(f"--cells {','.join(cells)}: {cell} is named twice; name each once")


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """What is compared; written to plan.json in the comparison's directory before the first run.

    fingerprint: of the text. cells: those of networks, of which there is at least one, and maybe NGRAM.
    seeds, match, minutes: of the networks. settings: options of `train` that all runs have. match:
    "parameters" is the default, so that the gain of a larger network is not attributed to the cell.
    """

    corpus: tuple[str, ...]
    fingerprint: str
    cells: tuple[str, ...] = option(("lstm", "gru"), "What to compare: lstm, gru, rnn, ngram.")
    seeds: int = option(3, "Runs per network; 3 or more give an interval.", range=COUNT)
    match: str = option(
        "parameters",
        "What is equal for all networks.",
        choices=MATCHES,
    )
    minutes: float = option(12.0, "Minutes in all, split evenly over the runs.", range=POSITIVE)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cells(self.cells, (*CELLS, NGRAM))
        if len(self.cells) < 2:
            named = ",".join(self.cells)
            raise ConfigError(f"--cells {named}: there is nothing to compare; name two or more")
        check_options(self)
        # The rest is checked as `train` will check it, before any run has begun.
        UserOptions.from_names(self.settings | {"minutes": self.minutes})

    @property
    def networks(self) -> tuple[str, ...]:
        """The cells of the networks, which are trained: all but NGRAM."""
        return tuple(cell for cell in self.cells if cell != NGRAM)

    @property
    def data_options(self) -> dict[str, Any]:
        """The settings of the data section, with the corpus."""
        names = options_of(DataConfig)
        return {"corpus": self.corpus} | {
            name: value for name, value in self.settings.items() if name in names
        }

    @property
    def minutes_each(self) -> float:
        """The training time of one run."""
        return self.minutes / (len(self.networks) * self.seeds)

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, in the order in which they are trained."""
        return [PlannedRun(cell, seed + 1) for seed in range(self.seeds) for cell in self.networks]

    def options(self, run: PlannedRun, config_of: Callable[[PlannedRun], RunConfig]) -> dict[str, Any]:
        """The options of `train` for a run; `config_of` gives the configs of those before it."""
        # Each network is compared alone, so a companion would only take time.
        options = self.settings | {"cell": run.cell, "seed": run.seed, "ngram": False}
        options["minutes"] = self.minutes_each
        first = self.runs[0]
        if run == first:
            return self._shared_by_all | options
        # Losses during training are compared, so all are measured on the same tokens.
        options["eval_tokens"] = config_of(first).training.eval_tokens
        if run.seed > 1:
            return options | _settings(config_of(PlannedRun(run.cell, 1)), REPEATED_TRAINING)
        if self.match != "minutes":
            options |= _settings(config_of(first), MATCHED_TRAINING)
        if self.match == "parameters":
            options["hidden_size"] = matched_hidden_size(config_of(first).model, run.cell)
        return options

    @property
    def _shared_by_all(self) -> dict[str, Any]:
        """Options that the first run does not choose, because all cells take them.

        The recipe makes some embeddings as wide as the network. Networks with equal numbers of parameters
        differ in width, so to keep the embedding out of the comparison it is narrow, and not tied, for all.
        """
        if self.match == "minutes":
            return {}
        few = self.settings.get("tokenizer", DataConfig.tokenizer) in ("char", "byte")
        usual = CHARACTER_EMBEDDING_DIM if few else SUBWORD_EMBEDDING_DIM
        return {"embedding_dim": min(usual, self.settings.get("hidden_size", usual)), "tie_weights": False}


def _settings(config: RunConfig, training: tuple[str, ...]) -> dict[str, Any]:
    model = {name: getattr(config.model, name) for name in MATCHED_MODEL}
    return model | {name: getattr(config.training, name) for name in training}


def new_plan(
    corpus: tuple[str, ...], settings: dict[str, Any], remote: RemoteTexts | None = None, **choices: Any
) -> ComparisonPlan:
    """The plan for a text that exists and can be split; `choices` are fields of ComparisonPlan.

    remote: how URLs become local files; None: by the user's cache.

    Raises ConfigError, CorpusError, also for a URL that cannot be written down as it is.
    """
    from textgen.text.store import default_cache_dir
    from textgen.training.planning.data import open_corpus

    if "-" in corpus:
        raise ConfigError(
            "-: every run reads the text, and standard input can be read once: save it to a file"
        )
    plan = ComparisonPlan(corpus=corpus, fingerprint="", settings=settings, **choices)
    data = Section(DataConfig, plan.data_options)
    opened = open_corpus(data, remote or RemoteTexts(default_cache_dir()))
    for record in opened.remote:
        if record.shortened:
            raise CorpusError(
                f"{record.url}: has a query or password, which {PLAN} does not keep; download the file"
            )
    text = opened.corpus
    if "val" not in text.parts:
        raise ConfigError("--val-fraction 0: cells are compared on validation text; leave it out")
    text.size("val")  # reads and splits it, so that what cannot be trained on is refused before any run
    paths = tuple(name if is_url(name) else str(Path(name).absolute()) for name in opened.config.corpus)
    return dataclasses.replace(plan, corpus=paths, fingerprint=text.fingerprint)


def train_arguments(options: dict[str, Any]) -> list[str]:
    """Options of `train` by name as arguments of the command line."""
    return [argument for name, value in options.items() for argument in as_arguments(name, value)]


def plan_directory(plan: ComparisonPlan, output: Path | None, name: str) -> Path:
    """The directory of a comparison: `output`, or compare/<name>, numbered when that holds another one.

    A directory with the same plan is this comparison, started before. Raises RunError when `output` holds
    anything else.
    """
    if output is not None:
        _refuse_other(plan, output)
        return output
    number, path = 1, Path("compare") / name
    while path.exists() and _other(plan, path) is not None:
        number += 1
        path = Path("compare") / f"{name}-{number}"
    return path


@contextmanager
def claimed(plan: ComparisonPlan, directory: Path) -> Iterator[None]:
    """A comparison's directory, with its plan in it, locked for this process.

    Raises RunError when it cannot be written, or when another process is using it.
    """
    content = {"format": FORMAT} | dataclasses.asdict(plan)
    with ExitStack() as held:
        try:
            if not held.enter_context(folder_lock(directory)):
                raise RunError(f"{directory}: another process is running this comparison")
            write_file(directory / PLAN, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{directory}: cannot be written ({reason}); name another --output") from error
        yield


def _refuse_other(plan: ComparisonPlan, directory: Path) -> None:
    if directory.exists() and (difference := _other(plan, directory)) is not None:
        raise RunError(f"{directory}: {difference}. Name another --output")


def _other(plan: ComparisonPlan, directory: Path) -> str | None:
    """Why an existing directory is not this comparison's; None when it is, or when it is empty."""
    path = directory / PLAN
    if not directory.is_dir():
        return "not a directory"
    if not path.is_file():
        others = [entry for entry in directory.iterdir() if entry.name != "lock"]
        return "already exists and holds no comparison" if others else None
    try:
        content = parse_json(read_bounded(path, RUN_FILE_LIMIT, "the plan of a comparison"))
        if content.pop("format") != FORMAT:
            return "holds a comparison of another version of textgen"
        there = from_mapping(ComparisonPlan, content, str(path))
    except (OSError, ValueError, KeyError, AttributeError, ConfigError) as error:
        return f"its {PLAN} cannot be read ({error})"
    if not any((directory / run.name).exists() for run in there.runs):
        return None  # planned, but no run was started
    if there.fingerprint != plan.fingerprint:
        return "holds a comparison on another text"
    # The text may have been moved, so its path does not count. Nor do n-grams: the runs are the same without.
    if there.networks != plan.networks:
        return f"holds a comparison with other options (cells was {','.join(there.cells)})"
    for name in ("seeds", "match", "minutes", "settings"):
        if (old := getattr(there, name)) != getattr(plan, name):
            return f"holds a comparison with other options ({name} was {old})"
    return None
