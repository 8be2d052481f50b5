"""Runs of `textgen`, each in its own process, and their results."""

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
    """Run `textgen` with these arguments and return its output. Raises ClickException when it fails."""
    command = [sys.executable, "-m", "textgen", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = (answer.stderr.strip() or "no message").splitlines()[-1]
        raise click.ClickException(f"textgen {' '.join(arguments)}: {reason}")
    return answer.stdout


def train(text: Sequence[str], run: Path, options: Sequence[str]) -> dict[str, Any]:
    """Train a run on a text; returns its validation loss, steps, speed and resolved settings.

    `busy` is True if training was much slower than the speed probed before it: other programs were running,
    and a result that depends on the clock should be measured again.
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
    """Let SIGTERM end this process as Ctrl-C does, together with the `textgen` that it waits for."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
