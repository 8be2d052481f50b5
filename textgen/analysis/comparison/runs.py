"""Trains the runs of a comparison one after the other, each with `textgen train` in a process of its own.

Separate processes make the peak memory measurable: the system reports it per process, and no run starts with
memory that an earlier one left allocated. Complete runs are kept, interrupted ones are resumed.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from textgen.analysis.comparison.plan import ComparisonPlan, PlannedRun, train_arguments
from textgen.analysis.comparison.train_process import POLL_SECONDS, failure_reason, run_training
from textgen.errors import Interrupted, RunError
from textgen.run import CONFIG, Run
from textgen.settings.config import RunConfig
from textgen.system.atomic import write_file
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.interrupts import StopRequest
from textgen.system.locks import folder_lock
from textgen.system.progress import Reporter
from textgen.text.remote.urls import is_encoded_url

MEMORY = "memory.json"  # the peak memory of each run's processes, in bytes
RESUME_HINT = "Run the same command again to continue."


class ComparedRuns:
    """The runs of a comparison in its directory."""

    def __init__(
        self,
        plan: ComparisonPlan,
        directory: Path,
        cache_dir: str | None,
        reporter: Reporter,
        cache_size: int | None = None,
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.cache_dir = cache_dir
        self.cache_size = cache_size
        self._cache = [] if cache_dir is None else ["--cache-dir", cache_dir]
        self._cache += [] if cache_size is None else ["--cache-size", str(cache_size)]
        self._reporter = reporter

    def run(self, planned: PlannedRun) -> Run:
        """The run directory of a planned run. Raises RunError when it does not exist yet."""
        return Run(self.directory / planned.name)

    def config(self, planned: PlannedRun) -> RunConfig:
        """The config of a planned run. Raises RunError."""
        return self.run(planned).config

    def peak_memory(self, planned: PlannedRun) -> int | None:
        """The peak memory of a run's processes in bytes; None where it is unknown.

        Raises RunError when the file that holds it is damaged.
        """
        return self._peak_memories().get(planned.name)

    def is_complete(self, planned: PlannedRun) -> bool:
        """Whether a run has been trained to its end."""
        path = self.directory / planned.name
        return (path / CONFIG).is_file() and Run(path).is_complete

    def train(self, stop: StopRequest) -> None:
        """Train every run that is not complete.

        Raises Interrupted when asked to stop, after the current run is saved, and RunError when a run fails.
        """
        remaining = sum(not self.is_complete(planned) for planned in self.plan.runs)
        if remaining:
            self._print_plan(remaining)
        stop.deferred = True
        stop.hint = RESUME_HINT
        with _interrupted_by_hangup():
            for number, planned in enumerate(self.plan.runs, start=1):
                if self.is_complete(planned):
                    continue
                self._wait_for_other_process(planned, stop)
                if not self.is_complete(planned):  # the other process may have completed it
                    self._train(planned, stop)
                self._print_result(planned, number)
        stop.end_deferral()

    # -- one run ------------------------------------------------------------

    def _train(self, planned: PlannedRun, stop: StopRequest) -> None:
        if stop.signal_number is not None:
            self._interrupted(stop.signal_number)
        path = self.directory / planned.name
        if (path / CONFIG).is_file():
            arguments = ["--resume", str(path)]
            if any(map(is_encoded_url, self.plan.corpus)):  # which the user has named to this command
                arguments.append("--fetch")
        else:
            options = self.plan.options(planned, self.config) | {"run": str(path)}
            arguments = [*self.plan.corpus, *train_arguments(options)]
        log = path.with_suffix(".log")
        with log.open("ab") as output:
            try:
                code, peak = run_training(
                    [*arguments, *self._cache], output.fileno(), stop, lambda: self._show_progress(planned)
                )
            finally:
                self._reporter.close()
        if peak is not None:
            memory = self._peak_memories()
            memory[planned.name] = max(peak, memory.get(planned.name, 0))
            write_file(self.directory / MEMORY, json.dumps(memory, indent=2) + "\n")
        if stop.signal_number is not None and code != 0:
            self._interrupted(stop.signal_number)
        if code != 0:
            raise RunError(
                f"{path} was not trained: {failure_reason(log, code)} (the full output is in {log})"
            )

    def _show_progress(self, planned: PlannedRun) -> None:
        """Show the progress bar of a run, from the metrics that its process has written."""
        if not self._reporter.shows_bars or not (self.directory / planned.name / CONFIG).is_file():
            return
        run = self.run(planned)
        lines = [line for line in run.metrics() if line["kind"] == "train"]
        if lines:
            progress = lines[-1]["seconds"] / (60 * self.plan.minutes_each)
            if (epochs := run.config.training.epochs) is not None:
                progress = max(progress, lines[-1]["epoch"] / epochs)
            figures = (
                f"{lines[-1]['nats_per_token']:.4f} nats/token, {lines[-1]['tokens_per_second']:,} tokens/s"
            )
            self._reporter.training(progress, f"{planned.name}: {figures}")

    def _print_plan(self, remaining: int) -> None:
        total, minutes = len(self.plan.runs), self.plan.minutes_each
        complete = f"{total - remaining} of {total} runs are complete, " if remaining < total else ""
        runs = "1 run" if remaining == 1 else f"{remaining} runs"
        self._reporter.line(
            f"{complete}{runs} to train, {minutes:.3g} min each, {remaining * minutes:.3g} min in total; "
            f"they are written to {self.directory}."
        )

    def _print_result(self, planned: PlannedRun, number: int) -> None:
        facts = self.run(planned).facts()
        self._reporter.line(
            f"{planned.name} ({number} of {len(self.plan.runs)}): {facts['network']}, "
            f"{facts['parameters']:,} parameters, {facts['steps']:,} steps in {facts['seconds']:.0f} s, "
            f"validation {facts['best']['nats_per_token']:.4f} nats/token"
        )

    def _wait_for_other_process(self, planned: PlannedRun, stop: StopRequest) -> None:
        """Wait while the process of an earlier comparison, which was killed, is still training this run."""
        training = self.directory / planned.name / "training"
        is_reported = False
        while training.is_dir():
            with folder_lock(training) as is_free:
                if is_free:
                    return
            if not is_reported:
                self._reporter.line(
                    f"{planned.name} is still being trained by another process; waiting for it."
                )
            is_reported = True
            if stop.signal_number is not None:
                self._interrupted(stop.signal_number)
            time.sleep(POLL_SECONDS)

    def _interrupted(self, number: int) -> NoReturn:
        complete = sum(map(self.is_complete, self.plan.runs))
        raise Interrupted(
            f"stopped and saved; {complete} of {len(self.plan.runs)} runs are complete in {self.directory}. "
            f"{RESUME_HINT}",
            number,
        )

    def _peak_memories(self) -> dict[str, int]:
        path = self.directory / MEMORY
        if not path.is_file():
            return {}
        try:
            memory = parse_json(read_bounded(path, RUN_FILE_LIMIT, "the memory of a comparison"))
            return {name: int(peak) for name, peak in memory.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}: cannot be read; remove it (the peak memory of complete runs is then unknown)"
            ) from error


@contextmanager
def _interrupted_by_hangup() -> Iterator[None]:
    """Raise Interrupted when the terminal is closed, unless SIGHUP is already ignored or handled (nohup)."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # where Python allows handlers
    if (
        not hasattr(signal, "SIGHUP")
        or not in_main_thread
        or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGHUP, _hang_up)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _hang_up(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(f"the terminal was closed. {RESUME_HINT}", number)
