"""Records every gate and state of a network at every token of a text, with the equations of cells.py.

    tokens     s    t0   t1   ...  tN-1         s: the start token, if the model has one
    record          r0   r1   ...  rN-1         r: the gates of the step that reads t and the state after it
    outputs    o0   o1   o2   ...               o: what the head reads to predict the t in the next column

Shapes: N tokens, L layers, H hidden_size, T tokens of one window.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from textgen.models.cells import Step, run_stack
from textgen.models.language_model import LanguageModel
from textgen.settings.cells import CELL_SPECS, find_spec

SHUT, OPEN = 0.1, 0.9
_WINDOW = 256  # tokens read between two calls of progress


@dataclass(frozen=True, eq=False)
class Record:
    """The gates and states of a network at each of N tokens, in float32.

    series: (L, N, H) each, by name. `hidden` and, for an LSTM, `cell` are the states after the token was
    read; the gates have their names in cells.py: input, forget, cell_candidate, output (LSTM), reset, update,
    new (GRU), none (plain RNN). outputs: what the head reads to predict each token, (N, H), or (N - 1, H)
    without a start token, as there is no output before the first token then.
    """

    series: Mapping[str, np.ndarray]
    outputs: np.ndarray

    @property
    def state_name(self) -> str:
        """The state in which the cell carries information longest: `cell` for an LSTM, otherwise `hidden`."""
        return "cell" if "cell" in self.series else "hidden"

    @property
    def state(self) -> np.ndarray:
        """The series called state_name, (L, N, H)."""
        return self.series[self.state_name]

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of the sigmoid gates, in the order of cells.py."""
        return tuple(name for name in self.series if is_gate(name))


def is_gate(name: str) -> bool:
    """Whether a series is a sigmoid gate, from 0 (shut) to 1 (open)."""
    return any(name in spec.gates for spec in CELL_SPECS.values())


def is_state(name: str) -> bool:
    """Whether a series is a part of the state."""
    return any(name in spec.state for spec in CELL_SPECS.values())


@torch.no_grad()
def record(
    model: LanguageModel,
    model_ids: np.ndarray,
    start_id: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Read model_ids (N,), N >= 1, from a zero state, after start_id unless that is None.

    The model must be on the CPU, in float32 and in eval mode. progress is called with (tokens read, total).
    """
    read = model_ids if start_id is None else np.concatenate([[start_id], model_ids])
    stack, state = model.layers.stack_weights(), model.zero_state(1)
    outputs: list[np.ndarray] = []
    parts: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(read), _WINDOW):
        tokens = torch.from_numpy(read[None, begin : begin + _WINDOW])  # (1, T)
        output, state, steps = run_stack(model.layers.cell, model.embed(tokens), state, stack)
        outputs.append(output[0].numpy())  # (T, H)
        parts.append(_series(find_spec(model.layers.cell).state, steps))
        if progress is not None:
            progress(min(begin + _WINDOW, len(read)), len(read))
    skipped = len(read) - len(model_ids)
    series = {name: np.concatenate([part[name] for part in parts], axis=1)[:, skipped:] for name in parts[0]}
    return Record(series, np.concatenate(outputs)[:-1])


def _series(state: tuple[str, ...], steps: list[Step]) -> dict[str, np.ndarray]:
    """The states and gates of one Step per layer, by name, (L, T, H) each; `state` names its parts."""
    names = [field.name for field in dataclasses.fields(steps[0]) if field.name != "state"]
    series = {name: [getattr(step, name) for step in steps] for name in names}
    states = zip(*(step.state for step in steps), strict=True)
    series = {name: list(part) for name, part in zip(state, states, strict=True)} | series
    return {name: torch.cat(layers).numpy() for name, layers in series.items()}


def saturation(gate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of tokens at which each unit's gate (L, N, H) is shut and at which it is open, (L, H) each.

    Shut means below SHUT ("left-saturated"), open means above OPEN ("right-saturated"): Karpathy, Johnson &
    Fei-Fei, "Visualizing and understanding recurrent networks", 2015, section 4.2.
    """
    return (gate < SHUT).mean(axis=1), (gate > OPEN).mean(axis=1)
