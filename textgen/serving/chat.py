"""POST /v1/chat/completions: a conversation as the prompt of a run that was trained on such text.

    template "Q: {user}\\nA:", stop "\\n"

    user "Who?"  assistant " Me."  user "Why?"    →    "Q: Who?\\nA: Me.\\nQ: Why?\\nA:"

The template is filled in by replacing its place literally: what a message holds is text and nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from textgen.serving.choices import Part, TokenScore
from textgen.serving.errors import ApiError, wrong
from textgen.serving.jobs import Job, Wanted, job_of
from textgen.serving.models import ServedModel
from textgen.serving.replies import Reply
from textgen.serving.schema import (
    Answer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChatRequest,
    ChunkChoice,
    Delta,
    Message,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from textgen.serving.token_names import TokenNames
from textgen.settings.config import USER_PLACE, SampleConfig
from textgen.settings.request_limits import RequestLimits

_DEFAULT_MAX_TOKENS = SampleConfig.max_new_tokens


def chat_job(request: ChatRequest, model: ServedModel, limits: RequestLimits) -> Job:
    """The texts that a request asks for. Raises ApiError, also for a run without a template."""
    template, stop = model.config.data.chat_template, model.config.data.chat_stop
    if template is None:
        raise ApiError(
            400,
            f"{model.name} has no prompt template, so it cannot chat: train a run with --chat-template, or "
            "use /v1/completions",
            param="model",
            code="no_chat_template",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise wrong("top_logprobs", "does nothing without logprobs; give that too, or leave it out")
    tokens = request.max_completion_tokens if request.max_tokens is None else request.max_tokens
    wanted = Wanted(
        max_tokens=min(_DEFAULT_MAX_TOKENS, limits.max_tokens) if tokens is None else tokens,
        num_written=request.n,
        num_returned=request.n,
        alternatives=(request.top_logprobs or 0) if request.logprobs else None,
        stream=request.stream,
        token_ids=request.return_token_ids,
    )
    prompt = prompt_of(request.messages, template, stop or "")
    return job_of(request, [prompt], wanted, model, limits, stops=() if stop is None else (stop,))


def prompt_of(messages: Sequence[Message], template: str, stop: str) -> str:
    """The prompt of a conversation, which ends with a message of the user. Raises ApiError."""
    parts = []
    for number, message in enumerate(messages):
        expected = "assistant" if number % 2 else "user"
        if message.role != expected:
            raise wrong(
                "messages",
                f"number {number + 1} is of role {message.role[:20]!r}, not {expected!r}: a run knows only "
                "user and assistant, in turn",
            )
        content = _content(message)
        parts.append(content + stop if number % 2 else template.replace(USER_PLACE, content))
    if len(messages) % 2 == 0:
        raise wrong("messages", "the last one must be of the user")
    return "".join(parts)


def _content(message: Message) -> str:
    """The text of a message. Raises ApiError for parts that are no text."""
    if isinstance(message.content, str):
        return message.content
    if any(part.type != "text" for part in message.content):
        raise wrong("messages", "a run reads only text")
    return "".join(part.text for part in message.content)


class ChatReply(Reply):
    """Writes the parts of a job as messages."""

    id_prefix = "chatcmpl-"

    def whole(self, parts: Sequence[Part], usage: Usage) -> ChatCompletion:
        """The response, of all choices in their order."""
        choices = [
            ChatChoice(
                index=index,
                message=Answer(content=part.text),
                logprobs=self._logprobs(part),
                finish_reason=part.finish_reason,
                token_ids=part.token_ids,
                prompt_token_ids=part.prompt_token_ids,
            )
            for index, part in enumerate(parts)
        ]
        return ChatCompletion(id=self.id, created=self.created, model=self.name, choices=choices, usage=usage)

    def chunk(self, index: int, part: Part, *, is_first: bool) -> ChatChunk:
        """What a part adds to a choice, of which it may be the first."""
        choice = ChunkChoice(
            index=index,
            delta=Delta(role="assistant" if is_first else UNSET, content=part.text),
            logprobs=self._logprobs(part),
            finish_reason=part.finish_reason,
            token_ids=part.token_ids,
            prompt_token_ids=part.prompt_token_ids,
        )
        usage = None if self.has_usage else UNSET
        return ChatChunk(id=self.id, created=self.created, model=self.name, choices=[choice], usage=usage)

    def last(self, usage: Usage) -> ChatChunk:
        """The chunk after the last choice."""
        return ChatChunk(id=self.id, created=self.created, model=self.name, choices=[], usage=usage)

    def _logprobs(self, part: Part) -> ChatLogprobs | None:
        if part.scores is None:
            return None
        return ChatLogprobs([_token(score, self.names, self.wanted) for score in part.scores])


def _token(score: TokenScore, names: TokenNames, wanted: Wanted) -> TokenLogprob:
    """A token as chat reports it."""

    def about(token_id: int, value: float) -> tuple[str, list[int], float]:
        return names[token_id], list(names.bytes_of(token_id)), value

    # Completions add the drawn token to those; chat does not.
    likely = [TopLogprob(*about(*each)) for each in score.alternatives[: wanted.alternatives or 0]]
    assert score.log_probability is not None  # of a new token
    return TokenLogprob(*about(score.token_id, score.log_probability), likely)
