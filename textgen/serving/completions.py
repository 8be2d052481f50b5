"""POST /v1/completions: from the request to a Job, and from its parts to choices and chunks."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from textgen.serving.choices import Part, TokenScore
from textgen.serving.errors import wrong
from textgen.serving.jobs import Job, Wanted, job_of
from textgen.serving.models import ServedModel
from textgen.serving.replies import Reply
from textgen.serving.schema import Choice, Completion, CompletionRequest, Logprobs, Usage
from textgen.serving.token_names import TokenNames
from textgen.settings.request_limits import RequestLimits


def completion_job(request: CompletionRequest, model: ServedModel, limits: RequestLimits) -> Job:
    """The texts that a request asks for. Raises ApiError."""
    best_of = request.n if request.best_of is None else request.best_of
    if best_of < request.n:
        raise wrong("best_of", f"at least n, {request.n:,}")
    if best_of > request.n and request.stream:
        raise wrong("best_of", "which texts are best is known only at the end: leave out stream")
    wanted = Wanted(
        max_tokens=request.max_tokens,
        num_written=best_of,
        num_returned=request.n,
        alternatives=request.logprobs,
        echo=request.echo,
        stream=request.stream,
        token_ids=request.return_token_ids,
    )
    return job_of(request, _prompts(request.prompt), wanted, model, limits)


def _prompts(prompt: str | list[str | int | list[int]]) -> Sequence[str | list[int]]:
    """The prompts of a request, each a text or token ids. Raises ApiError."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise wrong("prompt", "an empty list; give a text, token ids, or a list of either")
    texts = [each for each in prompt if isinstance(each, str)]
    ids = [each for each in prompt if isinstance(each, int)]
    several = [each for each in prompt if isinstance(each, list)]
    for found in (texts, several):
        if len(found) == len(prompt):
            return found
    if len(ids) == len(prompt):
        return [ids]
    raise wrong("prompt", "a list of different things; give only texts, only ids, or only lists of ids")


class CompletionReply(Reply):
    """Writes the parts of a job as completions."""

    id_prefix = "cmpl-"

    def whole(self, parts: Sequence[Part], usage: Usage) -> Completion:
        """The response, of all choices in their order."""
        choices = [self._choice(index, part) for index, part in enumerate(parts)]
        return Completion(id=self.id, created=self.created, model=self.name, choices=choices, usage=usage)

    def chunk(self, index: int, part: Part, *, is_first: bool) -> Completion:
        """What a part adds to a choice."""
        return Completion(
            id=self.id, created=self.created, model=self.name,
            choices=[self._choice(index, part)], usage=None if self.has_usage else UNSET,
        )  # fmt: skip

    def last(self, usage: Usage) -> Completion:
        """The chunk after the last choice."""
        return Completion(id=self.id, created=self.created, model=self.name, choices=[], usage=usage)

    def _choice(self, index: int, part: Part) -> Choice:
        scores = part.scores
        return Choice(
            index=index,
            text=part.text,
            logprobs=None if scores is None else logprobs_of(scores, self.names),
            finish_reason=part.finish_reason,
            token_ids=part.token_ids,
            prompt_token_ids=part.prompt_token_ids,
        )


def logprobs_of(scores: Sequence[TokenScore], names: TokenNames) -> Logprobs:
    """Tokens as completions report them."""
    return Logprobs(
        tokens=[names[score.token_id] for score in scores],
        token_logprobs=[score.log_probability for score in scores],
        top_logprobs=[
            {names[token_id]: value for token_id, value in score.alternatives} or None for score in scores
        ],
        text_offset=[score.offset for score in scores],
    )
