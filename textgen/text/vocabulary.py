"""Building each kind of tokenizer and learning its vocabulary from the training part.

    char   256 bytes, characters by descending frequency, end-of-text    unknown characters: as bytes
    byte   256 bytes, end-of-text
    word   256 bytes, characters, words, end-of-text                     unknown words: as characters
    bpe    256 bytes, merges of them, end-of-text                        Sennrich et al. 2016, on bytes

All four are BPE models of the `tokenizers` library. Without merges and with byte_fallback, such a model has
one token per character; with ignore_merges as well, it first looks up the whole pre-token. End-of-text is in
the model's vocabulary but is not an added token, so no text produces it: no merge results in it, and no word
contains a `<`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers

from textgen.errors import TokenizerError
from textgen.text.chunks import chunks, cut_by_split
from textgen.text.documents import PIECE_CHARACTERS, Separator

END_OF_TEXT = "<|endoftext|>"
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

DEFAULT_VOCAB_SIZE = {"char": None, "word": 10_000, "bpe": 2_048}  # None: all characters
SMALL_BPE_VOCAB_SIZE = 1_024  # for a small text; see RECIPE.md, "bpe vocabulary"
SMALL_TEXT = 4_000_000  # characters
DEFAULT_MIN_FREQUENCY = {"char": 1, "word": 2, "bpe": 2}

# The length of a pre-token is bounded, so that a text without spaces can be cut like any other. Combining
# marks belong to their letters: without them, words of most Indic scripts would be split.
_WORDS = r"[\p{L}\p{M}\p{N}]{1,32}(?:['’][\p{L}\p{M}]{1,32})?|(?m:.)"  # m: the dot matches "\n" too
_WORDS_WITH_SPACE = (
    r"'(?:[sdmt]|re|ve|ll)| ?[\p{L}\p{M}]{1,32}| ?\p{N}{1,32}| ?[^\s\p{L}\p{M}\p{N}]{1,32}"
    r"|\s{1,32}(?!\S)|\s{1,32}"
)
LONGEST_MATCH = 66  # characters, including the one that a match looks ahead at

# Words and merges are learnt from at most this much of a text: more would change few of them.
_SAMPLE_CHARACTERS = 2**24

# Called when only a sample of the text is used, with the characters in the sample and in the text.
Sampled = Callable[[int, int], None]


def split_of(kind: str) -> pre_tokenizers.PreTokenizer:
    """The split into pre-tokens of `word` and `bpe`."""
    return pre_tokenizers.Split(Regex(_WORDS if kind == "word" else _WORDS_WITH_SPACE), "isolated")


def build(
    kind: str, vocabulary: dict[str, int], merges: list[tuple[str, str]] | None = None
) -> tokenizers.Tokenizer:
    """Build a tokenizer of this kind. The vocabulary maps tokens to ids and includes END_OF_TEXT."""
    if kind == "bpe":
        library = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges or []))
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        library.pre_tokenizer = pre_tokenizers.Sequence([split_of(kind), to_bytes])
        library.decoder = decoders.ByteLevel()
    else:
        model = models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, ignore_merges=kind == "word")
        library = tokenizers.Tokenizer(model)
        if kind == "word":
            library.pre_tokenizer = split_of(kind)
        library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    library.post_processor = end_of_text_record(END_OF_TEXT, vocabulary[END_OF_TEXT])
    return library


def end_of_text_record(end_of_text: str, token_id: int) -> processors.TemplateProcessing:
    """A post-processor that changes nothing; it records in the file which token is end-of-text."""
    return processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[(end_of_text, token_id)]
    )


def recorded_end_of_text(data: dict[str, Any]) -> str | None:
    """The token that `end_of_text_record` left in a tokenizer's JSON; None if textgen did not write it."""
    processor = data["post_processor"] or {}
    names = list(processor.get("special_tokens", ()))
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    is_ours = (processor.get("single"), processor.get("pair")) == ([first], [first, second])
    # textgen keeps it in the model's vocabulary; as an added token, a text could produce it.
    added = {token["content"] for token in data["added_tokens"]}
    return names[0] if is_ours and len(names) == 1 and names[0] not in added else None


def kind_of(data: dict[str, Any]) -> str:
    """`char`, `byte`, `bpe` or `word` if the tokenizer of this JSON was built by `build`, else `external`."""
    vocabulary = data["model"]["vocab"]
    if END_OF_TEXT not in vocabulary:
        return "external"
    for kind in ("char", "word", "bpe"):
        if _structure(data) != _structure(json.loads(build(kind, {END_OF_TEXT: 0}).to_str())):
            continue
        if kind == "bpe":
            return kind
        if not data["model"]["merges"] and all(
            vocabulary.get(token) == i for i, token in enumerate(BYTE_TOKENS)
        ):
            return "byte" if len(vocabulary) == len(BYTE_TOKENS) + 1 else kind
    return "external"


def _structure(data: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's JSON without what was learnt and without the record of end-of-text."""
    model = {name: value for name, value in data["model"].items() if name not in ("vocab", "merges")}
    return {**data, "model": model, "post_processor": None}


def bpe_vocab_size(characters: int) -> int:
    """The default number of bpe tokens for a training text of this many characters."""
    size = DEFAULT_VOCAB_SIZE["bpe"]
    assert size is not None
    return SMALL_BPE_VOCAB_SIZE if characters < SMALL_TEXT else size


def learn(
    kind: str,
    stream: Iterable[str | Separator],
    vocab_size: int | None,
    min_frequency: int | None,
    sampled: Sampled | None = None,
) -> tokenizers.Tokenizer:
    """Learn the vocabulary of a tokenizer; the arguments are those of Tokenizer.train.

    Raises TokenizerError for an impossible size.
    """
    if kind == "byte":
        if vocab_size is not None or min_frequency is not None:
            raise TokenizerError("a byte tokenizer learns nothing: leave vocab_size and min_frequency out")
        return build(kind, _numbered(BYTE_TOKENS))
    frequency = DEFAULT_MIN_FREQUENCY[kind] if min_frequency is None else min_frequency
    size = DEFAULT_VOCAB_SIZE[kind] if vocab_size is None else vocab_size
    if kind == "bpe":
        assert size is not None  # bpe has a default
        return _learn_bpe(stream, size, frequency, sampled)
    counts = np.zeros(0x110000, np.int64)  # by code point
    if kind == "char":
        for _ in _counting(stream, counts):
            pass
        return build(kind, _numbered([*BYTE_TOKENS, *_characters(counts, frequency)[:size]]))
    words = _count_words(_counting(stream, counts), sampled)
    ordered = sorted((-count, word) for word, count in words.items() if count >= frequency and len(word) > 1)
    learnt = [word for _, word in ordered[:size]]
    return build(kind, _numbered([*BYTE_TOKENS, *_characters(counts, 1), *learnt]))


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    """Assign ids in the order given, end-of-text last."""
    return {token: token_id for token_id, token in enumerate([*tokens, END_OF_TEXT])}


def _counting(stream: Iterable[str | Separator], counts: np.ndarray) -> Iterator[str | Separator]:
    """Pass on a text stream and add its characters to counts, by code point."""
    gathered: list[str] = []
    num_gathered = 0
    for item in stream:
        yield item
        if not isinstance(item, Separator):
            gathered.append(item)
            num_gathered += len(item)
        if num_gathered >= PIECE_CHARACTERS:
            _count("".join(gathered), counts)
            gathered, num_gathered = [], 0
    _count("".join(gathered), counts)


def _count(text: str, counts: np.ndarray) -> None:
    seen = np.bincount(np.frombuffer(text.encode("utf-32-le"), np.uint32))
    counts[: len(seen)] += seen


def _characters(counts: np.ndarray, min_frequency: int) -> list[str]:
    """The characters that occur at least min_frequency times, by descending frequency, then code point."""
    codes = np.flatnonzero(counts >= min_frequency)
    return [chr(code) for code in codes[np.argsort(-counts[codes], kind="stable")]]


def _sample(
    stream: Iterable[str | Separator], split: pre_tokenizers.PreTokenizer, sampled: Sampled | None
) -> list[str]:
    """The chunks of a text; for a long text every 2nd, 4th, 8th, ... of them, evenly spaced.

    The number of distinct words grows with the text (Heaps 1978), and so would the memory to count them.
    """
    sample: list[str] = []
    taken = total = 0
    stride = 1
    texts = (item for item in chunks(stream, cut_by_split(split, LONGEST_MATCH)) if isinstance(item, str))
    for index, text in enumerate(texts):
        total += len(text)
        if index % stride:
            continue
        sample.append(text)
        taken += len(text)
        if taken > _SAMPLE_CHARACTERS:
            sample, stride = sample[::2], 2 * stride
            taken = sum(map(len, sample))
    if sampled is not None and taken < total:
        sampled(taken, total)
    return sample


def _count_words(stream: Iterable[str | Separator], sampled: Sampled | None) -> Counter[str]:
    split = split_of("word")
    words: Counter[str] = Counter()
    for text in _sample(stream, split, sampled):
        words.update(word for word, _ in split.pre_tokenize_str(text))
    return words


def _learn_bpe(
    stream: Iterable[str | Separator], vocab_size: int, min_frequency: int, sampled: Sampled | None
) -> tokenizers.Tokenizer:
    if vocab_size < len(BYTE_TOKENS):
        raise TokenizerError(
            f"vocab_size={vocab_size}: bpe needs at least {len(BYTE_TOKENS)}, one for each byte"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner = build("bpe", {END_OF_TEXT: 0})
    learner.train_from_iterator(_sample(stream, split_of("bpe"), sampled), trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return build("bpe", _numbered(tokens), [tuple(pair) for pair in model["merges"]])
