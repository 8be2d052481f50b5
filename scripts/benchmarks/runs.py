"""Whole runs of `textgen`, each a process of its own, and what is worth keeping of them."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.results import json_lines

FIGURES = ("nats_per_token", "bits_per_character", "bits_per_byte")


def textgen(*arguments: str) -> str:
    """What `textgen` with these arguments printed. Raises ClickException when it failed."""
    command = [sys.executable, "-m", "textgen", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = (answer.stderr.strip() or "no message").splitlines()[-1]
        raise click.ClickException(f"textgen {' '.join(arguments)}: {reason}")
    return answer.stdout


def train(text: Sequence[str], run: Path, options: Sequence[str]) -> dict[str, Any]:
    """Train a run on a text; its validation figures, steps, speed, and all that it had chosen.

    `busy` says that the training was three tenths slower than the probe, which takes no optimizer steps:
    other work ran, and a figure that depends on the clock should be measured again.
    """
    result = json.loads(textgen("train", *text, "--run", str(run), "--json", *options))
    config = json.loads((run / "config.json").read_text())
    lines = json_lines(run / "metrics.jsonl")
    speed = statistics.median(line["tokens_per_second"] for line in lines if line["kind"] == "train")
    probed = config["measured"].get("probed_tokens_per_second")
    return {figure: result[figure] for figure in FIGURES} | {
        "steps": result["steps"],
        "best_step": result["best_step"],
        "seconds": result["seconds"],
        "tokens_per_second": round(speed),
        "busy": probed is not None and speed < 0.7 * probed,
        "parameters": config["measured"]["parameters"],
        "chosen": config["model"] | config["training"],
    }


def end_together() -> None:
    """From here on SIGTERM ends this process as Ctrl-C does, with the run that it waits for."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
