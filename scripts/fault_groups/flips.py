"""Flips: a random bit of a file of a run or its cache is flipped, or the file is cut or emptied.

The commands that read the file must give the same result as before, or refuse in one line.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fault_groups.children import run_textgen
from fault_groups.plan import Plan
from fault_groups.subjects import Subject, names_of_files
from fault_groups.tally import Tally

DAMAGES = ("bit",) * 7 + ("cut",) * 2 + ("empty",)
# The commands that read each file of a run, by its name; a file that is not listed is attacked with all.
_READERS = {
    "model.safetensors": ("eval", "score", "sample"),
    "ngram.safetensors": ("eval", "score", "sample"),
    "config.json": ("eval", "score", "sample", "info"),
    "tokenizer.json": ("eval", "score", "sample"),
    "metrics.jsonl": ("info",),
}
_UNREAD = (".png", "lock")


class Target(NamedTuple):
    """A file, as a path relative to the folder, and a command that reads it."""

    file: str
    command: str


def attack(plan: Plan) -> Tally:
    """Damage files one at a time, and run what reads them."""
    tally = Tally("flips")
    kinds = ["plain"] if plan.quick else ["plain", "labelled"]
    subjects = [plan.subject(kind) for kind in kinds]
    total = plan.count(24, 1000)
    for subject in subjects:
        for target in _in_turn(targets(subject), total // len(subjects), plan.rng):
            _try(subject, target, plan.rng, tally)
    return tally


def targets(subject: Subject) -> list[Target]:
    """Every file that a command reads, with each of the commands."""
    whole = subject.folder / "whole"
    found = []
    for path in sorted(
        path for path in whole.rglob("*") if path.is_file() and not path.name.endswith(_UNREAD)
    ):
        name = path.relative_to(whole)
        for command in readers(name, whole):
            found.append(Target(name.as_posix(), command))
    return found


def readers(name: Path, folder: Path) -> tuple[str, ...]:
    """The names of the commands that read a file."""
    if name.parts[0] == "half":
        return ("resume",)
    if name.parts[0] == "cache":
        is_index = (folder / name.parent / "suffixes.bin").exists()
        return ("sample",) if is_index else ("eval", "resume")
    if name.parts[0] == "run" and "training" not in name.parts:
        return _READERS.get(name.name, ("eval", "score", "sample", "info"))
    return ()  # the text, and the last checkpoint of a complete run


def _in_turn(found: list[Target], count: int, rng: random.Random) -> Iterator[Target]:
    """`count` targets: all of them equally often, in random order."""
    for number in range(count):
        if number % len(found) == 0:
            order = rng.sample(found, len(found))
        yield order[number % len(found)]


def damage(path: Path, kind: str, rng: random.Random) -> str:
    """Damage a file; returns what was done."""
    content = bytearray(path.read_bytes())
    place = rng.randrange(max(1, len(content)))
    if kind == "bit" and content:
        bit = rng.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        return f"bit {bit} of byte {place} flipped"
    if kind == "cut" and content:
        path.write_bytes(content[:place])
        return f"cut at byte {place}"
    path.write_bytes(b"")
    return "emptied"


def _try(subject: Subject, target: Target, rng: random.Random, tally: Tally) -> None:
    subject.restore()
    path = subject.work / target.file
    config = (subject.work / "half" / "config.json").read_bytes()
    done = damage(path, rng.choice(DAMAGES), rng)
    file = _short(target.file)
    case = f"{subject.kind.file}, {target.command}, {file} {done}"
    outcome = run_textgen(subject.commands[target.command], subject.work)
    tally.tried += 1
    tally.look_at(case, outcome)
    expected = subject.files[target.command]
    names = names_of_files(subject.work)
    tally.leftovers(case, names - expected - names_of_files(subject.folder / "whole"))
    if outcome.code != 0:
        return
    if expected - names:
        tally.add("lost", case, ", ".join(sorted(expected - names)))
    try:
        result: Any = subject.result(target.command, outcome)
    except json.JSONDecodeError:
        result = None
    # `info` says how a run is, so another answer is right if it says that the run is not complete.
    is_explained = target.command == "info" and "status:     not complete" in outcome.out
    if result != subject.expected[target.command] and not is_explained:
        tally.add("silent", case, "another result")
    elif target.file != "half/config.json" and config != (subject.work / "half" / "config.json").read_bytes():
        tally.add("silent", case, "another config.json")


def _short(name: str) -> str:
    """A name in the cache without the middle of its long hash."""
    return "/".join(part if len(part) < 40 else f"{part[:8]}..." for part in name.split("/"))
