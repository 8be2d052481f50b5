"""Texts: two steps of training on a nasty text, and a sample of the run.

Text that cannot be trained on is refused in one line, and leaves no run.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from fault_groups.children import CAN_FORK, MEGABYTE, run_textgen
from fault_groups.handicaps import Handicap
from fault_groups.nasty_texts import TEXTS, NastyText
from fault_groups.plan import Plan
from fault_groups.subjects import names_of_files, unfinished
from fault_groups.tally import Tally

_TRAIN = (
    "--run run --cache-dir cache --steps 2 --hidden-size 8 --embedding-dim 8 --num-layers 1 --batch-size 2 "
    "--seq-len 8 --evaluations 1 --threads 1 --precision float32 --json"
).split()
_MOST_BYTES = 3000 * MEGABYTE
_TIMEOUT_SECONDS = 120.0  # of the clock, on a busy machine; the limit of CPU time is half of it


def attack(plan: Plan) -> Tally:
    """Train on each text and sample from what was trained."""
    tally = Tally("texts")
    for name in plan.some(list(TEXTS), 6):
        _try(name, TEXTS[name], plan.folder / "work", random.Random(f"{plan.seed} {name}"), tally)
    return tally


def _try(name: str, text: NastyText, work: Path, rng: random.Random, tally: Tally) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / text.file).write_bytes(text.make(rng))
    limits = Handicap(cpu_seconds=60, memory=_MOST_BYTES) if CAN_FORK else None
    commands = [
        ("train", text.file, *_TRAIN, *text.options),
        ("sample", "run", "--max-new-tokens", "50", "--seed", "1", *text.sample),
    ]
    tally.tried += 1
    for command in commands:
        outcome = run_textgen(command, work, handicap=limits, timeout=_TIMEOUT_SECONDS)
        tally.look_at(f"{command[0]}, {name}", outcome)
        if outcome.code < 0:  # what was killed for taking too long may leave files
            return
        if outcome.code > 0:
            names = names_of_files(work)
            tally.leftovers(name, unfinished(names) | (names & {"run"} if command[0] == "train" else set()))
            return
