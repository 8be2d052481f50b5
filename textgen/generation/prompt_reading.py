"""A prompt while it is read, piece by piece, before its text joins the batch.

Shapes: T time, V model vocabulary.
"""

from __future__ import annotations

import numpy as np

from textgen.generation.engine import Engine
from textgen.generation.healing import log_shares
from textgen.generation.sample import SampleState
from textgen.generation.sampling import Alternatives, likeliest, log_probabilities
from textgen.text.model_vocab import begin
from textgen.text.token_costs import TokenCosts

# How many logits of a prompt (T, V) may be in memory at once.
MAX_PROMPT_LOGITS = 2**22


class PromptReading:
    """A prompt that is being read, for one text or for several that share it.

    engine: reads this prompt only. start_id: the model id that its text begins after; None: there is none.
    costs: of the model's tokens.
    logits: of the token after what was read, (1, V); None where nothing was.
    """

    def __init__(self, sample: SampleState, engine: Engine, start_id: int | None, costs: TokenCosts) -> None:
        request, prompt = sample.request, sample.prompt
        self.samples = [sample]
        self.engine = engine
        self.logits: np.ndarray | None = None
        self._costs = costs
        self._request = request
        self._position = 0
        self._ids = prompt.model_ids  # (T,)
        if request.state is not None:
            engine.state = request.state
        else:
            engine.reset_state(1)
            if not (request.mid_text and (len(self._ids) or prompt.given_back)):
                self._ids = begin(self._ids, start_id)
        self._reads_start = len(self._ids) > len(prompt.model_ids)  # which is no token of the prompt
        if not len(self._ids):
            self.logits = np.log(engine.vocab.frequencies)[None]

    @property
    def is_done(self) -> bool:
        """Whether the whole prompt is read."""
        return self._position == len(self._ids)

    def suits(self, sample: SampleState) -> bool:
        """Whether a text may share this prompt, which may have been read in part."""
        one, other = self._request, sample.request
        return (
            sample.prompt is self.samples[0].prompt
            and other.state is one.state
            and other.mid_text == one.mid_text
            and other.label == one.label
            and other.prompt_log_probabilities == one.prompt_log_probabilities
            and (other.num_alternatives == one.num_alternatives or not one.prompt_log_probabilities)
        )

    def add(self, sample: SampleState) -> None:
        """Let a text that suits share this prompt."""
        sample.prompt_log_probabilities += self.samples[0].prompt_log_probabilities
        sample.prompt_alternatives += self.samples[0].prompt_alternatives
        self.samples.append(sample)

    def advance(self, num_tokens: int) -> int:
        """Read at most num_tokens more. Returns how many were read."""
        ids = self._ids[self._position : self._position + num_tokens]
        if len(ids) and self._request.prompt_log_probabilities:
            ids = ids[: max(1, MAX_PROMPT_LOGITS // self.engine.vocab.size)]
            logits = self.engine.read(ids[None])[0]  # (T, V)
            self._score(ids, logits)
            self.logits = logits[-1:]
        elif len(ids):
            self.logits = self.engine.advance(ids[None])
        self._position += len(ids)
        return len(ids)

    def measure_given_back(self) -> None:
        """Tell the texts how likely the rest of what the prompt gave back is; the prompt has been read."""
        prompt = self.samples[0].prompt
        if len(prompt.given_back) < 2:
            return
        shares = log_shares(self.engine, prompt)
        for sample in self.samples:
            assert sample.healing is not None
            sample.healing.log_shares = shares

    def _score(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """Record the log-probabilities of model ids (T,), given the logits after each of them (T, V)."""
        scores: list[float | None] = []
        alternatives: list[Alternatives | None] = []
        if self.logits is not None:
            logits = np.concatenate([self.logits, logits[:-1]])
        else:
            if not self._reads_start:  # nothing was read before the first token of the prompt
                scores, alternatives = [None], [None]
            ids, logits = ids[1:], logits[:-1]
        if len(ids):
            own = log_probabilities(logits) - self._costs.seen_nats  # (T, V)
            seen = ids < self.engine.vocab.size
            found = own[np.arange(len(ids)), np.where(seen, ids, 0)]
            scores += np.where(seen, found, -self._costs.unseen_nats).tolist()
            if self._request.num_alternatives:
                alternatives += likeliest(own, self._request.num_alternatives, self.engine.vocab.token_ids)
        for sample in self.samples:
            sample.prompt_log_probabilities += scores
            if self._request.num_alternatives:
                sample.prompt_alternatives += alternatives
