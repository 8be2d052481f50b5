"""The batch of texts being generated: their engine, their logits, and the draw of their next tokens.

Shapes: B places of the batch, V model vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textgen.generation.engine import Engine, State
from textgen.generation.sample import SampleState
from textgen.generation.sampling import Alternatives, choose, likeliest, log_probabilities


class _Group:
    """Texts whose tokens are drawn in one call, because they have the same temperature and filters.

    places: in the batch, (N,); None: all.
    uniforms: an endless iterator; each item has one number for the next token of each text, (N,).
    """

    def __init__(self, samples: list[SampleState], places: np.ndarray | None) -> None:
        self.samples = samples
        self.places = places
        self.config = samples[0].request.config
        self.has_processors = samples[0].processors is not None
        self.uniforms = self._numbers()

    def _numbers(self) -> Iterator[np.ndarray]:
        """Yield, without end, one number for the next token of each text: (N,)."""
        while True:
            ahead = [sample.uniforms() for sample in self.samples]
            num_ahead = min(map(len, ahead))
            yield from np.stack([uniforms[:num_ahead] for uniforms in ahead], axis=1)


class Scores(NamedTuple):
    """The log-probabilities of the tokens drawn last, and of the likeliest ones, by place: the network's own.

    Each only of texts that ask for it.
    """

    drawn: dict[int, float]
    alternatives: dict[int, Alternatives]


class Batch:
    """Texts that advance together, each at a place of its own.

    compact: whether the place of a text that has ended is removed at the next step. Otherwise it stays until
    no text is left, so that the matrix products for the others keep their shape and rounding.

    samples: by place; None where the text has ended.
    dead_ends: by place, why the last draw found no token for a text: its finish reason, or what one of its
        processors raised.
    single: the only text, if it has neither processors nor log-probabilities and was drawn from before.
    num_running: how many texts have not ended.
    """

    def __init__(self, *, compact: bool) -> None:
        self._compact = compact
        self._clear()

    def _clear(self) -> None:
        self.samples: list[SampleState | None] = []
        self.dead_ends: dict[int, str | Exception] = {}
        self._engine: Engine | None = None
        self._logits = np.zeros((0, 0))  # (B, V): of each text's next token
        self._ids = np.zeros(0, np.int64)  # (B,): drawn, and not read by the engine yet
        self.num_running = 0
        # Rebuilt by `draw` after a text has joined or left:
        self._groups: list[_Group] = []
        self._scored: list[int] = []  # places of texts with log-probabilities
        self._num_alternatives: dict[int, int] = {}  # by place, where it is above 0
        self.single: SampleState | None = None

    def join(self, samples: Sequence[SampleState], engine: Engine, logits: np.ndarray) -> None:
        """Add texts that share a prompt, which this engine has read; its next logits are (1, V).

        The batch owns the engine from now on.
        """
        engine.select([0] * len(samples))
        logits = logits.repeat(len(samples), axis=0)
        if self._engine is None:
            self._engine, self._logits = engine, logits
        else:
            self._engine.join(engine)
            self._logits = np.concatenate([self._logits, logits])
        self.samples += samples
        self.num_running += len(samples)
        self.changed()

    def leave(self, place: int) -> None:
        """Take a text that has ended out of the batch."""
        self.samples[place] = None
        self.num_running -= 1
        self.changed()
        if not self.num_running:
            self._clear()

    def changed(self) -> None:
        """Find anew which texts can be drawn together: one has joined, left, or has other processors."""
        self._groups, self.single = [], None

    def advance(self) -> None:
        """Read the tokens that were drawn last."""
        assert self._engine is not None
        if self._compact and self.num_running < len(self.samples):
            places = [place for place, sample in enumerate(self.samples) if sample is not None]
            self._engine.select(places)
            self._ids = self._ids[places]
            self.samples = [self.samples[place] for place in places]
            self.changed()
        self._logits = self._engine.step(self._ids)

    def step_single(self) -> int:
        """`advance` and `draw` for `single`, without what only several texts need."""
        assert self._engine is not None
        (group,) = self._groups
        self._logits = self._engine.step(self._ids)
        self._ids = choose(self._logits, group.config, next(group.uniforms))
        model_id: int = self._ids.item()
        return model_id

    def draw(self) -> list[int]:
        """The next model id of each place; meaningless where the text has ended or is at a dead end.

        Raises RunError for damaged weights.
        """
        self.dead_ends.clear()
        groups = self._groups = self._groups or self._regroup()
        if groups[0].places is None:
            ids = self._draw_group(groups[0], self._logits)
        else:
            ids = np.zeros(len(self.samples), np.int64)
            for group in groups:
                ids[group.places] = self._draw_group(group, self._logits[group.places])
        self._ids = ids
        model_ids: list[int] = ids.tolist()
        return model_ids

    def scores(self) -> Scores | None:
        """Those of the tokens drawn last; None if no text asks for them."""
        if not self._scored:
            return None
        is_every = len(self._scored) == len(self.samples)
        own = log_probabilities(self._logits if is_every else self._logits[self._scored])  # (N, V)
        ids = self._ids if is_every else self._ids[self._scored]
        drawn = own[np.arange(len(own)), ids].tolist()
        scores = Scores(dict(zip(self._scored, drawn, strict=True)), {})
        if self._num_alternatives:
            assert self._engine is not None
            wanted = [n for n, place in enumerate(self._scored) if place in self._num_alternatives]
            most = max(self._num_alternatives.values())
            rows = likeliest(own[wanted], most, self._engine.vocab.token_ids)
            for (place, number), row in zip(self._num_alternatives.items(), rows, strict=True):
                scores.alternatives[place] = row[:number]
        return scores

    def state_of(self, place: int) -> State:
        """The recurrent state of one text, which has read all but the token drawn last."""
        assert self._engine is not None
        engine = copy.copy(self._engine)
        engine.select([place])
        return engine.state

    def _regroup(self) -> list[_Group]:
        """Find which texts can be drawn together: those of the same temperature and filters."""
        places_of: dict[object, list[int]] = {}
        self._scored, self._num_alternatives = [], {}
        for place, sample in enumerate(self.samples):
            if sample is None:
                continue
            config = sample.request.config
            filters = (config.temperature, config.top_k, config.top_p, config.min_p)
            places_of.setdefault((*filters, sample.processors is None), []).append(place)
            if sample.request.is_scored:
                self._scored.append(place)
            if sample.request.num_alternatives:
                self._num_alternatives[place] = sample.request.num_alternatives
        groups = []
        for places in places_of.values():
            samples = [sample for place in places if (sample := self.samples[place]) is not None]
            everywhere = len(places) == len(self.samples)
            groups.append(_Group(samples, None if everywhere else np.array(places)))
        if len(self.samples) == 1 and not self._scored and not groups[0].has_processors:
            self.single = self.samples[0]
        return groups

    def _draw_group(self, group: _Group, logits: np.ndarray) -> np.ndarray:
        """The next model ids (N,) of a group's texts, from their logits (N, V)."""
        uniforms = next(group.uniforms)
        if not group.has_processors:
            return choose(logits, group.config, uniforms)
        with np.errstate(over="ignore"):  # a processor may return numbers too large to add to
            return self._draw_processed(group, logits, uniforms)

    def _draw_processed(self, group: _Group, logits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """_draw_group for texts that have processors. Fills dead_ends."""
        places = range(len(logits)) if group.places is None else group.places.tolist()
        rows = np.concatenate(
            [
                self._process(place, sample, logits[n : n + 1])
                for n, (place, sample) in enumerate(zip(places, group.samples, strict=True))
            ]
        )  # (N, V), not the network's own
        for n in np.flatnonzero(~(rows.max(axis=1) > -np.inf)).tolist():  # nothing left, or NaN
            self._note_dead_end(places[n], group.samples[n], logits[n : n + 1], rows[n])
        ids = choose(rows, group.config, uniforms)
        for n, (place, sample) in enumerate(zip(places, group.samples, strict=True)):
            if place not in self.dead_ends:
                ids[n] = self._draw_allowed(place, sample, rows[n : n + 1], ids[n].item())
        return ids

    def _process(self, place: int, sample: SampleState, logits: np.ndarray) -> np.ndarray:
        """The logits (1, V) of a text after its processors; zeros, which `choose` accepts, if one raises."""
        assert sample.processors is not None
        try:
            processed = sample.processors.process(logits)
            if processed.shape != logits.shape:
                raise ValueError(f"logits of shape {processed.shape} from a processor, not {logits.shape}")
        except Exception as error:
            self.dead_ends[place] = error
            return np.zeros_like(logits)
        return processed

    def _note_dead_end(
        self, place: int, sample: SampleState, logits: np.ndarray, processed: np.ndarray
    ) -> None:
        """Note why processors left no token of logits (1, V) in those processed (V,), which become zeros.

        Not where the network left none either: its weights are damaged, and `choose` says so.
        """
        assert sample.processors is not None
        if not logits.max() > -np.inf:
            return
        try:
            if np.isnan(processed).any():
                raise ValueError("NaN in the logits from a processor")
            self.dead_ends[place] = sample.processors.exhausted_by(logits).finish_reason
        except Exception as error:
            self.dead_ends[place] = error
        processed[:] = 0

    def _draw_allowed(self, place: int, sample: SampleState, row: np.ndarray, model_id: int) -> int:
        """The model id drawn from processed logits (1, V), or another that all processors allow."""
        processors = sample.processors
        assert processors is not None
        try:
            while (refusing := processors.refusing(model_id)) is not None:
                mask = refusing.mask()
                if mask is not None:
                    row[0, ~mask] = -np.inf
                row[0, model_id] = -np.inf
                if row.max() == -np.inf:
                    self.dead_ends[place] = refusing.finish_reason
                    break
                model_id = choose(row, sample.request.config, sample.another_uniform()).item()
        except Exception as error:
            self.dead_ends[place] = error
        return model_id
