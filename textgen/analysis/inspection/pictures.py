"""An inspection as pictures: the text by surprisal, the gates of the most selective units, and saturation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textgen.analysis.inspection.gates import is_gate, is_state
from textgen.analysis.inspection.inspection import Inspection, Unit
from textgen.plots.text_maps import HeatMap, draw_gates, draw_saturation, draw_surprise

SURPRISE, GATES, SATURATION = "surprisal.png", "gates.png", "saturation.png"
UNITS, TOKENS = 12, 80  # as many as can be told apart with their names


def draw_pictures(inspection: Inspection, units: Sequence[Unit], folder: Path) -> list[Path]:
    """Draw into a folder; returns what was drawn: a plain RNN has no gates, so no saturation.

    gates.png shows the first of the units over the first tokens.
    """
    excerpt, recorded = inspection.excerpt, inspection.record
    title = f"{inspection.name} reading {excerpt.name}"
    shown = units[:UNITS]
    layers, places = [layer for layer, _ in shown], [unit for _, unit in shown]
    maps = [_heat_map(name, series[layers, :, places]) for name, series in recorded.series.items()]
    labels = [f"{layer}:{unit}  {inspection.selectivity.name(layer, unit)}" for layer, unit in shown]
    drawn = [folder / SURPRISE, folder / GATES]
    draw_surprise(excerpt.pieces, inspection.surprisal.bits, title, drawn[0])
    draw_gates(maps, labels, excerpt.pieces[:TOKENS], title, drawn[1])
    if inspection.saturation:
        drawn.append(folder / SATURATION)
        draw_saturation(inspection.saturation, title, drawn[2])
    return drawn


def _heat_map(name: str, series: np.ndarray) -> HeatMap:
    """The first tokens of a series (K, N) of K units."""
    shown = series[:, :TOKENS]
    if is_gate(name):
        return HeatMap(f"{name} gate", shown, signed=False)
    if not is_state(name):
        return HeatMap(name.replace("_", " "), shown, signed=True)
    # One unit that counts far would leave the others without a shade.
    largest = np.abs(shown).max(axis=1, keepdims=True)
    title = f"{name} state (each unit: share of its largest here)"
    return HeatMap(title, shown / np.where(largest > 0, largest, 1), signed=True)
