"""Requests and responses as msgspec structs: the JSON of OpenAI's API, with its names and defaults.

parsing.py makes the requests, msgspec.json.encode the bodies of responses and the data of events. In a
response, what is UNSET is left out, and what is None is null.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Bias = Annotated[float, Meta(ge=-100, le=100)]
_Alternatives = Annotated[int, Meta(ge=0, le=20)]
_MostStops = 16
_Stops = str | Annotated[list[str], Meta(max_length=_MostStops)]


class StreamOptions(Struct):
    """What a stream holds besides the text."""

    include_usage: bool = False


class SamplingRequest(Struct, kw_only=True):
    """What requests for completions and for chat share; the fields after `logit_bias` are extensions."""

    model: str = ""
    temperature: Annotated[float, Meta(ge=0)] = 1.0
    top_p: _Fraction = 1.0
    n: Annotated[int, Meta(ge=1)] = 1
    stop: _Stops = []
    seed: _Whole | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: _Penalty = 0.0
    frequency_penalty: _Penalty = 0.0
    logit_bias: dict[str, _Bias] = {}
    label: str | None = None
    top_k: Annotated[int, Meta(ge=-1)] = 0
    min_p: _Fraction = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0)] = 1.0
    min_tokens: _Whole = 0
    stop_token_ids: list[_Whole] = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    return_token_ids: bool = False


class CompletionRequest(SamplingRequest, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: str | list[str | int | list[int]] = ""
    max_tokens: _Whole = 16
    logprobs: _Alternatives | None = None
    echo: bool = False
    best_of: Annotated[int, Meta(ge=1)] | None = None


class TextPart(Struct):
    """A part of a message."""

    type: str
    text: str = ""


class Message(Struct):
    """A message of a conversation."""

    role: str
    content: str | list[TextPart] = ""


class ChatRequest(SamplingRequest, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: _Whole | None = None
    max_completion_tokens: _Whole | None = None
    logprobs: bool = False
    top_logprobs: _Alternatives | None = None


class TokenizeRequest(Struct, kw_only=True):
    """The body of POST /tokenize; the text is `prompt` as in vLLM, or `content` as in llama.cpp."""

    model: str = ""
    prompt: str | None = None
    content: str | None = None
    with_pieces: bool = False


class DetokenizeRequest(Struct, kw_only=True):
    """The body of POST /detokenize."""

    tokens: list[_Whole]
    model: str = ""
    with_pieces: bool = False


class ScoreRequest(Struct, kw_only=True):
    """The body of POST /v1/score."""

    text: str
    model: str = ""
    label: str | None = None


class Usage(Struct):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprobs(Struct):
    """Of each token: its name, its log-probability, the most likely ones, and where it begins."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class ChoiceFields(Struct, kw_only=True):
    """What choices of completions and of chat share, whole or in chunks."""

    index: int
    finish_reason: str | None = None
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET


class Choice(ChoiceFields, kw_only=True):
    """A text, or what a chunk adds to it."""

    text: str
    logprobs: Logprobs | None = None


class ResponseFields(Struct, kw_only=True):
    """What responses of completions and of chat share, and the chunks of their streams."""

    id: str
    created: int
    model: str


class Completion(ResponseFields, kw_only=True):
    """The response to a request for completions, and a chunk of its stream."""

    choices: list[Choice]
    usage: Usage | UnsetType | None = UNSET
    object: Literal["text_completion"] = "text_completion"


class TopLogprob(Struct):
    """A token that was likely."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(TopLogprob):
    """A token of a message."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct):
    """The tokens of a message."""

    content: list[TokenLogprob]
    refusal: None = None


class Answer(Struct, kw_only=True):
    """The message that was written."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(ChoiceFields, kw_only=True):
    """A message with why it ended."""

    message: Answer
    logprobs: ChatLogprobs | None = None


class Delta(Struct, kw_only=True):
    """What a chunk adds to a message; the first one has the role."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(ChoiceFields, kw_only=True):
    """What a chunk adds to a message, with why it ended."""

    delta: Delta
    logprobs: ChatLogprobs | None = None


class ChatCompletion(ResponseFields, kw_only=True):
    """The response to a chat request."""

    choices: list[ChatChoice]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"


class ChatChunk(ResponseFields, kw_only=True):
    """A chunk of the stream of a chat."""

    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"


class ModelFacts(Struct, kw_only=True):
    """What is to be known of a run. bits_per_character: on its validation text; None: not measured."""

    network: str
    tokenizer: str
    labels: list[str]
    chat: bool
    parameters: int
    bits_per_character: float | None
    ngrams: bool


class ModelCard(Struct, kw_only=True):
    """An entry of /v1/models. created: when its weights were written, in seconds since 1970."""

    id: str
    created: int
    textgen: ModelFacts
    object: Literal["model"] = "model"
    owned_by: Literal["textgen"] = "textgen"


class ModelList(Struct, kw_only=True):
    """The response of /v1/models."""

    data: list[ModelCard]
    object: Literal["list"] = "list"
