"""No text holds half a character, whatever is drawn and wherever it ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.generation.generator import Generator
from textgen.generation.whole_characters import character_rules, pending_bytes
from textgen.run import Run
from textgen.settings.config import SampleConfig
from textgen.text.model_vocab import ModelVocab
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
@pytest.mark.parametrize("new_text", [False, True], ids=["fresh", "fine-tuned"])
def test_no_sample_holds_a_broken_character(make_run, kind: str, script: str, new_text: bool) -> None:
    """The network is untrained: without the rule most samples of bytes would be broken."""
    text = SCRIPTS[script]
    run: Run = make_run(text=text, kind=kind, end_of_text=True)
    generator = Generator.from_run(run)
    if new_text:  # tokens of a text that the tokenizer was not made for: characters as their bytes
        other = "".join(SCRIPTS.values())
        vocab = ModelVocab.from_counts(
            np.bincount(run.tokenizer.encode(other), minlength=run.tokenizer.vocab_size)
        )
        rules = character_rules(run.tokenizer, vocab)
        assert rules is not None
        for pending in (b"", b"\xc3", b"\xe0\xb8"):
            for model_id in np.flatnonzero(rules.mask(pending)):
                (pending + rules.token_bytes[model_id]).decode(errors="strict") if not pending_bytes(
                    pending + rules.token_bytes[model_id]
                ) else None
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
