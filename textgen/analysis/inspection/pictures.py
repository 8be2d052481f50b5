"""Draws an inspection: the text coloured by surprisal, gates of the most selective units, saturation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textgen.analysis.inspection.gates import is_gate, is_state
from textgen.analysis.inspection.inspection import Inspection, Unit
from textgen.plots.text_maps import HeatMap, draw_gates, draw_saturation, draw_surprisal

SURPRISAL, GATES, SATURATION = "surprisal.png", "gates.png", "saturation.png"
MAX_UNITS, MAX_TOKENS = 12, 80  # in gates.png, so that every label can be read


def draw_pictures(inspection: Inspection, units: Sequence[Unit], folder: Path) -> list[Path]:
    """Draw the pictures into a folder and return their paths; a plain RNN has no gates and no saturation.png.

    gates.png shows the first MAX_UNITS of the units over the first MAX_TOKENS tokens.
    """
    excerpt, recorded = inspection.excerpt, inspection.record
    title = f"{inspection.name} reading {excerpt.name}"
    shown = units[:MAX_UNITS]
    layers, columns = [layer for layer, _ in shown], [unit for _, unit in shown]
    maps = [_heat_map(name, series[layers, :, columns]) for name, series in recorded.series.items()]
    labels = [f"{layer}:{unit}  {inspection.selectivity.name(layer, unit)}" for layer, unit in shown]
    drawn = [folder / SURPRISAL, folder / GATES]
    draw_surprisal(excerpt.pieces, inspection.surprisal.bits, title, drawn[0])
    draw_gates(maps, labels, excerpt.pieces[:MAX_TOKENS], title, drawn[1])
    if inspection.saturation:
        drawn.append(folder / SATURATION)
        draw_saturation(inspection.saturation, title, drawn[2])
    return drawn


def _heat_map(name: str, series: np.ndarray) -> HeatMap:
    """The heat map of the first tokens of a series (K, N)."""
    shown = series[:, :MAX_TOKENS]
    if is_gate(name):
        return HeatMap(f"{name} gate", shown, signed=False)
    if not is_state(name):
        return HeatMap(name.replace("_", " "), shown, signed=True)
    # Scaled per unit, because one unit with large values would make all others look pale.
    largest = np.abs(shown).max(axis=1, keepdims=True)
    title = f"{name} state (each unit divided by its largest magnitude shown)"
    return HeatMap(title, shown / np.where(largest > 0, largest, 1), signed=True)
