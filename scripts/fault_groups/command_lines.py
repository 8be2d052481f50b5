"""Command lines: every command and option, with nasty values."""

from __future__ import annotations

import random
import signal
from typing import Any

import click

from fault_groups.children import CAN_FORK, MEGABYTE, run_textgen
from fault_groups.handicaps import Handicap
from fault_groups.plan import Plan
from fault_groups.subjects import Subject, names_of_files, unfinished
from fault_groups.tally import Tally

# Only names within the folder, or that do not exist: whoever runs this may be allowed to replace any file.
PATHS = (
    "", ".", "..", "-", "--", "run", "half", "runs", "text.txt", "missing", "missing/x", "run/config.json",
    "a\nb", "a\x1b[2Jb", "*", "[", "~nobody/x", "x" * 300, "run\udcff", "text.txt/x", "http://127.0.0.1:9/x",
    "http://[", "s3://", "sftp://127.0.0.1:9/x", "file://x", "{}", "%s%n", "page.html", "out.png", "out.json",
)  # fmt: skip
TEXTS = (
    "", " ", "a", "\n", "\\", "\\n", "é", "e\u0301", "\U0001f600", "\u202e", "\ufeff",
    "\udcff", "x" * 300, "--help", "a,b", "0:0", "0:99", "1-0", "lstm,", ",", "text", "kind", "a", "utf-16",
    "hex", "idna", "undefined", "nfc", "byte", "word", "bpe", "\t", "'", '"', "[", "(?", "*", "$(x)",
)  # fmt: skip
NUMBERS = (
    "0", "1", "2", "-1", "-0", "0.5", "1.0", "1e3", "1e999", "-1e999", "nan", "inf", "1e-320", "", " 1",
    "0x10", "1_000", "٣", "1" * 30, "9223372036854775807", "9223372036854775808", "4294967296",
    "2147483648", "x",
)  # fmt: skip
_SMALL = "--steps 1 --hidden-size 4 --threads 1 --cache-dir cache".split()
_TIMEOUT_SECONDS = 4.0  # then it is terminated, as some of the values ask for hours of work


def attack(plan: Plan) -> Tally:
    """Call commands with one to four options, drawn at random."""
    tally = Tally("command lines")
    subject = plan.subject("plain")
    commands = _commands()
    names = list(commands)
    for number in range(plan.count(18, 400)):
        _try(subject, names[number % len(names)], commands, plan.rng, tally)
    return tally


def _commands() -> dict[str, click.Command]:
    from textgen.cli import COMMANDS, group

    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in COMMANDS}
    return {"": group} | {name: command for name, command in found.items() if command is not None}


def command_line(name: str, command: click.Command, rng: random.Random) -> list[str]:
    """A command with arguments that mostly make sense, and options that mostly do not."""
    words = [name] if name else []
    if rng.random() < 0.8:
        words += {"train": ["text.txt"], "compare": ["text.txt"], "": []}.get(name, ["run"])
    elif rng.random() < 0.8:
        words.append(rng.choice(PATHS))
    if name in ("score", "inspect") and rng.random() < 0.8:
        words.append("text.txt")
    if name == "train" and rng.random() < 0.9:
        words += _SMALL
    options = [param for param in command.params if isinstance(param, click.Option)]
    for option in rng.choices(options, k=rng.randint(1, 4)) if options else ():
        words.append(rng.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(value_of(option, rng))
    return [word.replace("\0", "") for word in words]


def value_of(option: click.Option, rng: random.Random) -> str:
    """A value for an option; most of the time of its type."""
    kind: Any = option.type
    pools: list[tuple[str, ...]] = [PATHS, TEXTS, NUMBERS]
    if isinstance(kind, click.Choice) and rng.random() < 0.7:
        return str(rng.choice(list(kind.choices)))
    is_number = kind.name.lower() in ("integer", "float")
    pool = NUMBERS if is_number and rng.random() < 0.8 else rng.choice(pools)
    return rng.choice(pool)


def _try(
    subject: Subject, name: str, commands: dict[str, click.Command], rng: random.Random, tally: Tally
) -> None:
    subject.restore()
    words = command_line(name, commands[name], rng)
    case = " ".join(map(ascii, words))
    sent: list[float] = []

    def watch(seconds: float) -> int | None:
        if seconds < _TIMEOUT_SECONDS or sent:
            return None
        sent.append(seconds)
        return signal.SIGTERM

    limits = Handicap(memory=3000 * MEGABYTE) if CAN_FORK else None
    outcome = run_textgen(words, subject.work, handicap=limits, watch=watch, stdin=b"a line\n", timeout=60)
    tally.tried += 1
    tally.look_at(case, outcome)
    tally.leftovers(case, unfinished(names_of_files(subject.work)))
