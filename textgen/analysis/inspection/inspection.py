"""The inspection of a run on a text: surprisal, gates, states, and the feature that each unit tracks.

Excerpt → record → Record → measure_surprisal, measure_selectivity, saturation → Inspection
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
from textgen.analysis.inspection.selectivity import MIN_TOKENS, Selectivity, measure_selectivity
from textgen.analysis.inspection.surprisal import Surprisal, measure_surprisal
from textgen.errors import ConfigError, damaged_weights
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.system.atomic import write_file
from textgen.text.model_vocab import start_id

Unit = tuple[int, int]
"""A layer and one of its units, both counted from 0 as in the names of the weights."""

DEFAULT_UNITS = 64
_MIN_UNITS = 8
# The size of the page that the default number of units aims at, and what each token and each unit adds to it
# besides the series, which base64 makes 4/3 as large.
_PAGE_BYTES = 4.8e6
_BYTES_PER_TOKEN = 60
_BYTES_PER_UNIT = 260
_RANGE = re.compile(r"(\d+):(\d+)(?:-(\d+))?")


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a run computed on an excerpt of N tokens: L layers, H units each, K alternatives per token."""

    run: Run
    excerpt: Excerpt
    record: Record
    surprisal: Surprisal
    features: dict[str, np.ndarray]  # (N,) each, only those that vary in the text
    selectivity: Selectivity
    alternative_ids: np.ndarray  # (N, K) token ids of surprisal.model_ids

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.name

    @property
    def num_layers(self) -> int:
        """The number of layers, L."""
        return len(self.record.state)

    @property
    def hidden_size(self) -> int:
        """The number of units per layer, H."""
        return len(self.record.state[0, 0])

    @cached_property
    def saturation(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The shares of tokens at which each gate is shut and open, (L, H) each, by the name of the gate."""
        return {name: saturation(self.record.series[name]) for name in self.record.gates}

    @property
    def bits_per_character(self) -> float:
        """Bits per character of the original text, as `textgen eval` counts them."""
        return float(self.surprisal.bits.sum()) / max(self.excerpt.num_characters, 1)

    @property
    def is_short(self) -> bool:
        """Whether there are so few tokens that a unit may seem to track a feature by chance."""
        return len(self.excerpt.token_ids) < MIN_TOKENS

    def units(self, wanted: str | None) -> list[Unit]:
        """The units to show in full, most selective first.

        wanted is how many of the most selective units to show, or a list such as "0:17,1:0-5" (layer:units).
        None means DEFAULT_UNITS, or fewer where a long text would make the page larger than about 5 MB.

        Raises ConfigError for units that do not exist.
        """
        ranking = self.selectivity.ranking
        if wanted is None:
            length = len(self.excerpt.token_ids)
            room = _PAGE_BYTES - _BYTES_PER_TOKEN * length - _BYTES_PER_UNIT * len(ranking)
            fitting = int(room / (4 / 3 * len(self.record.series) * length))
            return ranking[: min(max(fitting, _MIN_UNITS), DEFAULT_UNITS)]
        if wanted.strip().isdecimal() and int(wanted):
            return ranking[: int(wanted)]
        named = {unit for part in wanted.split(",") for unit in self._range(part.strip())}
        return [unit for unit in ranking if unit in named]

    def _range(self, part: str) -> list[Unit]:
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ConfigError(
                f"--units {part!r}: neither a number of units nor a list of them; write 64, or 0:17,1:0-5 "
                "for unit 17 of layer 0 and units 0 to 5 of layer 1"
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
        """Everything as arrays by name; N tokens, L layers, H units, K alternatives, F features.

        text                        ()          the text that the tokens stand for
        token_ids                   (N,)        int64
        characters                  (N,)        int64, the index in text of the last character of each token
        bits                        (N,)        float64, the surprisal of each token in bits
        alternatives                (N, K)      int64, the ids of the most likely tokens at each place
        alternative_probabilities   (N, K)      float64
        hidden, cell                (L, N, H)   float32, the state after each token; cell: LSTM only
        input, forget, cell_candidate, output   LSTM, and reset, update, new   GRU: (L, N, H) float32
        <gate>_shut, <gate>_open    (L, H)      float64, the share of tokens at which the gate is shut or open
        features                    (F,)        the names of the features that vary in the text
        feature_values              (F, N)      float64
        selectivity                 (L, H)      float64, the share of variance that the feature explains
        selectivity_feature         (L, H)      int64, the index of that feature in features; -1: none
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
        """The figures of the text and of some units, for JSON."""
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
        feature = self.selectivity.name(layer, unit)
        share = float(self.selectivity.share[layer, unit])
        return {"layer": layer, "unit": unit, "feature": feature, "variance_share": share, "gates": gates}


def inspect_run(run: Run, excerpt: Excerpt, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Read an excerpt with the best weights of a run, in float32 on the CPU.

    progress is called with (tokens read, total).

    Raises RunError, also when the weights are damaged, and ConfigError.
    """
    model = LanguageModel.from_pretrained(run.path)
    vocab = model.vocab
    model_ids = vocab.to_model_ids(excerpt.token_ids)
    recorded = record(model, model_ids, start_id(vocab, run.tokenizer), progress)
    surprisal = measure_surprisal(model, recorded.outputs, model_ids, run.tokenizer.vocab_size)
    if not np.isfinite(surprisal.bits).all():
        raise damaged_weights()
    features = features_of(excerpt.text, excerpt.characters)
    return Inspection(
        run=run,
        excerpt=excerpt,
        record=recorded,
        surprisal=surprisal,
        features=features,
        selectivity=measure_selectivity(recorded.state, features),
        alternative_ids=vocab.to_token_ids(surprisal.model_ids),
    )


def write_arrays(inspection: Inspection, path: Path) -> None:
    """Write Inspection.arrays as an .npz file, atomically; numpy.load reads it."""
    content = io.BytesIO()
    np.savez_compressed(content, **inspection.arrays())  # type: ignore[arg-type]
    write_file(path, content.getvalue())
