"""A prompt as text, as token ids and as model ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from textgen.errors import ConfigError
from textgen.text.decoder import Decoder, SkippingDecoder
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

# How many of a prompt's last tokens the decoder reads: enough to know how the first new token is written.
DECODER_CONTEXT = 16


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a generated text continues: its text, its token ids (T,) and its model ids (T,); T may be 0.

    given_back: the token ids at the end of the text that are to be drawn again (healing.py), (K,). The text
    includes them, `token_ids` and `model_ids` do not.
    """

    text: str
    token_ids: np.ndarray
    model_ids: np.ndarray
    tokenizer: Tokenizer
    vocab: ModelVocab
    given_back: tuple[int, ...] = ()

    @classmethod
    def from_text(cls, text: str, tokenizer: Tokenizer, vocab: ModelVocab) -> Prompt:
        """Encode a text. Raises TokenizerError."""
        token_ids = tokenizer.encode(text)
        return cls(text, token_ids, vocab.to_model_ids(token_ids), tokenizer, vocab)

    @classmethod
    def from_token_ids(cls, token_ids: Sequence[int], tokenizer: Tokenizer, vocab: ModelVocab) -> Prompt:
        """Take token ids, not model ids. Raises ConfigError for anything that is not a token id."""
        ids = np.array(token_ids, np.int64) if not len(token_ids) else np.asarray(token_ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ConfigError(f"token ids must be whole numbers in one row, not {ids.dtype} {ids.shape}")
        wrong = ids[(ids < 0) | (ids >= tokenizer.vocab_size)]
        if len(wrong):
            raise ConfigError(f"token id {wrong[0]}: the tokenizer has ids 0 to {tokenizer.vocab_size - 1}")
        return cls(tokenizer.decode(ids.tolist()), ids, vocab.to_model_ids(ids), tokenizer, vocab)

    def giving_back(self, number: int) -> Prompt:
        """The same prompt with its last tokens given back; number is at least 1."""
        given_back = tuple(self.token_ids[-number:].tolist())
        token_ids, model_ids = self.token_ids[:-number], self.model_ids[:-number]
        return replace(self, token_ids=token_ids, model_ids=model_ids, given_back=given_back)

    @property
    def given_back_model_ids(self) -> np.ndarray:
        """The model ids of given_back, (K,)."""
        return self.vocab.to_model_ids(np.array(self.given_back, np.int64))

    def decoder(self) -> Decoder:
        """A new decoder for the tokens that follow, which returns only text that the prompt does not have.

        It has read the end of the prompt, because some tokens begin with a space only after others.
        """
        decoder = self.tokenizer.decoder()
        context = self.token_ids[-DECODER_CONTEXT:].tolist()
        if self.given_back:
            num_read = sum(len(decoder.push(token_id)) for token_id in context)
            whole = self.tokenizer.decoder()
            num_all = sum(len(whole.push(token_id)) for token_id in (*context, *self.given_back))
            return SkippingDecoder(decoder, num_all - num_read)
        written = ""
        for token_id in context:
            written = decoder.push(token_id)
        # One that still keeps some of the prompt, or has seen nothing, must not write it as new text.
        return decoder if written else self.tokenizer.decoder()
