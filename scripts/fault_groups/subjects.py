"""What is attacked: a complete run, an interrupted one, their cache, and what commands make of them."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_groups.children import Outcome, Watch, run_textgen

STEPS = 60
_SIZES = (
    "--hidden-size 24 --embedding-dim 12 --num-layers 1 --batch-size 8 --seq-len 32 --dropout 0.1 "
    "--evaluations 6 --threads 1 --precision float32"
).split()
TRAIN = ("--steps", str(STEPS), *_SIZES, "--cache-dir", "cache", "--json")
_SHORT = ("--max-new-tokens", "60", "--seed", "1")
_WORDS = "the of and to in is that it was for on are as with his they at be this from have or by".split()
# Fields that differ from run to run: times, and digests of what has times in it.
_TIMES = frozenset(("seconds", "tokens_per_second", "characters_per_second", "digest"))


def sentences(rng: random.Random, size: int) -> str:
    """Random words in sentences, one per line."""
    text = ""
    while len(text) < size:
        text += " ".join(rng.choices(_WORDS, k=rng.randint(4, 15))).capitalize() + rng.choice(".?!") + "\n"
    return text[:size]


@dataclass(frozen=True)
class Kind:
    """A kind of text: its file, what is in it, and options of `textgen train` and of reading it again."""

    file: str
    make: Callable[[random.Random], str]
    train: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()


def _records(rng: random.Random) -> str:
    lines = sentences(rng, 20_000).splitlines()
    return "".join(json.dumps({"text": line, "kind": rng.choice("ab")}) + "\n" for line in lines)


KINDS = {
    "plain": Kind("text.txt", lambda rng: sentences(rng, 20_000)),
    "labelled": Kind("text.jsonl", _records, ("--field", "text", "--label-field", "kind"), ("--label", "a")),
}


@dataclass
class Subject:
    """Two runs on the same text, in a folder that is put back before every case.

    work/run is complete, work/half was interrupted and has a checkpoint, and work/cache has their tokens and
    an index of the training text.
    """

    folder: Path
    kind: Kind
    expected: dict[str, Any] = field(default_factory=dict)  # by command, what it gives undisturbed
    files: dict[str, frozenset[str]] = field(default_factory=dict)  # by command, the files after it

    @property
    def work(self) -> Path:
        """The folder that commands are run in."""
        return self.folder / "work"

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """What is run on the runs, by name."""
        cache = ("--cache-dir", "cache", "--json")
        return {
            "eval": ("eval", "run", *cache),
            "score": ("score", "run", self.kind.file, "--json"),
            "sample": ("sample", "run", "--novelty", *_SHORT, *self.kind.sample, *cache),
            "info": ("info", "run"),
            "resume": ("train", "--resume", "half", *cache),
        }  # fmt: skip

    def restore(self) -> None:
        """Put the folder back as it was made."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.work, symlinks=True)

    def result(self, command: str, outcome: Outcome) -> Any:
        """What a command gave, without times: what it printed, and the files of the run that it resumed."""
        if command == "info":
            return outcome.out
        result = [without_times(json.loads(line)) for line in outcome.out.splitlines()]
        half = self.work / "half"
        return (result, weights(half), ngrams(half)) if command == "resume" else result


def make_subject(folder: Path, kind: Kind, seed: int) -> Subject:
    """Train both runs and run every command once, undisturbed."""
    subject = Subject(folder, kind)
    whole = folder / "whole"
    subject.work.mkdir(parents=True)
    make_text(subject.work, kind, seed)
    require(run_textgen(train_command(kind, "run"), subject.work))
    if not ngrams(subject.work / "run"):
        raise RuntimeError("the run has no n-grams that could be attacked")
    _stop_half_way(subject.work, kind)
    require(run_textgen(subject.commands["sample"], subject.work))
    subject.work.rename(whole)
    for name, command in subject.commands.items():
        subject.restore()
        outcome = require(run_textgen(command, subject.work))
        subject.expected[name] = subject.result(name, outcome)
        subject.files[name] = names_of_files(subject.work)
    return subject


def make_text(folder: Path, kind: Kind, seed: int) -> None:
    """Write the text of a kind."""
    (folder / kind.file).write_text(kind.make(random.Random(seed)), encoding="utf-8", newline="")


def train_command(kind: Kind, run: str) -> tuple[str, ...]:
    """The command that trains a run on the text of a kind."""
    return ("train", kind.file, "--run", run, *kind.train, *TRAIN)


def _stop_half_way(folder: Path, kind: Kind) -> None:
    """Train a run and interrupt it as soon as it has a checkpoint."""
    run = folder / "half"
    for _ in range(20):  # it may be faster than we are
        outcome = run_textgen(train_command(kind, "half"), folder, watch=once(lambda: has_checkpoint(run)))
        if outcome.code == 128 + signal.SIGINT and has_checkpoint(run):
            return
        shutil.rmtree(run, ignore_errors=True)
    raise RuntimeError(f"no run could be stopped half way: {outcome}")


def once(is_time: Callable[[], bool], number: int = signal.SIGINT) -> Watch:
    """Send a signal as soon as it is time, and never again."""
    sent: list[int] = []

    def watch(seconds: float) -> int | None:
        if sent or not is_time():
            return None
        sent.append(number)
        return number

    return watch


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint."""
    return any((run / "training").glob("step-*"))


def require(outcome: Outcome) -> Outcome:
    """The outcome of a command that nothing was done to. Raises RuntimeError when it failed."""
    if outcome.code:
        raise RuntimeError(f"exit code {outcome.code} of a command that nothing was done to: {outcome.err}")
    return outcome


def without_times(value: Any) -> Any:
    """JSON data without the figures that differ from run to run."""
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in _TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def weights(run: Path) -> bytes:
    """The weights of a run as they are in its file; empty if it has none."""
    path = run / "model.safetensors"
    return path.read_bytes() if path.is_file() else b""


def ngrams(run: Path) -> bytes:
    """The n-grams of a run as they are in their file; empty if it has none."""
    path = run / "ngram.safetensors"
    return path.read_bytes() if path.is_file() else b""


def metrics(run: Path) -> list[Any]:
    """The measurements of a run without times."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [without_times(json.loads(line)) for line in lines]


def names_of_files(folder: Path) -> frozenset[str]:
    """The files and folders in a folder, at any depth."""
    return frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def unfinished(names: Sequence[str] | frozenset[str]) -> set[str]:
    """Those of some names that begin with a dot: files and folders that were not finished."""
    return {name for name in names if any(part.startswith(".") for part in name.split("/"))}
