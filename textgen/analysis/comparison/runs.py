"""A comparison's runs are trained: each a whole `textgen train` in a process of its own, one after the other.

A process of its own because memory is measured: what one run took must not be there when the next begins, and
the system tells the most that a process held at a time when it ends. What was complete stays, what was
interrupted is resumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from textgen.analysis.comparison.plan import ComparisonPlan, PlannedRun, train_arguments
from textgen.errors import Interrupted, RunError
from textgen.run import CONFIG, Run
from textgen.settings.config import RunConfig
from textgen.system.atomic import only_one, write_file
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter

MEMORY = "memory.json"  # the most memory of each run's processes, in bytes
GO_ON = "Give the same command again to go on."
LOOK_SECONDS = 0.1  # between two looks at a process
ENDING_SECONDS = 60.0  # to save a checkpoint


class ComparedRuns:
    """The runs of a plan in its directory."""

    def __init__(
        self, plan: ComparisonPlan, directory: Path, cache_dir: str | None, reporter: Reporter
    ) -> None:
        self.plan = plan
        self.directory = directory
        self._cache = [] if cache_dir is None else ["--cache-dir", cache_dir]
        self._reporter = reporter

    def run(self, planned: PlannedRun) -> Run:
        """One of the runs, as far as it is. Raises RunError when it has not begun."""
        return Run(self.directory / planned.name)

    def config(self, planned: PlannedRun) -> RunConfig:
        """What a run was made with. Raises RunError."""
        return self.run(planned).config

    def peak_memory(self, planned: PlannedRun) -> int | None:
        """The most memory that a process of a run held at a time, in bytes; None where it is not known.

        Raises RunError when the file that says so is damaged.
        """
        return self._memory().get(planned.name)

    def is_complete(self, planned: PlannedRun) -> bool:
        """Whether a run was trained to its end."""
        path = self.directory / planned.name
        return (path / CONFIG).is_file() and Run(path).is_complete

    def train(self, stop: StopRequest) -> None:
        """Train what is not complete.

        Raises Interrupted when asked to stop, once the run in hand is saved, and RunError when one fails.
        """
        remaining = sum(not self.is_complete(planned) for planned in self.plan.runs)
        if remaining:
            self._describe_plan(remaining)
        stop.deferred = True
        stop.hint = GO_ON
        with _ends_on_hangup():
            for number, planned in enumerate(self.plan.runs, start=1):
                if self.is_complete(planned):
                    continue
                self._wait_for_another(planned, stop)
                if not self.is_complete(planned):  # else that process has completed it
                    self._train(planned, stop)
                self._describe(planned, number)
        stop.end_deferral()

    # -- one run ------------------------------------------------------------

    def _train(self, planned: PlannedRun, stop: StopRequest) -> None:
        if stop.signal_number is not None:
            self._interrupted(stop.signal_number)
        path = self.directory / planned.name
        if (path / CONFIG).is_file():
            arguments = ["--resume", str(path)]
        else:
            options = self.plan.options(planned, self.config) | {"run": str(path)}
            arguments = [*self.plan.corpus, *train_arguments(options)]
        log = path.with_suffix(".log")
        with log.open("ab") as output:
            code, peak = self._process([*arguments, *self._cache], output.fileno(), planned, stop)
        if peak is not None:
            memory = self._memory()
            memory[planned.name] = max(peak, memory.get(planned.name, 0))
            write_file(self.directory / MEMORY, json.dumps(memory, indent=2) + "\n")
        if stop.signal_number is not None and code != 0:
            self._interrupted(stop.signal_number)
        if code != 0:
            raise RunError(f"{path} was not trained: {_reason(log, code)} (all of it is in {log})")

    def _process(
        self, arguments: Sequence[str], output: int, planned: PlannedRun, stop: StopRequest
    ) -> tuple[int, int | None]:
        """Run `textgen train` to its end, and pass a signal on to it; its exit code and most memory."""
        # -P: the folder that one stands in is none to import from; -m would look there first.
        command = [sys.executable, "-P", "-m", "textgen", "train", *arguments]
        # In a process group of its own, for a terminal sends Ctrl-C to a whole group, and a second signal
        # would end training before it has saved: it gets the one that is passed on.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
        ended, is_told = None, False
        try:
            while (ended := _ended(process)) is None:
                if stop.signal_number is not None and not is_told:
                    os.kill(process.pid, stop.signal_number)
                    is_told = True
                self._show(planned)
                time.sleep(LOOK_SECONDS)
        finally:
            self._reporter.close()
            if ended is None:
                _end(process)
        return ended

    def _show(self, planned: PlannedRun) -> None:
        """The bar of training, from what the run has written down."""
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

    def _describe_plan(self, remaining: int) -> None:
        total, minutes = len(self.plan.runs), self.plan.minutes_each
        done = f"{total - remaining} of {total} runs are complete; " if remaining < total else "Runs: "
        self._reporter.line(
            f"{done}{remaining} to train, one after the other, {minutes:.3g} min each, "
            f"{remaining * minutes:.3g} min in all. They go to {self.directory}."
        )

    def _describe(self, planned: PlannedRun, number: int) -> None:
        facts = self.run(planned).facts()
        self._reporter.line(
            f"{planned.name} ({number} of {len(self.plan.runs)}): {facts['network']}, "
            f"{facts['parameters']:,} parameters, {facts['steps']:,} steps in {facts['seconds']:.0f} s, "
            f"validation {facts['best']['nats_per_token']:.4f} nats/token"
        )

    def _wait_for_another(self, planned: PlannedRun, stop: StopRequest) -> None:
        """Wait while a process trains this run still: its comparison was killed, and could not end it."""
        training = self.directory / planned.name / "training"
        is_said = False
        while training.is_dir():
            with only_one(training) as alone:
                if alone:
                    return
            if not is_said:
                self._reporter.line(
                    f"{planned.name} is still being trained by another process; waiting for it."
                )
            is_said = True
            if stop.signal_number is not None:
                self._interrupted(stop.signal_number)
            time.sleep(LOOK_SECONDS)

    def _interrupted(self, number: int) -> NoReturn:
        complete = sum(map(self.is_complete, self.plan.runs))
        raise Interrupted(
            f"stopped and saved; {complete} of {len(self.plan.runs)} runs are complete in {self.directory}. "
            f"{GO_ON}",
            number,
        )

    def _memory(self) -> dict[str, int]:
        path = self.directory / MEMORY
        if not path.is_file():
            return {}
        try:
            return {name: int(peak) for name, peak in json.loads(path.read_text(encoding="utf-8")).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}: cannot be read; remove it, and the memory of runs that are complete is not told"
            ) from error


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, int | None] | None:
    """Exit code and most memory in bytes of a process that has ended; None while it runs.

    The memory is None on Windows, which does not tell.
    """
    if not hasattr(os, "wait4"):
        code = process.poll()
        return None if code is None else (code, None)
    number, status, usage = os.wait4(process.pid, os.WNOHANG)
    if number == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts it in units of 1024 bytes, macOS in bytes.
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, with the chance to save if it has had no signal yet."""
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(log: Path, code: int) -> str:
    if code < 0:
        return f"its process was ended by signal {-code}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1].removeprefix("textgen: ").rstrip(".") if lines else f"exit code {code}"


@contextmanager
def _ends_on_hangup() -> Iterator[None]:
    """A terminal that is closed ends the work in order, unless it was started to outlive that (nohup)."""
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
    raise Interrupted(f"the terminal was closed. {GO_ON}", number)
