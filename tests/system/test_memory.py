"""Memory does not grow with the corpus: anonymous pages of a real training process, read from /proc."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
LINE = "The memory of a run is that of its network, whatever the length of the text that it reads.\n"
MEGABYTE = 2**20


def peak_anonymous_bytes(corpus: Path, folder: Path) -> int:
    """The highest RssAnon of `textgen train`, looked at every few milliseconds from its start to its end."""
    places = ["--val", folder / "val.txt", "--run", folder / corpus.stem, "--cache-dir", folder / "cache"]
    sizes = ["--steps", "20", "--hidden-size", "16"]
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
