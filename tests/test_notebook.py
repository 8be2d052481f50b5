"""In a notebook: scripts/quickstart.ipynb runs, and stopping a cell leaves a run that can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of the test extra")
jupyter_client = pytest.importorskip("jupyter_client", reason="needs ipykernel, of the test extra")
pytest.importorskip("ipykernel", reason="needs ipykernel, of the test extra")

ROOT = Path(__file__).parents[1]
SMALL = "steps=3, hidden_size=8, embedding_dim=8"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a clone, and an environment in which a kernel finds this textgen."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "scripts").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_quickstart_runs_from_top_to_bottom(clone: Path) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "scripts" / "quickstart.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("minutes=0.5", SMALL)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(clone / "scripts")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Validation, all" in printed
    assert "bits per character" in printed
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1  # the loss, after training
    assert (clone / "scripts" / "runs" / "notebook" / "model.safetensors").is_file()


@pytest.fixture
def kernel(clone: Path) -> Iterator[tuple[Any, Any]]:
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(clone), env=os.environ.copy())
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.slow
def test_a_cell_that_is_stopped_leaves_a_run_that_resume_continues(
    clone: Path, kernel: tuple[Any, Any]
) -> None:
    manager, client = kernel
    run = clone / "runs" / "stopped"
    settings = "steps=3000, hidden_size=8, embedding_dim=4, batch_size=4, seq_len=16, evaluations=2"
    client.execute(f"import textgen; textgen.train('data/README.md', run='runs/stopped', {settings})")
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)["content"]
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted")
    assert "textgen.resume('runs/stopped')" in reply["evalue"]
    client.execute("model = textgen.resume('runs/stopped'); text = model.generate(seed=1).text")
    assert client.get_shell_msg(timeout=120)["content"]["status"] == "ok"
