"""The Python interface: train, load and resume return a TextModel, which generates, scores and evaluates.

    import textgen

    model = textgen.train("poems.txt", minutes=2)
    print(model.generate("Shall I", max_new_tokens=200, temperature=0.8, seed=1).text)

Errors that the user can fix are TextgenErrors. torch is loaded only for training, evaluating and `network`,
not for loading, generating or scoring on a CPU.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.errors import ConfigError, Interrupted, RunError
from textgen.evaluation.report import Report
from textgen.evaluation.score import Scorer, Tally
from textgen.generation.generator import Generator
from textgen.generation.numpy_engine.thread_tuner import ThreadTuner
from textgen.generation.sample import Sample
from textgen.hub.fetch import local_path, open_run, refuse_hub
from textgen.run import WEIGHTS, Run
from textgen.settings.config import SampleConfig
from textgen.settings.files import read_options
from textgen.settings.given import UserOptions
from textgen.settings.option import from_mapping
from textgen.settings.sizes import parse_size
from textgen.system.device import resolve_device
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter
from textgen.system.threads import few_numpy_threads, numpy_threads
from textgen.text.documents import split_documents
from textgen.text.normalize import normalize
from textgen.text.remote.texts import RemoteTexts
from textgen.text.sources import record_stream
from textgen.text.store import default_cache_dir

if TYPE_CHECKING:
    from textgen.export.report import ExportReport
    from textgen.models.language_model import LanguageModel
    from textgen.training.session import Session


class TextModel:
    """A trained run, to generate, score and evaluate with.

    The run's files are read when they are first needed; what needs them raises RunError or TokenizerError if
    they are missing or damaged.
    """

    def __init__(self, run: Run, device: str = "cpu", *, ngram: bool = True) -> None:
        self.run = run
        self._device = device
        self._ngram = ngram

    def __repr__(self) -> str:
        facts = self.run.facts()
        return f"TextModel({facts['run']!r}: {facts['network']}, {facts['tokenizer']})"

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.run.path

    @property
    def uses_ngrams(self) -> bool:
        """Whether the run has n-grams, and they are mixed with its network."""
        return self._ngram and self.run.has_companion

    @cached_property
    def generator(self) -> Generator:
        """What generates its texts, for requests that the other methods do not offer."""
        return Generator.from_run(self.run, self._device, numpy_threads(), ngram=self._ngram)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.generator.engine, self.generator.tokenizer)

    @cached_property
    def network(self) -> LanguageModel:
        """The network as a torch module, in evaluation mode. It reads model ids: see encode."""
        from textgen.models.language_model import LanguageModel

        return LanguageModel.from_pretrained(self.run.path).to(resolve_device(self._device))

    def encode(self, text: str) -> np.ndarray:
        """The model ids of a text, (T,) int64: what `network` reads. Raises TokenizerError."""
        with _few_threads():  # making the engine sets them
            generator = self.generator
        return generator.encode(text)

    def generate(
        self,
        prompt: str = "",
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        mid_text: bool = False,
        label: str | None = None,
        **settings: Any,
    ) -> Sample:
        """Generate one text after a prompt; `.text` is the new text, without the prompt.

        stop: end before any of these strings. seed: the same seed gives the same text; None: a random seed.
        mid_text: the prompt is from the middle of a text, not its beginning. label: the label that the text
        is conditioned on, in a run with labels; None: none.
        settings: fields of SampleConfig, such as max_new_tokens, temperature, top_k, top_p and min_p.

        Raises ConfigError, TokenizerError, RunError.
        """
        (sample,) = self.generate_many(
            1, prompt, stop=stop, seed=seed, mid_text=mid_text, label=label, **settings
        )
        return sample

    def generate_many(
        self,
        num_samples: int,
        prompt: str = "",
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        mid_text: bool = False,
        label: str | None = None,
        **settings: Any,
    ) -> list[Sample]:
        """Generate several texts in one batch, faster than one by one; arguments are those of generate."""
        config = from_mapping(SampleConfig, settings)
        with _few_threads():
            return self.generator.generate(
                prompt,
                num_samples=num_samples,
                stop=_as_sequence(stop),
                seed=seed,
                config=config,
                mid_text=mid_text,
                label=label,
            )

    def stream(
        self,
        prompt: str = "",
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        mid_text: bool = False,
        label: str | None = None,
        **settings: Any,
    ) -> Iterator[str]:
        """Yield the text of generate in pieces, as they are drawn; arguments are those of generate."""
        config = from_mapping(SampleConfig, settings)
        with _few_threads():
            pieces = self.generator.stream(
                prompt, stop=_as_sequence(stop), seed=seed, config=config, mid_text=mid_text, label=label
            )
        return _with_own_threads(pieces)

    def score(self, text: str | Iterable[str]) -> Report:
        """How well the model predicts a text, in nats, bits and perplexity; without torch.

        text: a string is read as plain text, whose documents are those of the run's text, or lines where that
        is records. Of several strings, each is a document, whatever line ends it has.

        Raises ConfigError for an empty text, TokenizerError, RunError.
        """
        documents = self.run.config.data.documents_of_other_text
        form = self.run.config.data.normalize
        if isinstance(text, str):
            stream = split_documents([normalize(text, form)], documents)
        else:
            stream = record_stream(normalize(each, form) for each in text)
        tally = Tally()
        with _few_threads():
            for piece in self._scorer.read(stream):
                tally.add(piece)
        if not tally.report.loss.tokens:
            raise ConfigError("there is no text to score; give some")
        return tally.report

    def export(self, format: str, path: str | os.PathLike[str] | None = None, **options: Any) -> ExportReport:
        """Write the model in another form; the formats and their options are those of `textgen export`.

        path: the file or folder to write; None: the run's name in the current folder. The n-grams of the run
        go with it where the format has them, unless the model was loaded without.

        Raises ConfigError for a format or option that there is none of, or that cannot express the model;
        RunError, OSError.
        """
        from textgen.export.formats import export, find_format

        ngram = self._ngram or not find_format(format).ngrams
        with _few_threads():
            return export(self.run, format, None if path is None else Path(path), ngram=ngram, **options)

    def evaluate(
        self,
        part: str = "val",
        *,
        window: int | None = None,
        device: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        fetch: bool = False,
        progress: bool = False,
    ) -> Report:
        """How well the model predicts a part of the run's own corpus: "val", "test" or "train".

        The n-grams of the run are part of the model, unless it was loaded without; see load.

        window: reset the state every `window` tokens; None carries it over the whole text. fetch: fetch a
        corpus that is a URL again, if it is no longer in the cache.

        Raises ConfigError, CorpusError, RunError; the corpus must still exist, unchanged.
        """
        from textgen.evaluation.evaluate import evaluate_run
        from textgen.evaluation.report import Report
        from textgen.evaluation.with_ngrams import evaluate_run_with_ngrams
        from textgen.system.memory import memory_errors

        if window is not None and window < 1:
            raise ConfigError(f"window={window}: must be at least 1")
        reporter = _reporter(progress)
        cache = _cache(cache_dir)
        run = Run(self.run.path, RemoteTexts(cache, fetch, reporter.work), reporter.line)
        store = run.open_store(cache, reporter.work)
        part = self.run.require_part(store, part)
        settings: dict[str, Any] = {
            "device": resolve_device(device), "reset_every": window, "progress": reporter.work,
        }  # fmt: skip
        with memory_errors():
            if not self._ngram:
                return evaluate_run(self.run, store, part, **settings)
            report = evaluate_run_with_ngrams(self.run, store, part, **settings)
        return report if isinstance(report, Report) else report.together


def train(
    *corpus: str | os.PathLike[str],
    progress: bool = True,
    config: str | os.PathLike[str] | None = None,
    from_run: str | os.PathLike[str] | TextModel | None = None,
    **options: Any,
) -> TextModel:
    """Train a language model on text files, folders, globs or URLs; returns when training is done.

    options: any option of `textgen train` by its name (minutes=2, tokenizer="bpe", hidden_size=512,
    run="runs/poems"); what is not given is chosen. config: a TOML file, or a run whose options to repeat.
    from_run: the run whose weights to start from; without a corpus, it is trained on that run's text.
    progress: print progress, and show the loss curve at the end in a notebook.

    When interrupted by Ctrl-C or a notebook's stop button, it saves and raises Interrupted; continue with
    textgen.resume. torch's random state and number of threads are restored afterwards.

    Raises ConfigError, CorpusError, TokenizerError, RunError, TrainingError.
    """
    from textgen.training.new_run import new_run

    if "resume" in options:
        raise ConfigError("resume is a function of its own: textgen.resume(run)")
    given = dict(options)
    if corpus:
        given["corpus"] = tuple(map(os.fspath, corpus))
    if from_run is not None:
        given["from_run"] = local_path(
            os.fspath(from_run.path if isinstance(from_run, TextModel) else from_run)
        )
    for name in ("run", "cache_dir"):
        if given.get(name) is not None:
            given[name] = os.fspath(given[name])
    user_options = UserOptions.from_names(given)
    if config is not None:
        user_options = read_options(Path(local_path(os.fspath(config)))).overridden_by(user_options)
    reporter = _reporter(progress)
    with _torch_as_it_was():
        with StopRequest() as stop:
            return _completed(new_run(user_options, reporter), stop, progress)


def resume(
    run: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    fetch: bool = False,
    cache_size: int | str | None = None,
    progress: bool = True,
) -> TextModel:
    """Continue an interrupted run exactly as if it had never stopped; returns when training is done.

    fetch: fetch a corpus that is a URL again, if it is no longer in the cache. cache_size: the most that
    shards of encoded text behind a URL may take there, in bytes or as in "20GB"; None: half of the free disk.

    Raises RunError when the run is complete already or its text has changed, and what train raises.
    """
    from textgen.training.resume import resume_run

    refuse_hub(run, "resuming writes to the run", "start from it with from_run")
    with _torch_as_it_was():
        with StopRequest() as stop:
            session = resume_run(
                Path(run),
                _cache(cache_dir),
                _reporter(progress),
                fetch=fetch,
                cache_size=None if cache_size is None else parse_size("cache_size", cache_size),
            )
            return _completed(session, stop, progress)


def load(run: str | os.PathLike[str], *, device: str = "cpu", ngram: bool = True) -> TextModel:
    """Load a trained run: a directory, or "hf:USER/NAME" or "hf:USER/NAME@REVISION" on the hub.

    ngram: whether its n-grams, if it has any, are mixed with the network when it generates, scores and
    evaluates.
    device: where to generate and score; torch is not loaded for "cpu". "auto" is a GPU if there is one.

    Raises RunError when the run has no weights, ConfigError when there is no such device.
    """
    found = open_run(run)
    found.config  # noqa: B018  read now, so that a directory that is not a run is refused here
    if not found.has_weights:
        raise RunError(f"{found.path / WEIGHTS}: no weights yet. Resume with: textgen.resume({str(run)!r})")
    return TextModel(found, device, ngram=ngram)


def _completed(session: Session, stop: StopRequest, progress: bool) -> TextModel:
    path = session.run.path
    try:
        session.complete(stop)
    except Interrupted as error:
        raise Interrupted(
            f"training was interrupted. Resume with: textgen.resume({str(path)!r})", error.exit_code - 128
        ) from error
    if progress:
        _show_picture(path / "loss.png")
    return TextModel(Run(path))


def _show_picture(picture: Path) -> None:
    """Show a picture below the cell, in a notebook only."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel") or not picture.is_file():
        return
    display = importlib.import_module("IPython.display")
    display.display(display.Image(filename=str(picture)))


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Restore torch's threads, random state and determinism, which training sets for the whole process."""
    import torch

    threads, is_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    random_state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random_state)
        torch.use_deterministic_algorithms(is_deterministic)


def _reporter(progress: bool) -> Reporter:
    return Reporter(sys.stdout if progress else None)


def _cache(cache_dir: str | os.PathLike[str] | None) -> Path:
    return default_cache_dir() if cache_dir is None else Path(cache_dir)


@contextmanager
def _few_threads() -> Iterator[None]:
    """Run NumPy's products on one or two threads in the block; restore the process's setting afterwards."""
    with few_numpy_threads():
        ThreadTuner.threads_changed()
        yield


def _with_own_threads(pieces: Iterator[str]) -> Iterator[str]:
    with _few_threads():
        yield from pieces


def _as_sequence(stop: str | Sequence[str]) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop
