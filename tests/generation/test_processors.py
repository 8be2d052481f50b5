"""No copy goes further than the limit; a text that stays within it does not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import ConfigError
from textgen.generation.generator import Generator
from textgen.generation.processors import CopyChecker, CopyLimit
from textgen.settings.config import DataConfig, SampleConfig
from textgen.text import copies as copies_module
from textgen.text.copies import Copies
from textgen.text.corpus import Corpus
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

TEXT = (
    "The quick brown fox née 🙂 jumps over the lazy dog.\nWhy? 日本語 is not known; it was 42 years old!\n"
    * 3
)


def index(text: str, folder: Path) -> Copies:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_bytes(text.encode())
    copies_module._build(folder, Corpus.whole(DataConfig(corpus=("-",)), str(folder / "a.txt")), None)
    return Copies(folder)


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return index(TEXT, tmp_path / "index")


class ParrotEngine:
    """An Engine that most likely writes the training text, over and over."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        ids = tokenizer.encode(text)
        self.vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
        self._script = self.vocab.to_model_ids(ids)
        self.state = (np.zeros((1, 1, 1), np.float32),)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        self.reset_state(len(prompt_ids))
        return self.read(prompt_ids)[:, -1]

    def reset_state(self, batch_size: int) -> None:
        self.state = (np.zeros((1, batch_size, 1), np.float32),)

    def read(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([self.step(column) for column in ids.T], axis=1)

    def advance(self, ids: np.ndarray) -> np.ndarray:
        return self.read(ids)[:, -1]

    def select(self, places: Sequence[int]) -> None:
        self.state = (self.state[0][:, places],)

    def join(self, other: ParrotEngine) -> None:
        self.state = (np.concatenate([self.state[0], other.state[0]], axis=1),)

    def step(self, ids: np.ndarray) -> np.ndarray:
        self.state = (self.state[0] + 1,)
        return self._logits()

    def _logits(self) -> np.ndarray:
        place = int(self.state[0][0, 0, 0])
        logits = np.random.default_rng(place).normal(size=self.vocab.size)
        logits[self._script[place % len(self._script)]] = 10
        return np.tile(logits.astype(np.float32), (self.state[0].shape[1], 1))


def parrot(kind: str) -> Generator:
    tokenizer = Tokenizer.train(kind, [TEXT])
    return Generator(ParrotEngine(tokenizer, TEXT), tokenizer)


def longest_new_copy(prompt: str, new: str, trained_on: str) -> int:
    """The slow definition: the longest segment that ends in new text and stands in the training text."""
    text = prompt + new
    return max(
        (
            next(end - begin for begin in range(end + 1) if text[begin:end] in trained_on)
            for end in range(len(prompt) + 1, len(text) + 1)
        ),
        default=0,
    )


SETTINGS = [
    {},
    {"temperature": 0},
    {"top_k": 1},
    {"top_p": 0.5, "temperature": 1.5},
    {"min_p": 0.5, "repetition_penalty": 1.2},
]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize(("prompt", "longest"), [("", 7), ("The quick", 5), ("", 30)])
def test_no_segment_that_ends_in_new_text_is_copied_beyond_the_limit(
    copies: Copies, kind: str, setting: dict[str, float], prompt: str, longest: int
) -> None:
    generator = parrot(kind)
    config = SampleConfig(max_new_tokens=50, **setting)  # type: ignore[arg-type]
    drawing = {"seed": 1, "config": config, "processors": [CopyLimit(copies, longest)]}
    samples = generator.generate(prompt, num_samples=3, **drawing)
    for sample in samples:
        assert longest_new_copy(prompt, sample.text, TEXT) <= longest
    assert "".join(generator.stream(prompt, **drawing)) == samples[0].text
    assert len(samples[0].tokens) == len(samples[0].log_probabilities)
    free = generator.generate(prompt, seed=1, config=config)[0].text
    if "repetition_penalty" not in setting and "top_p" not in setting:
        assert longest_new_copy(prompt, free, TEXT) > longest  # else nothing was to be kept from it


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_text_within_the_limit_is_the_same_without_it_and_one_beyond_is_not(
    copies: Copies, kind: str
) -> None:
    generator = parrot(kind)
    config = SampleConfig(max_new_tokens=60, temperature=3.0)
    for seed in range(4):
        plain = generator.generate("The ", num_samples=2, seed=seed, config=config)
        reached = max(longest_new_copy("The ", sample.text, TEXT) for sample in plain)
        limits = {n: CopyLimit(copies, n) for n in (reached - 1, reached, reached + 9)}
        found = {
            n: generator.generate("The ", num_samples=2, seed=seed, config=config, processors=[limit])
            for n, limit in limits.items()
        }
        assert found[reached] == found[reached + 9] == plain
        assert found[reached - 1] != plain


def test_the_prompts_end_counts_and_at_temperature_0_the_next_most_likely_token_is_taken(
    copies: Copies,
) -> None:
    generator = parrot("char")
    config = SampleConfig(temperature=0, max_new_tokens=1)
    [free] = generator.generate("The quick", config=config, processors=[CopyLimit(copies, 10)])
    [kept] = generator.generate("The quick", config=config, processors=[CopyLimit(copies, 9)])
    assert free.text == " "
    engine = generator.engine
    logits = engine.start(generator.vocab.to_model_ids(generator.tokenizer.encode("The quick"))[None])[0]
    second = int(np.argsort(logits)[-2])
    assert kept.token_ids == (int(generator.vocab.token_ids[second]),)


class ConstantEngine(ParrotEngine):
    """An Engine for which every token has the probability that it has in the text."""

    def _logits(self) -> np.ndarray:
        return np.tile(np.log(self.vocab.frequencies).astype(np.float32), (self.state[0].shape[1], 1))


def constant(text: str) -> Generator:
    tokenizer = Tokenizer.train("char", [text])
    return Generator(ConstantEngine(tokenizer, text), tokenizer)


def test_another_token_comes_with_the_probability_that_it_has_among_those_left(tmp_path: Path) -> None:
    generator = constant("xa" + "a" * 49 + "b" * 30 + "c" * 15 + "d" * 5)
    limit = CopyLimit(index("xa, xa", tmp_path), 1)
    config = SampleConfig(temperature=1, max_new_tokens=1)
    samples = generator.generate("x", num_samples=4000, seed=1, config=config, processors=[limit])
    shares = Counter(sample.text for sample in samples)
    assert shares["a"] == 0
    for letter, share in {"b": 30 / 51, "c": 15 / 51, "d": 5 / 51}.items():
        assert shares[letter] / 4000 == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_where_nothing_is_left_the_text_ends_and_says_so(tmp_path: Path) -> None:
    generator = constant("a" * 10)
    limit = CopyLimit(index("a" * 10, tmp_path), 3)
    for sample in generator.generate(num_samples=2, seed=1, processors=[limit]):
        assert (sample.text, sample.finish_reason) == ("aaa", "copy")
        assert len(sample.token_ids) == len(sample.log_probabilities) == 3
    assert list(generator.stream(processors=[limit])) == ["a", "a", "a"]
    assert "".join(generator.stream(stop=["aaaa"], processors=[limit])) == "aaa"  # held back, then let out


def test_texts_of_a_batch_end_each_for_its_own_reason_and_are_those_drawn_alone(tmp_path: Path) -> None:
    generator = constant("ab" * 5)
    limit = CopyLimit(index("aaaaabaab", tmp_path), 2)  # after aa comes neither
    config = SampleConfig(temperature=1, max_new_tokens=6)
    samples = generator.generate(num_samples=8, seed=1, config=config, processors=[limit])
    assert {sample.finish_reason for sample in samples} == {"copy", "length"}
    for sample in samples:
        assert (sample.finish_reason == "copy") == sample.text.endswith("aa")
        assert (sample.finish_reason == "length") == (len(sample.text) == 6)
    assert "".join(generator.stream(seed=1, config=config, processors=[limit])) == samples[0].text


@settings(max_examples=60)
@given(
    trained_on=st.text("aab", min_size=2, max_size=40),
    prompt=st.text("aab", max_size=12),
    pieces=st.lists(st.text("aab", max_size=4), max_size=12),
    longest=st.integers(1, 6),
)
def test_a_checker_allows_what_holds_no_copy_too_long(tmp_path_factory, trained_on, prompt, pieces, longest):
    limit = CopyLimit(index(trained_on, tmp_path_factory.mktemp("checker")), longest)
    checker = CopyChecker(limit, prompt)
    text = prompt
    for piece in pieces:
        expected = longest_new_copy(text, piece, trained_on) <= longest if piece else True
        assert checker.allows(piece) == expected
        if expected:
            checker.append(piece)
            text += piece


def test_most_characters_need_no_look_up(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    contains = Copies.contains
    monkeypatch.setattr(Copies, "contains", lambda self, s: looked_up.append(s) or contains(self, s))
    checker = CopyChecker(CopyLimit(copies, 40), "")
    new = "".join(a + b for a, b in pairwise("none of this stands there " * 20))
    for character in new:
        assert checker.allows(character)
        checker.append(character)
    assert len(looked_up) <= len(new) / 20


def test_a_limit_below_1_is_refused(copies: Copies) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        CopyLimit(copies, 0)
