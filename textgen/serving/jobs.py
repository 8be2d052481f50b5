"""From a request for text to a Job: the requests of the engine, checked and with their prompts encoded."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from textgen.errors import ConfigError, TextgenError
from textgen.generation.processors import ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request, several_of
from textgen.generation.token_processors import CountPenalties, ForbiddenTokens, LogitBias, StopTokens
from textgen.serving.errors import wrong
from textgen.serving.models import ServedModel
from textgen.serving.schema import SamplingRequest, Usage
from textgen.settings.config import SampleConfig
from textgen.settings.option import shown
from textgen.settings.request_limits import RequestLimits

_RANDOM_SEED_BITS = 32
_MOST_DIGITS = 10  # of a token id


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
    *,
    stops: Sequence[str] = (),
) -> Job:
    """The texts that a request asks for. It may take long for a long prompt; any thread may call it.

    stops: stop strings besides those of the request.

    Raises ApiError for what the run or the limits do not allow.
    """
    _check_limits(prompts, wanted, limits)
    config = _sample_config(request, wanted)
    if request.label is not None:
        try:
            model.config.model.label_id(request.label)
        except ConfigError as error:
            raise wrong("label", str(error)) from error
    stops = (*stops, *([request.stop] if isinstance(request.stop, str) else request.stop))
    if "" in stops:
        raise wrong("stop", "an empty text would stop at once; leave it out")
    scores_prompt = wanted.echo and wanted.alternatives is not None
    found = [_prompt(model, prompt, heal=not scores_prompt, limits=limits) for prompt in prompts]
    processors = _processors(request, model)
    first_seed = secrets.randbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed
    requests: list[Request] = []
    for number, prompt in enumerate(found):
        like = Request(
            prompt=prompt,
            config=config,
            stop=tuple(map(model.normalized, stops)),
            keep_stop=request.include_stop_str_in_output,
            seed=first_seed + number,
            processors=processors,
            label=request.label,
            log_probabilities=wanted.alternatives is not None or wanted.ranks,
            prompt_log_probabilities=scores_prompt,
            num_alternatives=wanted.alternatives or 0,
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
        raise wrong(name, str(error)) from error


def _processors(request: SamplingRequest, model: ServedModel) -> list[ProcessorFactory]:
    """The processors that a request asks for. Raises ApiError."""
    found: list[ProcessorFactory] = []
    if request.presence_penalty or request.frequency_penalty:
        found.append(CountPenalties(presence=request.presence_penalty, frequency=request.frequency_penalty))
    if request.logit_bias:
        found.append(LogitBias({_token_id(name): bias for name, bias in request.logit_bias.items()}))
    if request.stop_token_ids:
        found.append(StopTokens(request.stop_token_ids))
    if request.ignore_eos:
        found.append(ForbiddenTokens([model.generator.tokenizer.end_of_text_id]))
    return found


def _token_id(name: str) -> int:
    if not (name.isascii() and name.isdecimal() and len(name) < _MOST_DIGITS):
        raise wrong("logit_bias", f'the names are token ids, as "65", not {shown(name)}')
    return int(name)


def usage_of(job: Job, num_tokens: int) -> Usage:
    """The usage of a request whose texts have so many new tokens."""
    read = job.num_prompt_tokens
    return Usage(read, num_tokens, read + num_tokens)
