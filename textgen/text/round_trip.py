"""What encoding and decoding a text loses. Tokenizers trained by textgen are lossless; others may not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from textgen.text.documents import Separator
from textgen.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class RoundTrip:
    """What is lost by encoding and decoding a text.

    lost_documents: how many documents do not come back exactly. lost_characters: how many characters of the
    original the decoded text lacks, wherever they are. example: the text around the first difference,
    (original, decoded); None when nothing is lost.
    """

    documents: int
    lost_documents: int
    characters: int
    lost_characters: int
    example: tuple[str, str] | None


def measure_round_trip(tokenizer: Tokenizer, stream: Iterable[str | Separator]) -> RoundTrip:
    """Encode and decode a text stream in chunks and compare.

    Raises TokenizerError for a text that cannot be encoded.
    """
    documents = lost_documents = characters = lost_characters = 0
    started = intact = False
    example: tuple[str, str] | None = None
    for item in tokenizer.chunks(stream):
        if isinstance(item, Separator):
            started = False
            continue
        if not started:
            documents += 1
            started = intact = True
        characters += len(item)
        decoded = tokenizer.decode(tokenizer.encode(item))
        if decoded == item:
            continue
        lost_documents += intact
        intact = False
        lost_characters += (Counter(item) - Counter(decoded)).total()
        example = example or _first_difference(item, decoded)
    return RoundTrip(documents, lost_documents, characters, lost_characters, example)


def _first_difference(text: str, decoded: str) -> tuple[str, str]:
    pairs = enumerate(zip(text, decoded, strict=False))
    start = next((i for i, (one, other) in pairs if one != other), min(len(text), len(decoded)))
    around = slice(max(0, start - 10), start + 20)
    return text[around], decoded[around]
