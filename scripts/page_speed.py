"""Measure the page of `textgen export RUN html` in headless Chromium: speed, and time to first text.

Untrained networks with the alphabet of a common text are as fast as trained ones. Each size is measured
several times, the sizes in turn, so that other programs on the machine affect all; the best of each counts.

    python scripts/page_speed.py               LSTMs of 128, 256 and 512 units, and a page of 5 MB
    python scripts/page_speed.py --run runs/x  a run of yours, with its n-grams
"""

from __future__ import annotations

import argparse
import string
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.export.formats import export
from textgen.run import CONFIG, FORMAT, TOKENIZER, WEIGHTS, Run, config_json, save_weights
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.system.atomic import write_file
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GOALS = {128: 20_000, 256: 8_000, 512: 2_500}  # characters per second
ALPHABET = string.ascii_letters + " \n.,;:!?'-&$3"  # 65 characters
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Characters per second of the page's own writer, without what is drawn on the screen.
WRITE = """(seconds) => {
    const off = { label: null, temperature: 1, top_k: null, top_p: null, min_p: null, stops: [], seed: 1 };
    const writer = new Writer(model, { prompt: "The", maxTokens: 1e9, ...off });
    for (let i = 0; i < 500; i++) writer.step();
    const [begun, before] = [performance.now(), writer.text.length];
    while (!writer.ending && performance.now() - begun < 1000 * seconds) writer.step();
    return (1000 * (writer.text.length - before)) / (performance.now() - begun);
}"""
# Milliseconds from the beginning of navigation to the first text on the screen.
FIRST_TEXT = """() => new Promise((done) => {
    const look = () => byId("text").childElementCount > 1 ? done(performance.now()) : setTimeout(look, 5);
    look();
})"""


def untrained(folder: Path, hidden_size: int, num_layers: int = 1) -> Run:
    """An untrained LSTM over 65 characters."""
    import numpy as np

    from textgen.models.language_model import LanguageModel

    tokenizer = Tokenizer.train("char", [ALPHABET])
    counts = np.bincount(tokenizer.encode(ALPHABET), minlength=tokenizer.vocab_size)
    vocab = ModelVocab.from_counts(counts)
    sizes: dict[str, Any] = {"hidden_size": hidden_size, "embedding_dim": 64, "num_layers": num_layers}
    network = LanguageModel(ModelConfig(model_vocab_size=vocab.size, **sizes), vocab)
    config = RunConfig(
        format=FORMAT,
        textgen_version="0",
        data=DataConfig(corpus=("alphabet",)),
        model=network.config,
        training=TrainingConfig(steps=1),
    )
    folder.mkdir()
    write_file(folder / CONFIG, config_json(config))
    tokenizer.save(folder / TOKENIZER)
    save_weights(folder / WEIGHTS, network.weights())
    return Run(folder)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless."""
    import shutil

    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def characters_per_second(browser: Browser, page_file: Path, seconds: float) -> float:
    """How fast a page writes."""
    page = browser.new_page()
    page.goto(page_file.as_uri())
    speed = page.evaluate(WRITE, seconds)
    page.close()
    return float(speed)


def first_text(browser: Browser, page_file: Path) -> float:
    """Milliseconds until a page that is opened with a link has written."""
    page = browser.new_page()
    page.goto(f"{page_file.as_uri()}#prompt=The&seed=1&temperature=1")
    elapsed = page.evaluate(FIRST_TEXT)
    page.close()
    return float(elapsed)


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", help="a run to measure instead")
    parser.add_argument("--seconds", type=float, default=2.0, help="of writing, each time")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        if given.run is not None:
            runs = {given.run: Run(given.run)}
        else:
            runs = {f"{size} units": untrained(folder / str(size), size) for size in GOALS}
        pages = {title: folder / f"{number}.html" for number, title in enumerate(runs)}
        for title, run in runs.items():
            export(run, "html", pages[title], weights="float32")
        best = dict.fromkeys(pages, 0.0)
        for _ in range(given.repeats):
            for title, page in pages.items():
                best[title] = max(best[title], characters_per_second(browser, page, given.seconds))
        for (title, speed), goal in zip(best.items(), [*GOALS.values()], strict=False):
            aim = "" if given.run is not None else f" (goal {goal:,})"
            print(f"{title}: {speed:,.0f} characters/s{aim}")
        if given.run is None:
            pages = {"a large page": folder / "large.html"}
            export(untrained(folder / "large", 460), "html", pages["a large page"], weights="float32")
        for title, page in pages.items():
            waits = [first_text(browser, page) for _ in range(given.repeats)]
            size = page.stat().st_size / 1e6
            print(f"{title} of {size:.1f} MB: first text after {min(waits):,.0f} ms")


if __name__ == "__main__":
    main()
