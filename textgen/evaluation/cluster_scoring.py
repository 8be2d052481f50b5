"""Scoring lines and records on the workers of a dask cluster, which need neither the run nor the text.

    here                                    each worker
    run files, with digests ─── once ─────→ RunCopy.scorer
    a batch of lines ────────────────────→ score_batches ──→ a Report for each line

The batches are those that are scored here without a cluster, so that the figures are the same to the last bit
(on processors of the same kind: others round differently).
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.errors import RunError, TextgenError
from textgen.evaluation.report import Report
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import PlainText, Records, score_batches
from textgen.run import CONFIG, FILES, NGRAM, TOKENIZER, WEIGHTS, Run
from textgen.system.bounded_files import open_regular
from textgen.system.cluster import cluster_map
from textgen.system.threads import few_numpy_threads
from textgen.text.lines import Line

SENT = (CONFIG, FILES, TOKENIZER, WEIGHTS, NGRAM)  # files of a run, those that it has
LONGEST_SENT = 2**22  # characters of a line; a longer one is scored here, to bound what is in memory


@dataclass(frozen=True)
class ScoringSettings:
    """What decides the figures besides run and text; see Scorer.from_run."""

    device: str | None = None
    label: str | None = None
    ngram: bool = True


class RunCopy:
    """The files of a run, to be scored with elsewhere: it can be pickled.

    Raises RunError for a run without weights, or with a file that cannot be read.
    """

    def __init__(self, run: Run, settings: ScoringSettings) -> None:
        run.require_weights()
        self._name, self._settings = str(run.path), settings
        self._files = dict(_files_of(run))
        self._digests = {name: _digest(content) for name, content in self._files.items()}
        self._prepare()

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._scorer: Scorer | None = None

    def __getstate__(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_scorer")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    @property
    def scorer(self) -> Scorer:
        """The scorer of the run, loaded once. Raises RunError, ConfigError or TokenizerError."""
        with self._lock:
            if self._scorer is None:
                self._scorer = self._load()
            return self._scorer

    def _load(self) -> Scorer:
        with tempfile.TemporaryDirectory(prefix="textgen-") as folder:
            for name, content in self._files.items():
                if _digest(content) != self._digests[name]:
                    raise RunError(f"{self._name}: {name} arrived damaged; run the command again")
                (Path(folder) / name).write_bytes(content)
            device, label, ngram = dataclasses.astuple(self._settings)
            try:
                return Scorer.from_run(Run(folder), device, label=label, ngram=ngram)
            except TextgenError as error:
                raise type(error)(str(error).replace(folder, self._name)) from error

    def score(self, lines: list[Line], documents: str) -> list[Report]:
        """The reports of lines that are scored alone, in one batch; see score_batches. Closes the lines.

        Raises what loading and scoring raise.
        """
        # Without a cluster, this is done on one thread too; on more, sums may differ in their last bits.
        with few_numpy_threads():
            return [report for _, report in score_batches(self.scorer, [lines], documents)]


def score_on_cluster(
    address: str, run: RunCopy, texts: Iterable[PlainText | Records]
) -> Generator[tuple[int, Line, Report], None, None]:
    """Each line or record of some texts scored alone on the dask cluster at an address, in order.

    Yields the index of the text with each. A line is closed when the next one is requested. Few batches of
    lines are in memory at a time. Raises as cluster_map does, and as reading and scoring do here.
    """
    kept = deque[tuple[int, str, list[Line]]]()

    def blocks() -> Iterator[_Block]:
        for index, text in enumerate(texts):
            for batch in text.batches():
                kept.append((index, text.documents, batch))
                yield _Block(tuple(map(_sent, batch)), text.documents)

    # The generator is closed here, so that an exception cancels the tasks at once.
    with closing(cluster_map(address, _score, blocks(), run)) as results:
        for reports in results:
            index, documents, batch = kept.popleft()
            for line, report in zip(batch, reports, strict=True):
                if report is None:
                    (report,) = run.score([_copy(line)], documents)
                yield index, line, report
                line.close()


@dataclass(frozen=True)
class _Block:
    """A batch of lines to score. texts: None for one that is too long to be sent."""

    texts: tuple[str | None, ...]
    documents: str


def _score(run: RunCopy, block: _Block) -> list[Report | None]:
    """What a worker does with a block: the report of each of its lines, None for one that was not sent."""
    found = iter(run.score([_line(text) for text in block.texts if text is not None], block.documents))
    return [None if text is None else next(found) for text in block.texts]


def _line(text: str) -> Line:
    line = Line()
    line.add(text)
    return line


def _copy(line: Line) -> Line:
    """A line with the same text, so that the copy can be closed."""
    copy = Line()
    for piece in line:
        copy.add(piece)
    return copy


def _sent(line: Line) -> str | None:
    return "".join(line) if line.characters <= LONGEST_SENT else None


def _files_of(run: Run) -> Iterator[tuple[str, bytes]]:
    """The files that are sent, by name. Raises RunError."""
    for name in SENT:
        try:
            with open_regular(run.path / name) as file:
                yield name, file.read()
        except FileNotFoundError:
            continue  # of an earlier version, or without n-grams; a file that must be there is missed later
        except OSError as error:
            raise RunError(f"{run.path / name}: {error.strerror or error}; it must be readable") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
