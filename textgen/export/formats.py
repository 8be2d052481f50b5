"""The formats of `textgen export`, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError
from textgen.export.html.page import GENERATOR
from textgen.export.report import Exporter, ExportReport
from textgen.export.source import ExportSource
from textgen.run import Run
from textgen.settings.option import unknown_name

_BEGINNING = 1024  # bytes of a file in which its mark stands


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    help: what is written, in a few words. ending: of the file's name; "" for a folder. mark: bytes near the
    beginning of every file of this format, by which one of ours is recognised and may be replaced; None: what
    exists is never replaced. weights: the types of weights that it can have, the default first; empty: the
    user has no choice. options: the names of its other options. ngrams: whether the run's n-grams go
    into it. find: imports the exporter.
    """

    help: str
    ending: str
    mark: bytes | None
    find: Callable[[], Exporter]
    weights: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    ngrams: bool = False


def _html() -> Exporter:
    from textgen.export.html.exporter import export_html

    return export_html


def _onnx() -> Exporter:
    try:
        from textgen.export.onnx import export_onnx
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise ConfigError(f"ONNX needs the package {missing}: pip install 'textgen[onnx]'") from error
    return export_onnx


def _weights() -> Exporter:
    from textgen.export.run_directory import export_run_directory

    return export_run_directory


FORMATS: Mapping[str, Format] = {
    "html": Format(
        help="one page that writes text, offline, in any browser",
        ending=".html",
        mark=f'content="{GENERATOR}"'.encode(),
        find=_html,
        weights=("float16", "float32", "int8"),
        options=frozenset({"inspect", "cache_dir"}),
        ngrams=True,
    ),
    "onnx": Format(
        help="the network as a file for ONNX runtimes",
        ending=".onnx",
        mark=b"\x12\x07textgen",  # the name of the producer
        find=_onnx,
        options=frozenset({"cache_dir"}),
    ),
    "weights": Format(
        help="a run directory with weights of half or a quarter of the size",
        ending="",
        mark=None,
        find=_weights,
        weights=("float16", "bfloat16", "int8"),
        options=frozenset({"cache_dir"}),
        ngrams=True,
    ),
}


def find_format(name: str) -> Format:
    """The format of this name. Raises ConfigError where there is none."""
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS, f"the formats are {', '.join(FORMATS)}"))
    return FORMATS[name]


def export(
    run: Run, format_name: str, output: Path | None = None, *, ngram: bool = True, **options: Any
) -> ExportReport:
    """Write a run in a format.

    output: the file or folder to write; None: the name of the run and the ending of the format, in the
    current folder. ngram: whether to use the run's n-grams. options: those of the format; None is absent.

    Raises ConfigError for a run or an option that the format cannot express, for what exists and is not ours
    to replace; RunError, TokenizerError and OSError.
    """
    form = find_format(format_name)
    given = _checked(format_name, form, options)
    if not ngram and not form.ngrams:
        raise ConfigError(f"--no-ngram does nothing with {format_name}, which has no n-grams: leave it out")
    path = _place(run, format_name, form, output)
    source = ExportSource.open(run, ngram=ngram)
    return form.find()(source, path, **given)


def _checked(name: str, form: Format, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, and the type of the weights where the format has a choice of it.

    Raises ConfigError for an option that the format does not have.
    """
    given = {option: value for option, value in options.items() if value is not None and value is not False}
    if form.weights:
        given.setdefault("weights", form.weights[0])
    for option, value in given.items():
        if option == "weights" and form.weights:
            if value not in form.weights:
                raise ConfigError(f"--weights {value}: {name} has {', '.join(form.weights)}")
        elif option == "weights":
            raise ConfigError(f"--weights does nothing with {name}, whose weights are float32: leave it out")
        elif option not in form.options:
            raise ConfigError(f"--{option.replace('_', '-')} does nothing with {name}: leave it out")
    return given


def _place(run: Run, name: str, form: Format, output: Path | None) -> Path:
    """Where to write, checked before any work. Raises ConfigError."""
    if output is None:
        output = Path(run.name + (form.ending or f"-{name}"))
    try:
        path = output.resolve()  # a link is kept, and its target written
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, in Python 3.11
        raise ConfigError(f"--output {output}: a broken link; name another file") from error
    if form.ending and path.suffix.lower() != form.ending:
        raise ConfigError(f"--output {output}: the name must end in {form.ending}")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {output}: there is no folder {path.parent}; make it first")
    if path.exists() and not (form.mark is not None and path.is_file() and _has(path, form.mark)):
        if form.mark is None:
            raise ConfigError(f"--output {output}: exists, and is never replaced; name another")
        raise ConfigError(
            f"--output {output}: exists, and was not written by textgen export {name}; name another"
        )
    return path


def _has(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return mark in file.read(_BEGINNING)
