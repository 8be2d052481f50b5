"""Token healing: a prompt that ends within a word goes on as the word would.

The tokens at the end of such a prompt are seldom those of the whole word, so training hardly ever saw a text
go on after them. They are given back: not read, but drawn again, among the tokens that write the same text.

    prompt        Once| upon| a| t|i          given back: " t" and "i", because " time" begins with " ti"
    drawn next    " time", " tiny", ...       or " t", and then one of "i", "in", ...

A path through the tokens of the prompt has the probability of all of it: " t" counts as much as it is likely
that "i" comes next. Otherwise every rare word with a "t" would speak for it.

A tokenizer of characters or bytes has no longer tokens to find. One of words spells a word that is cut off.

Shapes: V model vocabulary, K tokens given back.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from textgen.generation.engine import Engine
from textgen.generation.processors import LogitsProcessor
from textgen.generation.prompt import Prompt
from textgen.generation.sampling import log_probabilities
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer


class Spellings:
    """What the tokens of a model vocabulary write, sorted: those with the same beginning are together."""

    def __init__(self, tokenizer: Tokenizer, vocab: ModelVocab) -> None:
        self._tokenizer = tokenizer
        self._anchor = _anchor(tokenizer, vocab)
        self.by_model_id = [self.of(token_id) for token_id in vocab.token_ids.tolist()]
        found = sorted((text, model_id) for model_id, text in enumerate(self.by_model_id) if text)
        self._sorted = [text for text, _ in found]
        self._model_ids = np.array([model_id for _, model_id in found], np.int64)
        self._longest = max(map(len, self._sorted), default=0)

    def of(self, token_id: int) -> bytes:
        """What a token adds to a text; b"" of end-of-text, and of a token with no fixed text of its own."""
        if token_id == self._tokenizer.end_of_text_id:
            return b""
        if self._tokenizer.token_bytes is not None:
            return self._tokenizer.token_bytes[token_id]
        before = self._tokenizer.decode(self._anchor)
        text = self._tokenizer.decode([*self._anchor, token_id])
        is_fixed = text.startswith(before) and "\ufffd" not in text
        return text[len(before) :].encode() if is_fixed else b""

    def beginning_with(self, text: bytes) -> np.ndarray:
        """The model ids (N,) of the tokens that begin with these bytes, or are these bytes."""
        begin = bisect_left(self._sorted, text)
        end = bisect_right(self._sorted, text, lo=begin, key=lambda spelling: spelling[: len(text)])
        return self._model_ids[begin:end]

    def num_given_back(self, token_ids: Sequence[int]) -> int:
        """How many tokens at the end to give back: the most that a single longer token could begin with."""
        most, text = 0, b""
        for number, token_id in enumerate(reversed(token_ids[-self._longest :]), 1):
            spelling = self.of(token_id)
            text = spelling + text
            if not spelling or len(text) >= self._longest:
                break
            longer = bisect_right(self._sorted, text)  # the first that is longer, if one is
            if longer < len(self._sorted) and self._sorted[longer].startswith(text):
                most = number
        return most


def _anchor(tokenizer: Tokenizer, vocab: ModelVocab) -> list[int]:
    """A token to decode others after, because some write a space only there; none where bytes are fixed."""
    if tokenizer.token_bytes is not None:
        return []
    for token_id in vocab.token_ids.tolist():
        text = tokenizer.decode([token_id])
        if text and "\ufffd" not in text:
            return [token_id]
    return []


@lru_cache(maxsize=8)
def spellings_of(tokenizer: Tokenizer, vocab: ModelVocab) -> Spellings | None:
    """The spellings of the tokens that training saw; None where no token is longer than a character."""
    return None if tokenizer.kind in ("char", "byte") else Spellings(tokenizer, vocab)


def healed(prompt: Prompt, start_id: int | None) -> Prompt:
    """The prompt with the tokens to draw again given back; the same prompt where there are none.

    start_id: the model id of the start token, which stays if the prompt begins with it.
    """
    spellings = spellings_of(prompt.tokenizer, prompt.vocab)
    if spellings is None or not len(prompt.token_ids):
        return prompt
    num_kept = int(prompt.model_ids[0] == start_id)
    number = spellings.num_given_back(prompt.token_ids[num_kept:].tolist())
    return prompt.giving_back(number) if number else prompt


class TokenHealing(LogitsProcessor):
    """Lets one text begin with the text that its prompt gave back, at least one token of it.

    num_rewritten: how many tokens drawn so far added nothing to that text.
    log_shares: (K,), from `log_shares`; set before the first token is drawn.
    """

    def __init__(self, prompt: Prompt) -> None:
        spellings = spellings_of(prompt.tokenizer, prompt.vocab)
        assert spellings is not None  # or nothing would have been given back
        self._spellings = spellings
        self._rest = rests(spellings, prompt)
        self._given_back = prompt.given_back_model_ids.tolist()
        self._place = 0  # in given_back: of the next token to draw again
        self.num_rewritten = 0
        self.log_shares = np.zeros(len(self._given_back))

    @property
    def is_done(self) -> bool:
        """Whether all of the text has been written again."""
        return self._place == len(self._given_back)

    def process(self, logits: np.ndarray) -> np.ndarray:
        """As LogitsProcessor.process."""
        if self.is_done:
            return logits
        allowed = np.full_like(logits, -np.inf)
        whole = self._spellings.beginning_with(self._rest[self._place])
        allowed[..., whole] = logits[..., whole]
        following, model_id = self._place + 1, self._given_back[self._place]
        if following < len(self._given_back) and model_id < len(self._spellings.by_model_id):
            allowed[..., model_id] = logits[..., model_id] + self.log_shares[following]
        return allowed

    def adds_text(self, model_id: int) -> bool:
        """Whether a token writes more than what is left of the text given back. It changes nothing."""
        left = 0 if self.is_done else len(self._rest[self._place])
        return len(self._spellings.by_model_id[model_id]) > left

    def accept(self, model_id: int) -> None:
        """As LogitsProcessor.accept."""
        if self.is_done:
            return
        num_added = len(self._spellings.by_model_id[model_id]) - len(self._rest[self._place])
        self.num_rewritten += num_added <= 0
        self._place = self._place + 1 if num_added < 0 else len(self._given_back)


def rests(spellings: Spellings, prompt: Prompt) -> list[bytes]:
    """What is left of the text given back, before each of its tokens: (K,)"""
    texts = list(map(spellings.of, prompt.given_back))
    return [b"".join(texts[place:]) for place in range(len(texts))]


def log_shares(engine: Engine, prompt: Prompt) -> np.ndarray:
    """For each token given back, the log-probability that a text which has those before it goes on with it
    and all after it, in these tokens or in longer ones: (K,). The first is not needed, and 0.

    The engine has read the prompt, in a batch of one text, and stays as it is.
    """
    model_ids = prompt.given_back_model_ids
    shares = np.zeros(len(model_ids))
    if len(model_ids) == 1:
        return shares
    spellings = spellings_of(prompt.tokenizer, prompt.vocab)
    assert spellings is not None
    ahead = copy.copy(engine)
    ahead.state = engine.state
    scores = log_probabilities(ahead.read(model_ids[None, :-1])[0])  # (K - 1, V): after each but the last
    rest = rests(spellings, prompt)
    for place in reversed(range(1, len(model_ids))):
        own = scores[place - 1]
        ways = own[spellings.beginning_with(rest[place])]
        following, model_id = place + 1, model_ids[place]
        if following < len(model_ids) and model_id < len(own):
            ways = np.append(ways, own[model_id] + shares[following])
        shares[place] = np.logaddexp.reduce(ways, initial=-np.inf)
    return shares
