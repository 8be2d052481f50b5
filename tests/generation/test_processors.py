"""Processors of one text: the interface, the repetition penalty, and the limit on copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import ConfigError, RunError
from textgen.generation.generator import Generator
from textgen.generation.processors import CopyChecker, CopyLimit, LogitsProcessor, ProcessorList
from textgen.generation.prompt import Prompt
from textgen.generation.sampling import sample_token
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
    """The slow definition: the longest segment that ends in new text and occurs in the training text."""
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
    [free] = generator.generate("The quick", config=config, processors=[CopyLimit(copies, 10)], mid_text=True)
    [kept] = generator.generate("The quick", config=config, processors=[CopyLimit(copies, 9)], mid_text=True)
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


# ---- the interface


class Forbids(LogitsProcessor):
    """Forbids letters, in one of the three ways; counts what it is asked."""

    def __init__(self, prompt: Prompt, letters: str, way: str) -> None:
        self.allowed = np.ones(prompt.vocab.size, dtype=bool)
        ids = prompt.vocab.to_model_ids(prompt.tokenizer.encode(letters))
        self.allowed[ids[ids < prompt.vocab.size]] = False
        self.way = way
        self.num_refused = self.num_masks = 0

    def process(self, logits: np.ndarray) -> np.ndarray:
        return np.where(self.allowed, logits, -np.inf) if self.way == "process" else logits

    def allows(self, model_id: int) -> bool:
        allowed = self.way == "process" or bool(self.allowed[model_id])
        self.num_refused += not allowed
        return allowed

    def mask(self) -> np.ndarray | None:
        self.num_masks += 1
        return self.allowed if self.way == "mask" else None


@pytest.mark.parametrize("way", ["process", "allows", "mask"])
def test_whichever_way_a_token_is_forbidden_the_others_keep_their_shares(way: str) -> None:
    generator = constant("a" * 50 + "b" * 30 + "c" * 15 + "d" * 5)
    config = SampleConfig(temperature=1, max_new_tokens=4000)
    (sample,) = generator.generate(seed=1, config=config, processors=[partial(Forbids, letters="a", way=way)])
    shares = Counter(sample.text)
    assert shares["a"] == 0
    for letter, share in {"b": 30 / 50, "c": 15 / 50, "d": 5 / 50}.items():
        assert shares[letter] / 4000 == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_a_mask_is_asked_for_after_a_refusal_only_and_spares_more_of_them() -> None:
    made: list[Forbids] = []

    def make(prompt: Prompt, letters: str) -> Forbids:
        made.append(Forbids(prompt, letters, "mask"))
        return made[-1]

    generator = constant("abcd" * 20 + "efgh" * 5 + "i")
    config = SampleConfig(temperature=1, max_new_tokens=50)
    processors = [partial(make, letters=letters) for letters in ("abcd", "efgh")]
    generator.generate(seed=1, config=config, processors=processors)
    for forbids in made:
        assert 0 < forbids.num_masks == forbids.num_refused <= 50  # though each forbids four tokens
    generator.generate(seed=1, config=config, processors=[partial(make, letters="z")])
    assert made[-1].num_masks == 0


def test_processors_run_in_their_order_after_the_repetition_penalty_and_leave_their_argument() -> None:
    generator = constant("aabbc")
    found: list[tuple[str, np.ndarray, np.ndarray]] = []

    class Shifts(LogitsProcessor):
        def __init__(self, name: str) -> None:
            self.name = name

        def process(self, logits: np.ndarray) -> np.ndarray:
            found.append((self.name, logits, logits.copy()))
            return logits + 1

        def accept(self, model_id: int) -> None:
            found.append((f"{self.name} accepts {model_id}", np.zeros(1), np.zeros(1)))

    config = SampleConfig(temperature=0, max_new_tokens=1, repetition_penalty=2)
    (sample,) = generator.generate(
        "a", config=config, processors=[lambda prompt, name=name: Shifts(name) for name in ("one", "two")]
    )
    assert [name for name, *_ in found] == ["one", "two", "one accepts 1", "two accepts 1"]
    own = np.log(generator.vocab.frequencies)  # the network's logits of a, b and c
    np.testing.assert_allclose(found[0][2], [[own[0] * 2, own[1], own[2]]], rtol=1e-6)
    np.testing.assert_allclose(found[1][2], found[0][2] + 1)
    for _, argument, before in found:
        np.testing.assert_array_equal(argument, before)
    assert sample.text == "b"
    assert sample.log_probabilities == pytest.approx([own[1]])


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_a_processor_that_overrides_nothing_changes_nothing(shape: tuple[int, ...]) -> None:
    class Nothing(LogitsProcessor):
        pass

    processor, logits = Nothing(), np.arange(4.0).reshape(shape)
    np.testing.assert_array_equal(processor.process(logits), logits)
    assert processor.allows(0)
    assert processor.mask() is None
    assert processor.accept(0) is None
    generator = parrot("char")
    config = SampleConfig(max_new_tokens=50)
    plain, processed = (
        generator.generate("The", seed=1, num_samples=2, config=config, processors=processors)
        for processors in ([], [lambda prompt: Nothing()])
    )
    assert plain == processed


class EndsAtSecond(LogitsProcessor):
    """Ends a text at the second token of a kind."""

    def __init__(self, prompt: Prompt, letter: str) -> None:
        (self.model_id,) = prompt.vocab.to_model_ids(prompt.tokenizer.encode(letter))
        self.count = 0

    def accept(self, model_id: int) -> str | None:
        self.count += model_id == self.model_id
        return "second" if self.count == 2 else None


def test_a_processor_ends_its_own_text_with_the_token_that_it_accepted_last() -> None:
    generator = constant("ab" * 5)
    config = SampleConfig(temperature=1, max_new_tokens=6)
    processors = [partial(EndsAtSecond, letter="b")]
    samples = generator.generate(num_samples=20, seed=1, config=config, processors=processors)
    assert {sample.finish_reason for sample in samples} == {"second", "length"}
    assert any(sample.text.endswith("b") and len(sample.text) == 6 for sample in samples)
    for sample in samples:
        is_second = sample.text.count("b") == 2 and sample.text.endswith("b")
        assert sample.finish_reason == ("second" if is_second else "length")
        assert len(sample.token_ids) == len(sample.text)
    pieces = generator.stream(seed=1, config=config, processors=processors)
    assert "".join(pieces) == samples[0].text


def test_every_processor_accepts_every_token_and_the_first_reason_counts() -> None:
    generator = constant("abb")
    prompt = Prompt.from_text("bab", generator.tokenizer, generator.vocab)
    processors = [EndsAtSecond(prompt, "b") for _ in range(2)]
    together = ProcessorList(processors)
    assert [*map(together.accept, prompt.model_ids.tolist())] == [None, None, "second"]
    assert [processor.count for processor in processors] == [2, 2]


def test_a_stop_string_that_is_complete_at_the_same_token_comes_first() -> None:
    generator = constant("ab" * 5)
    config = SampleConfig(temperature=1, max_new_tokens=100)
    processors = [partial(EndsAtSecond, letter="b")]
    (sample,) = generator.generate(seed=1, config=config, processors=processors, stop=["b"])
    assert sample.finish_reason == "stop"


@pytest.mark.parametrize("way", ["process", "allows", "mask"])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_where_a_processor_leaves_no_token_the_text_ends_for_its_reason(way: str, num_samples: int) -> None:
    class ForbidsAll(Forbids):
        finish_reason = "all forbidden"

        def accept(self, model_id: int) -> None:
            self.allowed[:] = False

    samples = constant("ab" * 5).generate(
        "a", num_samples=num_samples, seed=1, processors=[partial(ForbidsAll, letters="b", way=way)]
    )
    for sample in samples:
        assert (sample.text, sample.finish_reason) == ("a", "all forbidden")
        assert len(sample.token_ids) == len(sample.log_probabilities) == 1


def test_damaged_weights_are_refused_also_where_there_are_processors() -> None:
    class Damaged(ParrotEngine):
        def _logits(self) -> np.ndarray:
            return np.full((self.state[0].shape[1], self.vocab.size), np.nan, np.float32)

    tokenizer = Tokenizer.train("char", [TEXT])
    generator = Generator(Damaged(tokenizer, TEXT), tokenizer)
    processors = [partial(Forbids, letters="b", way="process")]
    with pytest.raises(RunError, match="damaged"):
        generator.generate("a", processors=processors)
    with pytest.raises(RunError, match="damaged"):
        list(generator.stream("a", processors=processors))


# ---- the repetition penalty


def test_the_repetition_penalty_is_that_of_its_definition() -> None:
    generator = parrot("char")
    config = SampleConfig(temperature=0.9, repetition_penalty=1.7, max_new_tokens=80)
    samples = generator.generate("The 🙂", num_samples=3, seed=2, config=config, mid_text=True)
    prompt = generator.vocab.to_model_ids(generator.tokenizer.encode("The 🙂"))
    for sample, seed in zip(samples, np.random.SeedSequence(2).spawn(3), strict=True):
        rng, logits = np.random.default_rng(seed), generator.engine.start(prompt[None])
        occurred = {int(model_id) for model_id in prompt if model_id < generator.vocab.size}
        for token_id in sample.token_ids:
            penalized = logits.astype(np.float64)
            for model_id in occurred:
                value = penalized[0, model_id]
                penalized[0, model_id] = value / 1.7 if value > 0 else value * 1.7
            model_id = sample_token(penalized, config, rng).item()
            assert generator.vocab.token_ids[model_id] == token_id
            occurred.add(model_id)
            logits = generator.engine.step(np.array([model_id]))


# ---- the checker of copies


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
