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
    original the decoded text lacks, wherever they are. added_characters: how many it has beyond those of the
    original. example: the text around the first difference, (original, decoded); None when nothing is lost.
    has_decoder: whether the tokenizer says how its tokens are joined.
    """

    documents: int
    lost_documents: int
    characters: int
    lost_characters: int
    added_characters: int
    example: tuple[str, str] | None
    has_decoder: bool = True

    @property
    def note(self) -> str | None:
        """What is lost, as a sentence without its subject, the tokenizer; None if nothing is."""
        if self.example is None:
            return None
        before, after = self.example
        lost, added = f"loses {self.lost_characters:,} of", f"adds {self.added_characters:,} to"
        changes = [lost] if self.lost_characters else []
        changes += [added] if self.added_characters else []
        reason = "" if self.has_decoder else "; it has no decoder, so its tokens are joined with spaces"
        return (
            f"{' and '.join(changes) or 'changes the order of'} {self.characters:,} characters, "
            f"in {self.lost_documents:,} of {self.documents:,} documents: "
            f"{before!r} comes back as {after!r}{reason}."
        )


def measure_round_trip(tokenizer: Tokenizer, stream: Iterable[str | Separator]) -> RoundTrip:
    """Encode and decode a text stream in chunks and compare.

    Raises TokenizerError for a text that cannot be encoded.
    """
    documents = lost_documents = characters = lost = added = 0
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
        before, after = Counter(item), Counter(decoded)
        lost += (before - after).total()
        added += (after - before).total()
        example = example or _first_difference(item, decoded)
    return RoundTrip(documents, lost_documents, characters, lost, added, example, tokenizer.has_decoder)


def _first_difference(text: str, decoded: str) -> tuple[str, str]:
    pairs = enumerate(zip(text, decoded, strict=False))
    start = next((i for i, (one, other) in pairs if one != other), min(len(text), len(decoded)))
    around = slice(max(0, start - 10), start + 20)
    return text[around], decoded[around]
