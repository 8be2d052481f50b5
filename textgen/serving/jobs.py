"""From a request for text to the requests of the engine, and from its texts to parts of choices.

    SamplingRequest, prompts ─ job_of ─→ Job ─ requests ─→ EngineThread.submit ─→ Text
                                                                                 │
    Part: text, tokens with log-probabilities, finish reason  ←─ ChoiceReader ───┘

Completions and chat differ only in how they write a Part.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgen.errors import ConfigError, TextgenError
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request, several_of
from textgen.generation.sample import SampleState
from textgen.serving.engine_thread import Piece
from textgen.serving.errors import wrong, wrong_text
from textgen.serving.models import ServedModel
from textgen.serving.schema import SamplingRequest, Usage
from textgen.settings.config import SampleConfig
from textgen.settings.option import shown
from textgen.settings.request_limits import RequestLimits

# JSON has no minus infinity; OpenAI's API sends this for a token that is very unlikely.
_LEAST = -9999.0
_RANDOM_SEED_BITS = 32


@dataclass(frozen=True)
class Wanted:
    """What is asked beside the sampling: how much to write and to return for each prompt, and what to report.

    alternatives: how many likely tokens to report for each token; None: no log-probabilities.
    """

    max_tokens: int
    num_written: int
    num_returned: int
    alternatives: int | None = None
    echo: bool = False
    stream: bool = False
    token_ids: bool = False

    @property
    def ranks(self) -> bool:
        """Whether only the best of the texts are returned."""
        return self.num_written > self.num_returned


@dataclass(frozen=True)
class Job:
    """All texts of one request; those of a prompt follow each other."""

    model: ServedModel
    wanted: Wanted
    prompts: list[Prompt]
    requests: list[Request]

    @property
    def num_prompt_tokens(self) -> int:
        """The tokens of all prompts, each counted once."""
        return sum(len(prompt.token_ids) + len(prompt.given_back) for prompt in self.prompts)


def job_of(
    request: SamplingRequest,
    prompts: Sequence[str | list[int]],
    wanted: Wanted,
    model: ServedModel,
    limits: RequestLimits,
) -> Job:
    """The texts that a request asks for. It may take long for a long prompt; any thread may call it.

    Raises ApiError for what the run or the limits do not allow.
    """
    _check_limits(prompts, wanted, limits)
    config = _sample_config(request, wanted)
    if request.label is not None:
        try:
            model.config.model.label_id(request.label)
        except ConfigError as error:
            raise wrong_text("label", error) from error
    stops = [request.stop] if isinstance(request.stop, str) else request.stop
    if "" in stops:
        raise wrong("stop", "an empty text would stop at once; leave it out")
    scores_prompt = wanted.echo and wanted.alternatives is not None
    found = [_prompt(model, prompt, heal=not scores_prompt, limits=limits) for prompt in prompts]
    first_seed = secrets.randbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed
    requests: list[Request] = []
    for number, prompt in enumerate(found):
        like = Request(
            prompt=prompt,
            config=config,
            stop=tuple(map(model.normalized, stops)),
            keep_stop=request.include_stop_str_in_output,
            seed=first_seed + number,
            label=request.label,
            log_probabilities=wanted.alternatives is not None or wanted.ranks,
            prompt_log_probabilities=scores_prompt,
        )
        requests += several_of(like, wanted.num_written)
    return Job(model, wanted, found, requests)


def _check_limits(prompts: Sequence[object], wanted: Wanted, limits: RequestLimits) -> None:
    if wanted.max_tokens > limits.max_tokens:
        raise wrong("max_tokens", f"at most {limits.max_tokens:,} here, not {shown(wanted.max_tokens)}")
    if len(prompts) * wanted.num_written > limits.max_texts:
        raise wrong(
            "best_of" if wanted.ranks else "n",
            f"at most {limits.max_texts:,} texts in a request, not {shown(wanted.num_written)} for each of "
            f"{len(prompts):,} prompts",
        )


def _prompt(model: ServedModel, prompt: str | list[int], *, heal: bool, limits: RequestLimits) -> Prompt:
    most = limits.max_prompt_tokens
    try:
        found = model.prompt(prompt, heal=heal)
    except (TextgenError, OverflowError) as error:
        raise wrong("prompt", str(error)) from error
    num_tokens = len(found.token_ids) + len(found.given_back)
    if num_tokens > most:
        raise wrong("prompt", f"at most {most:,} tokens here, not {num_tokens:,}")
    return found


def _sample_config(request: SamplingRequest, wanted: Wanted) -> SampleConfig:
    """The sampling settings; values that turn a filter off are None."""
    most = max(wanted.max_tokens, 1)  # for 0, one is drawn and left out: the prompt is read with it
    if request.min_tokens > most:
        raise wrong("min_tokens", f"at most max_tokens, {most:,}")
    try:
        return SampleConfig(
            max_new_tokens=most,
            min_new_tokens=request.min_tokens,
            temperature=request.temperature,
            top_k=request.top_k if request.top_k > 0 else None,
            top_p=request.top_p if request.top_p < 1 else None,
            min_p=request.min_p or None,
            repetition_penalty=request.repetition_penalty,
        )
    except ConfigError as error:
        name = str(error).partition("=")[0]
        raise wrong_text(name, error) from error


@dataclass(frozen=True)
class TokenScore:
    """A token with its log-probability (None: nothing was read before it), the likely ones, and its place.

    alternatives: likeliest first, the token itself among them. offset: the character of prompt and text at
    which it begins.
    """

    token_id: int
    log_probability: float | None
    alternatives: list[tuple[int, float]]
    offset: int


@dataclass(frozen=True)
class Part:
    """What a piece adds to a choice. scores: None where log-probabilities are not asked for.

    prompt_token_ids: with the first part, where token ids are asked for.
    """

    text: str
    token_ids: list[int]
    scores: list[TokenScore] | None
    finish_reason: str | None
    prompt_token_ids: list[int] | None


class ChoiceReader:
    """Reads the parts of one choice from the pieces of its text, in their order."""

    def __init__(self, prompt: Prompt, wanted: Wanted) -> None:
        self._prompt = prompt
        self._wanted = wanted
        self._num_read = 0  # tokens of the text that are in a part
        self._is_first = True
        self._decoder = prompt.tokenizer.decoder()
        self._offset = 0
        self.num_new_tokens = 0  # without those that only wrote the end of the prompt again
        self.log_probability = -math.inf  # mean over the tokens, once the text has ended

    def part(self, sample: SampleState, piece: Piece) -> Part:
        """What a piece adds."""
        wanted, prompt = self._wanted, self._prompt
        is_first, self._is_first = self._is_first, False
        start, stop = self._num_read, piece.num_tokens if wanted.max_tokens else 0
        self._num_read = stop
        self.num_new_tokens = max(stop - sample.num_rewritten, 0)
        scores: list[TokenScore] | None = None
        if wanted.alternatives is not None:
            scores = self._prompt_scores(sample) if is_first else []
            scores += self._scores(sample, start, stop)
        if piece.finish_reason is not None and sample.log_probabilities:
            self.log_probability = float(np.mean(sample.log_probabilities))
        whole = [*prompt.token_ids.tolist(), *prompt.given_back]
        text = piece.text if wanted.max_tokens else ""
        return Part(
            text=prompt.text + text if wanted.echo and is_first else text,
            token_ids=sample.token_ids[start:stop],
            scores=scores,
            finish_reason=_finish_reason(piece.finish_reason, wanted),
            prompt_token_ids=whole if wanted.token_ids and is_first else None,
        )

    def _prompt_scores(self, sample: SampleState) -> list[TokenScore]:
        """Move over the tokens of the prompt; their scores, where they are asked for."""
        ids = self._prompt.token_ids.tolist()
        offsets = [self._move(token_id) for token_id in ids]
        if not self._wanted.echo:
            return []
        found = []
        for number, (token_id, offset) in enumerate(zip(ids, offsets, strict=True)):
            score = sample.prompt_log_probabilities[number] if number else None
            found.append(self._score(token_id, score, [], offset))
        return found

    def _scores(self, sample: SampleState, start: int, stop: int) -> list[TokenScore]:
        return [
            self._score(
                sample.token_ids[number], sample.log_probabilities[number], [],
                self._move(sample.token_ids[number]),
            )
            for number in range(start, stop)
        ]  # fmt: skip

    def _score(
        self, token_id: int, score: float | None, likely: list[tuple[int, float]], offset: int
    ) -> TokenScore:
        if score is None:
            return TokenScore(token_id, None, [], offset)
        score = max(score, _LEAST)
        found = [(other, max(value, _LEAST)) for other, value in likely if other != token_id]
        # The token's own value is its log-probability exactly: clients compare the two for equality.
        found.append((token_id, score))
        found.sort(key=lambda each: -each[1])
        return TokenScore(token_id, score, found, offset)

    def _move(self, token_id: int) -> int:
        """The character at which the next token begins."""
        offset = self._offset
        self._offset += len(self._decoder.push(token_id))
        return offset


def _finish_reason(reason: str | None, wanted: Wanted) -> str | None:
    """A finish reason as OpenAI's API has it."""
    if reason is None:
        return None
    return "length" if reason == "length" or not wanted.max_tokens else "stop"


def usage_of(job: Job, num_tokens: int) -> Usage:
    """The usage of a request whose texts have so many new tokens."""
    read = job.num_prompt_tokens
    return Usage(read, num_tokens, read + num_tokens)
