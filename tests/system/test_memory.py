"""Memory: errors in one line, freed memory kept, and no growth with the size of the corpus."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from textgen.errors import TrainingError
from textgen.system.memory import memory_errors, require_memory, total_memory

STATUS = Path("/proc/self/status")
LINE = "The memory of a run is that of its network, whatever the length of the text that it reads.\n"
MEGABYTE = 2**20


def peak_anonymous_bytes(corpus: Path, folder: Path) -> int:
    """The highest RssAnon of `textgen train`, read every few milliseconds."""
    places = ["--val", folder / "val.txt", "--run", folder / corpus.stem, "--cache-dir", folder / "cache"]
    # Counting n-grams has a limit of its own, of about 1 GB.
    sizes = ["--steps", "20", "--hidden-size", "16", "--no-ngram"]
    command = [sys.executable, "-m", "textgen", "train", corpus, *places, *sizes]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        peak = max(peak, *(int(number) * 1024 for number in kilobytes), 0)
        time.sleep(0.005)
    assert process.wait() == 0
    return peak


@pytest.mark.slow
@pytest.mark.skipif(
    not STATUS.exists() or "RssAnon" not in STATUS.read_text(), reason="needs Linux's RssAnon in /proc"
)
def test_a_corpus_of_thirty_megabytes_takes_no_more_memory_than_one_of_two(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text(LINE * 20)
    peaks = []
    for megabytes in (2, 30):
        corpus = tmp_path / f"corpus-{megabytes}.txt"
        corpus.write_text(LINE * (megabytes * MEGABYTE // len(LINE)))
        peaks.append(peak_anonymous_bytes(corpus, tmp_path))
    assert peaks[1] - peaks[0] < 12 * MEGABYTE


def test_running_out_of_memory_is_a_one_line_error_that_names_the_batch_size() -> None:
    with pytest.raises(TrainingError, match="--batch-size") as error, memory_errors():
        torch.empty(2**46)  # 256 TB, to raise what a failed allocation raises
    assert "\n" not in str(error.value)


def test_other_errors_are_not_taken_for_running_out_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        torch.ones(2, 3) @ torch.ones(2, 3)


FAULTS = """
import resource, sys
import numpy
from textgen.system.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def use():
    block = numpy.empty(2**26, numpy.uint8)  # more than glibc keeps by default
    block[::4096] = 1
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_kept_memory_causes_no_new_page_faults() -> None:
    faults = {
        mode: int(
            subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True).stdout
        )
        for mode in ("keep", "return")
    }
    # 49,152 small pages, or 96 huge ones where the system has them.
    assert faults["return"] > 90 > 45 > faults["keep"]


def test_training_that_does_not_fit_is_refused_before_it_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("textgen.system.memory.total_memory", lambda: 4 * 10**9)
    require_memory(10**6, 10**8, "cpu")
    with pytest.raises(TrainingError, match=r"1,000,000,000 weights takes at least 16\.0 GB.*--hidden-size"):
        require_memory(10**9, 1, "cpu")
    # The characters of an alphabet of 193,000 in batches of 32 x 64.
    with pytest.raises(TrainingError, match=r"395,264,000 logits takes at least 4\.9 GB.*--batch-size"):
        require_memory(10**7, 32 * 64 * 193_000, "cpu")
    require_memory(10**7, 32 * 64 * 193_000, "cuda")


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = total_memory()
    for text, expected in (("1000000\n", 1_000_000), ("max\n", machine)):
        (tmp_path / "memory.max").write_text(text)
        monkeypatch.setattr("textgen.system.memory._CONTAINER_LIMIT", tmp_path / "memory.max")
        assert machine is None or total_memory() == expected
