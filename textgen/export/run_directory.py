"""A run as another run directory, whose weights take half or a quarter of the space."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from textgen.errors import ConfigError
from textgen.export.parity import losses
from textgen.export.report import ExportReport
from textgen.export.source import ExportSource
from textgen.ngram.companion import companion_file
from textgen.run import (
    CONFIG,
    FILES,
    METRICS,
    NGRAM,
    PICTURE,
    STDIN,
    TOKENIZER,
    WEIGHTS,
    config_json,
    files_json,
)
from textgen.system.atomic import new_directory
from textgen.system.bounded_files import RUN_FILE_LIMIT, read_bounded
from textgen.weights.file import weights_file
from textgen.weights.quantized import narrowed, rounded


def export_run_directory(
    source: ExportSource, output: Path, *, weights: str, cache_dir: str | None = None
) -> ExportReport:
    """Write a run directory with weights in one of quantized.KINDS, for every command except `train`.

    What resuming needs is left out, and so is the text of a run that was trained on standard input.
    cache_dir: of the encoded validation text, on which the loss is measured; None: the user's.

    Raises ConfigError for weights that are not in float32 or do not fit into the kind, FileExistsError when
    output exists, RunError for a damaged run, and OSError.
    """
    run = source.run
    if run.weights_kind != "float32":
        raise ConfigError(
            f"{run.path}: its weights are in {run.weights_kind} already; export the run that it was made from"
        )
    small = _weights_content(source, weights)
    with new_directory(output) as building:
        _write_rest(source, output, building)
        (building / WEIGHTS).write_bytes(small)
        (building / FILES).write_text(files_json(building), encoding="utf-8")
    before = (run.path / WEIGHTS).stat().st_size
    lines = [
        f"{output}: {WEIGHTS} has {len(small) / 1e6:.2f} MB, {len(small) / before:.0%} of the run's "
        f"{before / 1e6:.2f}"
    ]
    if "-" in source.config.data.corpus:
        lines.append(
            f"the text from standard input is not in it; for textgen eval, copy {run.path / STDIN} there"
        )
    engines = {
        "the run": source.engine(),
        f"{output.name} ({weights})": source.engine(rounded(source.weights, weights)),
    }
    lines += losses(source, engines, cache_dir)
    return ExportReport((output,), tuple(lines))


def _weights_content(source: ExportSource, kind: str) -> bytes:
    """The content of model.safetensors. Raises ConfigError for a value that the kind cannot hold."""
    try:
        arrays = narrowed(source.weights, kind)
    except ConfigError as error:
        raise ConfigError(f"{source.run.path / WEIGHTS}: {error}") from None
    return weights_file(arrays, bfloat16=[name for name, array in arrays.items() if array.dtype == "uint16"])


def _write_rest(source: ExportSource, output: Path, building: Path) -> None:
    """Everything of the run directory but the weights and the digests.

    config.json gets the present places of run and text, so that the text is found from the new place too.
    """
    run = source.run
    config = dataclasses.replace(source.config, data=run.data, directory=str(output.absolute()))
    (building / CONFIG).write_text(config_json(config), encoding="utf-8")
    (building / TOKENIZER).write_bytes((run.path / TOKENIZER).read_bytes())
    if source.companion is not None:
        (building / NGRAM).write_bytes(companion_file(source.companion, source.vocab))
    if run.metrics():  # refuses what is no record
        (building / METRICS).write_bytes(run.metrics_path.read_bytes())
    if (run.path / PICTURE).is_file():
        content = read_bounded(run.path / PICTURE, RUN_FILE_LIMIT, f"a {PICTURE}")
        (building / PICTURE).write_bytes(content)
