"""What a stack computes while it reads: every gate and state at every token, by the equations of cells.py.

    tokens     s    t0   t1   ...  tN-1         s: the token that a text starts after, where there is one
    record          r0   r1   ...  rN-1         r: gates of the step that read t, and the state after it
    outputs    o0   o1   o2   ...               what the head reads: o predicts the t beside which it stands

Shapes: N tokens, L layers, H hidden_size, V model_ids.
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
_WINDOW = 256  # tokens read between two reports of progress


@dataclass(frozen=True, eq=False)
class Record:
    """What a stack computed at each of N tokens, float32.

    series: by name, (L, N, H) each: the states `hidden` and, of an LSTM, `cell`, after the token was read;
    the gates under their names in cells.py: LSTM input, forget, cell_candidate, output; GRU reset, update,
    new; a plain RNN has none. outputs: what the head read to predict each token, (N, H); where nothing stands
    before the first one, it is predicted from no output and outputs is (N - 1, H).
    """

    series: Mapping[str, np.ndarray]
    outputs: np.ndarray

    @property
    def memory(self) -> np.ndarray:
        """The state that remembers longest, (L, N, H): an LSTM's cell, the hidden state of the others."""
        return self.series["cell"] if "cell" in self.series else self.series["hidden"]

    @property
    def gates(self) -> tuple[str, ...]:
        """The names of the gates between shut and open, in the order of cells.py."""
        return tuple(name for name in self.series if is_gate(name))


def is_gate(name: str) -> bool:
    """Whether a series lies between 0, shut, and 1, open."""
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
    """Read model_ids (N,), N >= 1, from a zero state, after the row of the token that a text starts after.

    The model is in eval mode and in float32, on the CPU. progress is called with (tokens read, tokens in
    all).
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
    """The parts of the state, by these names, and the gates of L layers' steps, (L, T, H) each."""
    names = [field.name for field in dataclasses.fields(steps[0]) if field.name != "state"]
    series = {name: [getattr(step, name) for step in steps] for name in names}
    states = zip(*(step.state for step in steps), strict=True)
    series = {name: list(part) for name, part in zip(state, states, strict=True)} | series
    return {name: torch.cat(layers).numpy() for name, layers in series.items()}


def saturation(gate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the tokens at which each unit's gate (L, N, H) is shut and is open, (L, H) each.

    Shut: below SHUT ("left-saturated"). Open: above OPEN ("right-saturated"). Karpathy, Johnson & Fei-Fei,
    "Visualizing and understanding recurrent networks", 2015, section 4.2.
    """
    return (gate < SHUT).mean(axis=1), (gate > OPEN).mean(axis=1)
