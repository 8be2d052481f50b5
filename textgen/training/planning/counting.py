"""Which n-grams go with a network, how long counting them takes, and how much of a long text is counted."""

from __future__ import annotations

from dataclasses import dataclass

from textgen.ngram.reading import MOST_TOKENS

# Tokens to predict a token from, and itself: subwords and words repeat less than characters do.
ORDER, ORDER_OF_CHARACTERS = 5, 9
# In a text of more than SMALL_TEXT tokens, n-grams of PRUNE_FROM tokens or more that occur once are pruned.
# More of them are worth keeping beside a network than alone; see RECIPE.md, "n-grams".
SMALL_TEXT, PRUNE_FROM = 500_000, 8
# Estimated and not measured, so that a run that is resumed, on whatever machine, counts the same text; see
# RECIPE.md, "n-grams".
SECONDS_PER_TOKEN = 1e-6
# After training, counting takes at most this much of the budget of minutes, and so many seconds more.
MOST_FRACTION, MOST_SECONDS = 0.1, 10.0
_WORTH_SAYING = 10.0  # seconds


def default_order(tokenizer_kind: str) -> int:
    """The length of the longest n-grams, in tokens."""
    return ORDER_OF_CHARACTERS if tokenizer_kind in ("char", "byte") else ORDER


def prune_from(num_tokens: int) -> int | None:
    """From which length on n-grams that occur once are pruned in a text of so many tokens; None: none are."""
    return None if num_tokens <= SMALL_TEXT else PRUNE_FROM


@dataclass(frozen=True)
class CountingPlan:
    """How much of a text of text_tokens is counted: of more than most_tokens, evenly spread pieces."""

    text_tokens: int
    most_tokens: int

    @property
    def whole(self) -> int:
        """How many tokens are counted where there is time enough."""
        return min(self.text_tokens, MOST_TOKENS)

    @property
    def tokens(self) -> int:
        """How many tokens are counted."""
        return min(self.text_tokens, self.most_tokens)

    @property
    def is_shortened(self) -> bool:
        """Whether fewer tokens are counted, for lack of time."""
        return self.tokens < self.whole

    def notes(self) -> list[str]:
        """What to say before training; nothing where counting takes little time."""
        seconds = self.whole * SECONDS_PER_TOKEN
        if self.is_shortened:
            more = "all" if self.whole == self.text_tokens else "more"
            return [
                f"n-grams: counting them would take some {seconds:.0f} s after training, so {self.share:.0%} "
                f"of the text, evenly spread, is counted in {self.tokens * SECONDS_PER_TOKEN:.0f} s. "
                f"Afterwards `textgen ngram RUN` counts {more} of it."
            ]
        if seconds <= _WORTH_SAYING:
            return []
        return [
            f"n-grams: counting them takes some {seconds:.0f} s after training (--no-ngram: not counted)."
        ]

    @property
    def share(self) -> float:
        """Of the text, from 0 to 1."""
        return self.tokens / max(1, self.text_tokens)


def counting_plan(text_tokens: int, minutes: float | None) -> CountingPlan:
    """How much of a text to count within the time that a budget of minutes allows; None: all that is ever."""
    most_tokens = MOST_TOKENS
    if minutes is not None:
        allowed = int((MOST_FRACTION * minutes * 60 + MOST_SECONDS) / SECONDS_PER_TOKEN)
        most_tokens = min(MOST_TOKENS, allowed)
    return CountingPlan(text_tokens, most_tokens)
