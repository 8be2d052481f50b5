"""The body of a request, from bytes to a struct of schema.py whose types and ranges are checked.

A field that is null counts as absent. One that would change the text and is not built is refused; others that
this server does not know are ignored, as other servers do, and named in its log.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from textgen.serving.errors import ApiError

Kind = TypeVar("Kind", bound=msgspec.Struct)

# What would change the text, and is not built: a client must not believe that it was obeyed.
_REFUSED = {
    "suffix", "response_format", "grammar", "tools", "tool_choice", "functions", "function_call",
    "json_schema", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "logits_processors", "audio", "prediction", "web_search_options",
    # Options of `textgen sample` under other names than here, or that only it has.
    "avoid_copy", "novel", "unique", "mid_text", "keep_stop", "heal", "max_new_tokens", "min_new_tokens",
    "num_samples",
}  # fmt: skip
# Values with which they change nothing.
_HARMLESS: tuple[object, ...] = (None, "", [], {}, {"type": "text"}, "none", "auto")
# Without a meaning here, and sent by clients all the same.
_ACCEPTED = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "parallel_tool_calls",
}  # fmt: skip


def parsed(body: bytes, kind: type[Kind]) -> tuple[Kind, list[str]]:
    """A request, and the names of the fields that it has and this server does not know.

    Raises ApiError for what is no JSON object, for a value of a wrong type or out of range, and for a field
    that would change the text and is not built.
    """
    values = _values(body)
    for name in sorted(_REFUSED & values.keys()):
        if values[name] not in _HARMLESS:
            raise ApiError(
                400, f"{name}: not supported by this server; leave it out", param=name, code="unsupported"
            )
    given = {name: value for name, value in values.items() if value is not None}
    try:
        request = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    known = {*kind.__struct_fields__, *_REFUSED, *_ACCEPTED}
    return request, [name for name in values if name not in known]


def _values(body: bytes) -> dict[str, Any]:
    try:
        values = msgspec.json.decode(body)
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply", code="invalid_json") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(values, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return values


def _refusal(message: str) -> ApiError:
    """The error for a value that msgspec refuses; it says where as `... - at `$.prompt[3]``."""
    what, _, place = message.partition(" - at `$.")
    param = re.split(r"[.\[`]", place)[0] or None
    if param is None:  # a field that is missing, whose name is in the message
        missing = re.search(r"missing required field `(\w+)`", message)
        param = missing[1] if missing else None
    what = f"{what[0].lower()}{what[1:]}"
    return ApiError(400, f"{param}: {what}" if param else what, param=param, code="invalid_value")
