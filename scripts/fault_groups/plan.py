"""How much is tried, and where."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fault_groups.subjects import KINDS, Subject, make_subject


@dataclass
class Plan:
    """What a group needs to know. folder: an empty folder for its files. quick: only a few cases."""

    folder: Path
    seed: int
    quick: bool

    @cached_property
    def rng(self) -> random.Random:
        """The source of all that is random."""
        return random.Random(self.seed)

    def count(self, quick: int, whole: int) -> int:
        """How many cases there are."""
        return quick if self.quick else whole

    def subject(self, kind: str) -> Subject:
        """A complete and a half run on a kind of text, made now."""
        return make_subject(self.folder / kind, KINDS[kind], self.seed)

    def some(self, cases: list[str], quick: int) -> list[str]:
        """All cases, or a random few if quick."""
        return self.rng.sample(cases, min(quick, len(cases))) if self.quick else cases
