"""An inspection as one HTML file: no server, no network, no library; page.html, .css and .js are its parts.

Everything that is of the text or the run goes into one JSON block, and the script only ever makes text nodes
of it. The page's own policy lets the browser run this one script and load nothing:

    data    pieces    what each of N tokens completes        names    each token to be read by itself
            bits      their surprisal                         alternatives    base64: indexes, shares of 65535
            units     all, the most selective first: feature, share, places of the highest and lowest memory
            series    every state and gate, 8 bits a value, base64, (rows, N): row r is the unit with row r
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgen.analysis.inspection.features import FEATURES
from textgen.analysis.inspection.gates import is_gate
from textgen.analysis.inspection.inspection import Inspection, Unit
from textgen.analysis.inspection.selectivity import strongest
from textgen.system.atomic import write_file

# What each series is called and what its numbers say; as in the equations of cells.py.
_SERIES = {
    "cell": ("Cell state", "what the unit remembers; it is only scaled and added to"),
    "hidden": ("Hidden state", "what the unit shows to the layers above and to its own next step"),
    "input": ("Input gate", "how much of the candidate is written"),
    "forget": ("Forget gate", "how much of the old cell is kept"),
    "cell_candidate": ("Cell candidate", "what could be written"),
    "output": ("Output gate", "how much of the cell is shown"),
    "reset": ("Reset gate", "how much of the past the new value is computed from"),
    "update": ("Update gate", "how much of the old state is kept"),
    "new": ("New value", "what could replace the old state"),
}


def encode_series(values: np.ndarray, *, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Series (K, N) in 8 bits each, uint8, and the scale of each, (K,).

    Unsigned ones lie in 0..1: code / 255, and their scale is 1. Signed: (code - 128) / 127 * scale, the scale
    being the largest magnitude, so that 0 is exact.
    """
    if not signed:
        return (values * 255).round().astype(np.uint8), np.ones(len(values))
    scales = np.abs(values).max(axis=1, initial=0).astype(np.float64)
    divisors = np.where(scales > 0, scales, 1)[:, None]
    return (values / divisors * 127 + 128).round().astype(np.uint8), scales


def write_page(inspection: Inspection, units: Sequence[Unit], path: Path) -> None:
    """Write the page, with the full course of `units`, whole or not at all."""
    write_file(path, render_page(inspection, units))


def render_page(inspection: Inspection, units: Sequence[Unit]) -> str:
    """The page as text. At least one unit is needed."""
    style, script = _part("css"), _part("js")
    # In a script element only a "<" can end the element or begin a comment.
    data = json.dumps(
        page_data(inspection, units), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    parts = {
        "title": html.escape(inspection.name),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "data": data.replace("<", "\\u003c"),
    }
    # All at once, so that a part in whose text "{script}" stands keeps it.
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], _part("html"))


def page_data(inspection: Inspection, units: Sequence[Unit]) -> dict[str, Any]:
    """What the JSON block holds; see the head of this file."""
    excerpt, config = inspection.excerpt, inspection.run.config
    memory = "cell" if "cell" in inspection.record.series else "hidden"
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
        "memory": _SERIES[memory][0].lower(),
        "memoryName": memory,
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
    """The likeliest tokens at each place: their names once, and for each place indexes and shares."""
    ids, indexes = np.unique(inspection.alternative_ids, return_inverse=True)
    shares = (inspection.surprisal.probabilities * 65535).round()
    return {
        "count": inspection.alternative_ids.shape[1],
        "tokens": [inspection.run.tokenizer.token_text(token_id) for token_id in ids.tolist()],
        "rows": _base64(indexes.astype("<u4")),
        "shares": _base64(shares.astype("<u2")),
    }


def _units(inspection: Inspection, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """What is known of every unit; row: which row of the series is its, None where they leave it out."""
    rows = {unit: row for row, unit in enumerate(units)}
    memory, selectivity = inspection.record.memory, inspection.selectivity
    return [
        {
            "layer": layer,
            "unit": unit,
            "row": rows.get((layer, unit)),
            "follows": selectivity.name(layer, unit),
            "share": round(float(selectivity.share[layer, unit]), 4),
            "high": strongest(memory[layer, :, unit]),
            "low": strongest(-memory[layer, :, unit]),
            "gates": [
                [round(float(share[layer, unit]), 4) for share in shares]
                for shares in inspection.saturation.values()
            ],
        }
        for layer, unit in selectivity.ranking
    ]


def _all_series(inspection: Inspection, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Every state and gate of the units, the one that remembers first."""
    layers, places = np.array(units).T
    found = []
    for name, (label, meaning) in _SERIES.items():
        if name not in inspection.record.series:
            continue
        signed = not is_gate(name)
        values = inspection.record.series[name].transpose(0, 2, 1)[layers, places]  # (K, N)
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


def _part(ending: str) -> str:
    return (importlib.resources.files("textgen.analysis.inspection") / f"page.{ending}").read_text(
        encoding="utf-8"
    )


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
