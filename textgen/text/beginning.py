"""What a text without a prompt stands after: where sampling and scoring start."""

from __future__ import annotations

import numpy as np

from textgen.text.rows import Rows
from textgen.text.tokenizer import Tokenizer


def start_row(rows: Rows, tokenizer: Tokenizer) -> int | None:
    """The row of end-of-text if training saw it, else of a newline if training saw one, else None.

    After None the first token is drawn, and scored, by its training frequency.

    Raises RunError when the tokenizer cannot be the one that training used.
    """
    rows.require(tokenizer.vocab_size)
    for ids in (np.array([tokenizer.end_of_text_id]), tokenizer.encode("\n")):
        found = rows.to_rows(ids)
        if len(found) == 1 and found[0] < rows.size:
            return int(found[0])
    return None
