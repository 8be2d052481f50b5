"""Writes an inspection as one HTML file that needs no server, network or library.

page.html, page.css and the scripts are its parts, with those that all pages share (textgen/pages). Everything
that comes from the text or the run is in one JSON block, from which the scripts create text nodes only. The
content security policy of the page allows this one script and no requests. The JSON block holds, e.g.:

    pieces          the piece of text of each of N tokens (see excerpt.py)
    names           each token by itself, for a person to read
    bits            the surprisal of each token
    alternatives    the most likely tokens at each place: base64 of indices, and of probabilities times 65535
    units           all units, most selective first: feature, share, where the state is highest and lowest
    series          every state and gate, one byte per value, base64 of (rows, N); a unit names its row
"""

from __future__ import annotations

import base64
import functools
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgen.analysis.inspection.features import FEATURES
from textgen.analysis.inspection.gates import is_gate
from textgen.analysis.inspection.inspection import Inspection, Unit
from textgen.analysis.inspection.selectivity import peaks
from textgen.pages.assembly import SHARED_SCRIPT, SHARED_STYLE, assemble, json_block
from textgen.system.atomic import write_file

# The label and meaning of each series, as in the equations of cells.py.
_SERIES = {
    "cell": ("Cell state", "carried from step to step, changed only by the gates"),
    "hidden": ("Hidden state", "the unit’s output, to the next layer and to the next step"),
    "input": ("Input gate", "how much of the candidate is added to the cell state"),
    "forget": ("Forget gate", "how much of the old cell state is kept"),
    "cell_candidate": ("Cell candidate", "the value that may be added to the cell state"),
    "output": ("Output gate", "how much of the cell state is passed on as the hidden state"),
    "reset": ("Reset gate", "how much of the old state the new value is computed from"),
    "update": ("Update gate", "how much of the old state is kept"),
    "new": ("New value", "the value that may replace the old state"),
}
_SCRIPTS = ("page.data.js", "page.plots.js", "page.js")  # joined in this order


def encode_series(values: np.ndarray, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Quantize series (K, N) to uint8; returns the codes and the scale of each series, (K,).

    Unsigned values lie in 0..1 and are code / 255, with scale 1. Signed values are (code - 128) / 127 *
    scale, where the scale is the largest magnitude of the series; 0 is exact.
    """
    if not signed:
        return (values * 255).round().astype(np.uint8), np.ones(len(values))
    scales = np.abs(values).max(axis=1, initial=0).astype(np.float64)
    divisors = np.where(scales > 0, scales, 1)[:, None]
    return (values / divisors * 127 + 128).round().astype(np.uint8), scales


def write_page(inspection: Inspection, units: Sequence[Unit], path: Path) -> None:
    """Write the page, with the states and gates of `units` at every token, atomically."""
    # A name of a file or folder that is not UTF-8 has surrogates, which are escapes in the page.
    write_file(path, render_page(inspection, units).encode("utf-8", "backslashreplace"))


def render_page(inspection: Inspection, units: Sequence[Unit]) -> str:
    """The page as HTML, with the states and gates of `units` (at least one) at every token."""
    data = json.dumps(
        page_data(inspection, units), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return assemble(
        _part("page.html"),
        title=f"Inside {inspection.name}",
        generator="textgen inspect",
        styles=(SHARED_STYLE, _part("page.css")),
        scripts=(SHARED_SCRIPT, *map(_part, _SCRIPTS)),
        fields={"name": html.escape(inspection.name), "data": json_block(data)},
    ).html


def page_data(inspection: Inspection, units: Sequence[Unit]) -> dict[str, Any]:
    """The content of the JSON block; see the docstring of this module."""
    excerpt, config = inspection.excerpt, inspection.run.config
    state = inspection.record.state_name
    characters = f"{excerpt.num_characters:,} characters"
    varying = [feature for feature in FEATURES if feature.name in inspection.features]
    name_of = functools.cache(inspection.run.tokenizer.token_text)
    return {
        "network": f"{config.model.num_layers} × {config.model.hidden_size} {config.model.cell.upper()}",
        "source": excerpt.name,
        "size": f"its first {characters}" if excerpt.is_cut else characters,
        "bitsPerCharacter": inspection.bits_per_character,
        "isShort": inspection.is_short,
        "layers": inspection.num_layers,
        "stateName": state,
        "stateLabel": _SERIES[state][0].lower(),
        "pieces": excerpt.pieces,
        "names": [name_of(token_id) for token_id in excerpt.token_ids.tolist()],
        "documentEnds": np.flatnonzero(excerpt.is_document_end).tolist(),
        "bits": inspection.surprisal.bits.round(2).tolist(),
        "alternatives": _alternatives(inspection),
        "features": [{"name": feature.name, "meaning": feature.meaning} for feature in varying],
        "gates": [{"name": name, "label": _SERIES[name][0]} for name in inspection.record.gates],
        "units": _units(inspection, units),
        "series": _all_series(inspection, units),
    }


def _alternatives(inspection: Inspection) -> dict[str, Any]:
    """The most likely tokens at each place, as indices into a list of their names, with probabilities."""
    ids, indices = np.unique(inspection.alternative_ids, return_inverse=True)
    probabilities = (inspection.surprisal.probabilities * 65535).round()
    return {
        "count": inspection.alternative_ids.shape[1],
        "tokens": [inspection.run.tokenizer.token_text(token_id) for token_id in ids.tolist()],
        "indices": _base64(indices.astype("<u4")),
        "probabilities": _base64(probabilities.astype("<u2")),
    }


def _units(inspection: Inspection, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """The summary of every unit; row is its row in the series, None if it is not among `units`."""
    rows = {unit: row for row, unit in enumerate(units)}
    state, selectivity = inspection.record.state, inspection.selectivity
    return [
        {
            "layer": layer,
            "unit": unit,
            "row": rows.get((layer, unit)),
            "feature": selectivity.name(layer, unit),
            "share": round(float(selectivity.share[layer, unit]), 4),
            "high": peaks(state[layer, :, unit]),
            "low": peaks(-state[layer, :, unit]),
            "gates": [
                [round(float(share[layer, unit]), 4) for share in shares]
                for shares in inspection.saturation.values()
            ],
        }
        for layer, unit in selectivity.ranking
    ]


def _all_series(inspection: Inspection, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Every state and gate of the units, quantized, in the order of _SERIES."""
    layers, columns = np.array(units).T
    found = []
    for name, (label, meaning) in _SERIES.items():
        if name not in inspection.record.series:
            continue
        signed = not is_gate(name)
        values = inspection.record.series[name].transpose(0, 2, 1)[layers, columns]  # (K, N)
        codes, scales = encode_series(values, signed=signed)
        found.append(
            {
                "name": name,
                "label": label,
                "meaning": meaning,
                "signed": signed,
                "scales": [round(scale, 5) for scale in scales.tolist()],
                "bytes": _base64(codes),
            }
        )
    return found


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _part(name: str) -> tuple[str, str]:
    return "textgen.analysis.inspection", name
