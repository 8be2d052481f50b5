"""No text holds half a character, whatever is drawn and wherever it ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.request import Request
from textgen.generation.sampling import log_probabilities
from textgen.generation.whole_characters import CharacterRules, character_rules, pending_bytes
from textgen.run import Run
from textgen.settings.config import SampleConfig
from textgen.text.model_vocab import ModelVocab, begin, start_id
from textgen.text.tokenizer import Tokenizer

SCRIPTS = {
    "Thai": "สวัสดีครับ ยินดีต้อนรับ\n" * 4,
    "Devanagari": "नमस्ते दुनिया कैसे हो\n" * 4,
    "Hangul jamo": "안녕\n" * 8,
    "emoji with joiners": "👩‍👩‍👧 ok 🏳️‍🌈 é\n" * 4,
    "combining marks": "é à ñ o\u0308\n" * 6,
    "Latin": "Zoë naïve café\n" * 6,
}
KINDS = ("char", "byte", "bpe", "word")


@given(st.text(max_size=6), st.integers(0, 3))
def test_pending_bytes_are_those_of_the_character_that_is_cut(text: str, cut: int) -> None:
    whole = text.encode()
    part = whole[: len(whole) - cut] if cut else whole
    complete = part[: len(part) - len(pending_bytes(part))]
    assert complete.decode() == part.decode(errors="ignore")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_no_sample_holds_a_broken_character(make_run, kind: str, script: str) -> None:
    """The network is untrained: without the rule most samples of bytes would be broken."""
    text = SCRIPTS[script]
    generator = Generator.from_run(make_run(text=text, kind=kind, end_of_text=True))
    for config in (
        SampleConfig(max_new_tokens=25, temperature=5),
        SampleConfig(max_new_tokens=25, temperature=1, top_k=1),
        SampleConfig(max_new_tokens=7, temperature=2, top_p=0.2, repetition_penalty=1.5),
    ):
        for sample in generator.generate(text[:1], num_samples=12, seed=1, config=config):
            assert "\ufffd" not in sample.text
            assert sample.finish_reason in ("length", "end-of-text")


def test_where_no_token_is_part_of_a_character_nothing_is_asked(make_run) -> None:
    run = make_run(text="plain text\n" * 9, kind="bpe")
    generator = Generator.from_run(run)
    assert character_rules(run.tokenizer, generator.vocab) is None
    byte = Tokenizer.train("byte", ["é"])
    assert character_rules(byte, ModelVocab.from_counts(np.ones(byte.vocab_size, np.int64))) is not None


def test_a_text_that_breaks_no_character_is_the_same_without_the_rule(make_run, monkeypatch) -> None:
    generator = Generator.from_run(make_run(text="aé\n" * 30, kind="byte"))
    config = SampleConfig(max_new_tokens=30, temperature=1)
    ruled = generator.generate(num_samples=40, seed=1, config=config)
    monkeypatch.setattr("textgen.generation.loop.character_rules", lambda *_: None)
    free = generator.generate(num_samples=40, seed=1, config=config)
    whole = [index for index, sample in enumerate(free) if "\ufffd" not in sample.text]
    broken = len(free) - len(whole)
    assert broken > 5
    same = [index for index in whole if free[index].token_ids == ruled[index].token_ids]
    assert len(same) == len(whole)


@pytest.mark.parametrize("lead", [0xC3, 0xE0, 0xED, 0xF0, 0xF4])
def test_a_prompt_that_ends_within_a_character_is_completed(lead: int) -> None:
    tokenizer = Tokenizer.train("byte", ["é"])
    rules = character_rules(tokenizer, ModelVocab.from_counts(np.ones(tokenizer.vocab_size, np.int64)))
    assert rules is not None
    allowed = np.flatnonzero(rules.mask(bytes([lead])))
    for byte in allowed.tolist():
        text = bytes([lead, byte])
        assert pending_bytes(text) == text or text.decode()
    assert 64 >= len(allowed) >= 16


def test_after_the_bytes_of_any_character_exactly_the_next_ones_may_follow() -> None:
    tokenizer = Tokenizer.train("byte", ["é"])
    rules = character_rules(tokenizer, ModelVocab.from_counts(np.ones(tokenizer.vocab_size, np.int64)))
    assert rules is not None
    # Every character, but of those with the same first three of four bytes only one.
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 64)]
    following: dict[bytes, set[int]] = {}
    for utf8 in (chr(code).encode() for code in codes):
        for length in range(len(utf8)):
            following.setdefault(utf8[:length], set()).add(utf8[length])
    for pending, expected in following.items():
        allowed = set(np.flatnonzero(rules.mask(pending)).tolist()) - {tokenizer.end_of_text_id}
        assert allowed == (set(range(0x80, 0xC0)) if len(pending) == 3 else expected), pending


def test_tokens_that_never_complete_a_character_lead_nowhere() -> None:
    """The last one completes a character and begins the next, for ever."""
    tokens = [b"a", b"\xe0\xb8", b"\x81\xe0\xb8"]
    assert CharacterRules(tokens, None).mask(b"").tolist() == [True, False, False]
    rules = CharacterRules([*tokens, b"\x81"], None)
    assert rules.mask(b"").tolist() == [True, True, False, False]
    assert rules.mask(b"\xe0\xb8").tolist() == [False, False, True, True]


# ---- any prompt, any filter, any tokenizer, fresh and fine-tuned

FILTERS = (
    {},
    {"temperature": 0},
    {"temperature": 2},
    {"temperature": 5, "top_k": 1},
    {"temperature": 2, "top_k": 3, "repetition_penalty": 5},
    {"temperature": 2, "top_p": 0.3},
    {"temperature": 2, "min_p": 0.9},
    {"temperature": 2, "repetition_penalty": 0.5, "min_new_tokens": 8},
)
OTHER_TEXT = "Съешь ещё этих мягких 日本語のテキスト 👍🏽 ạ̈\n" * 12


def byte_level(path: Path) -> Path:
    """A tokenizer.json as GPT-2's, whose merges cut characters anywhere."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(SCRIPTS.values(), trainer)
    library.save(str(path))
    return path


@pytest.fixture(scope="session")
def generator_of(invoke, tmp_path_factory) -> Callable[[str, bool], Generator]:
    """The generator of a tiny run, trained on all scripts or then fine-tuned on others, by real commands."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "scripts.txt").write_text("".join(SCRIPTS.values()) * 4, encoding="utf-8")
    (folder / "other.txt").write_text(OTHER_TEXT, encoding="utf-8")
    size = (
        "--steps",
        2,
        "--batch-size",
        2,
        "--seq-len",
        8,
        "--device",
        "cpu",
        "--cache-dir",
        folder / "cache",
    )

    @cache
    def run(kind: str, is_tuned: bool) -> Path:
        path = folder / f"{kind}-{is_tuned}"
        if is_tuned:
            source = run(kind, False)
            invoke("train", folder / "other.txt", "--from", source, "--run", path, *size)
        else:
            name = byte_level(folder / "tokenizer.json") if kind == "tokenizer.json" else kind
            network = ("--tokenizer", name, "--hidden-size", 8, "--num-layers", 1, "--cell", "gru")
            invoke("train", folder / "scripts.txt", *network, "--run", path, *size)
        return path

    return cache(lambda kind, is_tuned: Generator.from_run(Run(run(kind, is_tuned))))


@st.composite
def prompts(draw: st.DrawFn) -> str:
    """A piece of any text, which may begin or end between a letter and its marks or joiners; or anything."""
    text = draw(st.sampled_from([*SCRIPTS.values(), OTHER_TEXT]))
    first = draw(st.integers(0, len(text) // 4))
    piece = text[first : first + draw(st.integers(0, 12))]
    return draw(st.one_of(st.just(piece), st.text(st.characters(exclude_characters="\ufffd"), max_size=4)))


@pytest.mark.parametrize("is_tuned", [False, True], ids=["fresh", "fine-tuned"])
@pytest.mark.parametrize("kind", [*KINDS, "tokenizer.json"])
@settings(max_examples=40)
@given(prompt=prompts(), filters=st.sampled_from(FILTERS), seed=st.integers(0, 99), heal=st.booleans())
def test_prompt_and_text_are_whole_and_what_their_tokens_say(
    generator_of, kind: str, is_tuned: bool, prompt: str, filters: dict[str, float], seed: int, heal: bool
) -> None:
    generator = generator_of(kind, is_tuned)
    tokenizer, vocab, engine = generator.tokenizer, generator.vocab, generator.engine
    config = SampleConfig(max_new_tokens=9, heal=heal, **filters)  # type: ignore[arg-type]
    (sample,) = generator.generate(prompt, seed=seed, config=config)
    assert "\ufffd" not in sample.text
    assert sample.finish_reason in ("length", "end-of-text")
    assert "".join(generator.stream(prompt, seed=seed, config=config)) == sample.text
    # The tokens that were read and drawn spell the prompt and the text; a character may be cut at the end.
    read = GenerationLoop(engine, tokenizer).prompt_of(Request(prompt=prompt, config=config))
    drawn = [token_id for token_id in sample.token_ids if token_id != tokenizer.end_of_text_id]
    assert sample.prompt == prompt
    assert prompt + sample.text == tokenizer.decode([*read.token_ids.tolist(), *drawn]).rstrip("\ufffd")
    # The log-probabilities are the model's own.
    before = begin(read.model_ids, start_id(vocab, tokenizer))
    engine.reset_state(1)
    model_ids = vocab.to_model_ids(np.array(sample.token_ids))
    scores = log_probabilities(engine.read(np.concatenate([before, model_ids])[None])[0])
    expected = scores[np.arange(len(before) - 1, len(before) + len(model_ids) - 1), model_ids]
    np.testing.assert_allclose(sample.log_probabilities, expected, atol=1e-4)
