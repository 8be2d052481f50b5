"""Reply: how the parts of a job become the response of an endpoint, whole or in chunks."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from textgen.serving.choices import Part
from textgen.serving.jobs import Job
from textgen.serving.schema import SamplingRequest, Usage


class Reply(ABC):
    """Writes one response. A subclass says what a whole response and its chunks look like."""

    id_prefix: ClassVar[str]

    def __init__(self, request: SamplingRequest, job: Job) -> None:
        self.id = self.id_prefix + secrets.token_hex(12)
        self.created = int(time.time())
        self.name = job.model.name
        self.names = job.model.token_names
        self.wanted = job.wanted
        options = request.stream_options
        self.has_usage = options is not None and options.include_usage

    @abstractmethod
    def whole(self, parts: Sequence[Part], usage: Usage) -> msgspec.Struct:
        """The response, of all choices in their order."""

    @abstractmethod
    def chunk(self, index: int, part: Part, *, is_first: bool) -> msgspec.Struct:
        """What a part adds to a choice, of which it may be the first."""

    @abstractmethod
    def last(self, usage: Usage) -> msgspec.Struct:
        """The chunk after the last choice, where usage is asked for."""
