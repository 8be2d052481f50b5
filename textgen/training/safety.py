"""When training went wrong, and how far to turn the learning rate down.

loss |                    *            judged at each line of training loss and before each evaluation;
     |                   *             what went wrong goes back to the last evaluation's checkpoint,
     | \\____            * ---- limit   the same text comes again, at a lower rate
     |      \\___ . . . * . . . lowest
     +--------------------------
          ^ checkpoint  ^ found
"""

from __future__ import annotations

import math

# One after the other, without an evaluation between. The n-th of them halves the learning rate n times: 1/2,
# then 1/8, 1/64, 1/1024 of the rate that failed. A rate just too high loses little, one that is a thousand
# times too high is still brought down.
MOST_ROLLBACKS = 5


def divergence(
    nats_per_token: float,
    *,
    tokens: int,
    first: float | None,
    lowest: float | None,
    num_rows: int,
    failed_steps: int,
) -> str | None:
    """Why training must go back, in words; None when it may go on.

    nats_per_token is the mean training loss of the last interval and `tokens` how many it is the mean of;
    first is the loss of the first step, before any weight had changed, None where it was no number; lowest is
    the lowest mean before, None at the start; num_rows is how many tokens the softmax chooses from;
    failed_steps is how many steps of the interval had a gradient that was no number.

    A loss is too high when it exceeds, by a margin, the lowest so far or what training began with: a uniform
    guess, or more where the weights came from elsewhere and expect another text.
    """
    if failed_steps:
        return "a gradient was no longer a number"
    if not math.isfinite(nats_per_token):
        return "the loss was no longer a number"
    start = max(math.log(num_rows), 0.0 if first is None else first)
    limit = min(start, start if lowest is None else lowest) + tolerance(tokens, num_rows)
    if nats_per_token > limit:
        return f"the loss rose to {nats_per_token:.2f} nats/token, above a limit of {limit:.2f}"
    return None


def tolerance(tokens: int, num_rows: int) -> float:
    """How far, in nats per token, a mean over so many tokens may lie above the lowest one by chance.

    Text is not alike throughout: a nat, or a quarter of a uniform guess where that is more, is left to it.
    The rest is noise of the mean: the loss of one token spreads over some nats and neighbours go together,
    so 20 nats for one token, which fall with the root of their number.

    >>> tolerance(10_000, num_rows=50)
    1.2
    """
    return max(1.0, math.log(num_rows) / 4) + 20 / math.sqrt(tokens)
