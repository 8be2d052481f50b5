"""A look inside a run while it reads: the text, its surprisals, every gate, and what each unit follows.

Excerpt ─model_ids→ record ─Record→ surprisal, select, saturation ─Inspection→ page, pictures, arrays
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textgen.analysis.inspection.excerpt import Excerpt
from textgen.analysis.inspection.features import features_of
from textgen.analysis.inspection.gates import Record, record, saturation
from textgen.analysis.inspection.selectivity import ENOUGH_TOKENS, Selectivity, select
from textgen.analysis.inspection.surprisal import Surprisal, surprisal
from textgen.errors import ConfigError, damaged_weights
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.system.atomic import write_file
from textgen.text.model_vocab import start_id

Unit = tuple[int, int]
"""A layer and a unit of it; both count from 0, as in the names of the weights."""

DEFAULT_UNITS = 64
_LEAST_UNITS = 8
# What the page may take when the user does not say how many units, and what each token and each unit takes of
# it beside the series, whose 3 bytes are 4 of base64.
_PAGE_BYTES = 4.8e6
_BYTES_PER_TOKEN = 60
_BYTES_PER_UNIT = 260
_RANGE = re.compile(r"(\d+):(\d+)(?:-(\d+))?")


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a run made of the excerpt of a text. N tokens, L layers, H units in each, K alternatives."""

    run: Run
    excerpt: Excerpt
    record: Record
    surprisal: Surprisal
    features: dict[str, np.ndarray]  # (N,) each, those that vary in this text
    selectivity: Selectivity
    alternative_ids: np.ndarray  # (N, K) token ids of surprisal.model_ids

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.run.path.resolve().name

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.record.memory)

    @property
    def hidden_size(self) -> int:
        """H."""
        return len(self.record.memory[0, 0])

    @cached_property
    def saturation(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each gate the shares of tokens at which it is shut and open, (L, H) each."""
        return {name: saturation(self.record.series[name]) for name in self.record.gates}

    @property
    def bits_per_character(self) -> float:
        """Bits for a character of the original text, as `eval` counts them."""
        return float(self.surprisal.bits.sum()) / max(self.excerpt.num_characters, 1)

    @property
    def is_short(self) -> bool:
        """Whether so few tokens were read that a unit may seem to follow a feature by chance."""
        return len(self.excerpt.token_ids) < ENOUGH_TOKENS

    def units(self, wanted: str | None) -> list[Unit]:
        """The units to show in full, in the order of their selectivity.

        wanted: a number of the most selective ones, or names such as "0:17,1:0-5", layer and units; None:
        DEFAULT_UNITS, fewer where a long text would fill more than about 5 MB of a page.

        Raises ConfigError.
        """
        ranking = self.selectivity.ranking
        if wanted is None:
            length = len(self.excerpt.token_ids)
            room = _PAGE_BYTES - _BYTES_PER_TOKEN * length - _BYTES_PER_UNIT * len(ranking)
            fitting = int(room / (4 / 3 * len(self.record.series) * length))
            return ranking[: min(max(fitting, _LEAST_UNITS), DEFAULT_UNITS)]
        if wanted.strip().isdecimal() and int(wanted):
            return ranking[: int(wanted)]
        named = {unit for part in wanted.split(",") for unit in self._range(part.strip())}
        return [unit for unit in ranking if unit in named]

    def _range(self, part: str) -> list[Unit]:
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ConfigError(
                f"--units {part!r}: neither a number of units nor names; write 64, or 0:17,1:0-5 for unit 17 "
                "of layer 0 and units 0 to 5 of layer 1"
            )
        layer, first = int(match[1]), int(match[2])
        last = first if match[3] is None else int(match[3])
        if layer >= self.num_layers or not first <= last < self.hidden_size:
            raise ConfigError(
                f"--units {part}: there is no such unit; {self.run.path} has layers 0 to "
                f"{self.num_layers - 1} with units 0 to {self.hidden_size - 1}"
            )
        return [(layer, unit) for unit in range(first, last + 1)]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name; N tokens, L layers, H units, K alternatives, F features.

        text                        ()          the text that the tokens make up
        token_ids                   (N,)        int64
        characters                  (N,)        int64, the character of text that each token ends in
        bits                        (N,)        float64, the surprisal of each token
        alternatives                (N, K)      int64, the ids of the likeliest tokens in its place
        alternative_probabilities   (N, K)      float64
        hidden, cell                (L, N, H)   float32, the state after each token; cell: LSTM only
        input, forget, cell_candidate, output   LSTM, and reset, update, new   GRU: (L, N, H) float32
        <gate>_shut, <gate>_open    (L, H)      float64, the share of tokens at which the gate is so
        features                    (F,)        the names of the features that vary in the text
        feature_values              (F, N)      float64
        selectivity                 (L, H)      float64, the share of variance that one feature explains
        selectivity_feature         (L, H)      int64, which of features; -1: none
        """
        saturations = {
            f"{gate}_{name}": share
            for gate, shares in self.saturation.items()
            for name, share in zip(("shut", "open"), shares, strict=True)
        }
        names = self.selectivity.names
        shape = len(names), len(self.excerpt.token_ids)
        return {
            "text": np.array(self.excerpt.text),
            "token_ids": self.excerpt.token_ids,
            "characters": self.excerpt.characters,
            "bits": self.surprisal.bits,
            "alternatives": self.alternative_ids,
            "alternative_probabilities": self.surprisal.probabilities,
            **self.record.series,
            **saturations,
            "features": np.array(names, dtype=str),
            "feature_values": np.array([self.features[name] for name in names]).reshape(shape),
            "selectivity": self.selectivity.share,
            "selectivity_feature": self.selectivity.feature,
        }

    def as_dict(self, units: Sequence[Unit]) -> dict[str, Any]:
        """The figures of the whole text and of some units, with their units in the names."""
        return {
            "text": self.excerpt.name,
            "characters": self.excerpt.num_characters,
            "tokens": len(self.excerpt.token_ids),
            "cut": self.excerpt.is_cut,
            "bits_per_character": self.bits_per_character,
            "units": [self._unit_as_dict(*unit) for unit in units],
        }

    def _unit_as_dict(self, layer: int, unit: int) -> dict[str, Any]:
        gates = {
            gate: {"shut_share": float(shut[layer, unit]), "open_share": float(is_open[layer, unit])}
            for gate, (shut, is_open) in self.saturation.items()
        }
        follows = self.selectivity.name(layer, unit)
        share = float(self.selectivity.share[layer, unit])
        return {"layer": layer, "unit": unit, "feature": follows, "variance_share": share, "gates": gates}


def inspect_run(run: Run, excerpt: Excerpt, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Read the excerpt of a text with the best weights of a run, in float32 on the CPU.

    progress is called with (tokens read, tokens in all). Raises RunError, also when the weights
    are damaged, and ConfigError.
    """
    model = LanguageModel.from_pretrained(run.path)
    known = model.vocab
    model_ids = known.to_model_ids(excerpt.token_ids)
    recorded = record(model, model_ids, start_id(known, run.tokenizer), progress)
    surprisals = surprisal(model, recorded.outputs, model_ids, run.tokenizer.vocab_size)
    if not np.isfinite(surprisals.bits).all():
        raise damaged_weights()
    features = features_of(excerpt.text, excerpt.characters)
    return Inspection(
        run=run,
        excerpt=excerpt,
        record=recorded,
        surprisal=surprisals,
        features=features,
        selectivity=select(recorded.memory, features),
        alternative_ids=known.to_token_ids(surprisals.model_ids),
    )


def write_arrays(inspection: Inspection, path: Path) -> None:
    """Write Inspection.arrays as one .npz file, whole or not at all; numpy.load reads it."""
    content = io.BytesIO()
    np.savez_compressed(content, **inspection.arrays())  # type: ignore[arg-type]
    write_file(path, content.getvalue())
