"""What the stages of the GPU check are told, as JSON on their command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where to measure and how much. text: the file to train on. tiny: sizes that take seconds on a CPU."""

    device: str
    text: Path
    minutes_of_training: float
    tiny: bool

    def as_json(self) -> str:
        """All fields, to be read by from_json."""
        return json.dumps(asdict(self) | {"text": str(self.text)})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What as_json wrote."""
        fields = json.loads(text)
        return cls(**(fields | {"text": Path(fields["text"])}))
