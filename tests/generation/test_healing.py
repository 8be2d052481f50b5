"""A prompt that ends within a word goes on as the word would, and loses or doubles no character."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from textgen.generation.generator import Generator
from textgen.generation.healing import TokenHealing, healed, log_shares, spellings_of
from textgen.generation.loop import GenerationLoop
from textgen.generation.processors import CopyLimit, LogitsProcessor
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import Sample
from textgen.generation.sampling import log_probabilities
from textgen.generation.torch_engine import TorchEngine
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import DataConfig, ModelConfig, SampleConfig
from textgen.text import copies as copies_module
from textgen.text.copies import Copies
from textgen.text.corpus import Corpus
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

COMMON = (
    "the world said hello, the worker said hell; once upon a time a tired tiger went to work.\n"
    "a word, the words, wordless and woolly: café, cafés, naïve. ไม่ไป ไม่มา ไม่รู้ <end>\n"
)
RARE = "thigh tinge hew wed heft ogre wren lithe tight hog wilt get toil hid two how togs ewe rig lag\n"
TEXT = COMMON * 6 + RARE  # a tokenizer of words spells the rare ones; bpe has small pieces of them
KINDS = ("bpe", "word", "gpt2", "wordpiece", "metaspace")
DEFAULT = SampleConfig(max_new_tokens=6)


def bpe_of_another_tool(decoder: str) -> tokenizers.Tokenizer:
    """Byte-level as GPT-2, or with spaces written as SentencePiece does."""
    library = tokenizers.Tokenizer(models.BPE(unk_token=None if decoder == "gpt2" else "?"))
    alphabet = []
    if decoder == "gpt2":
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        library.pre_tokenizer = pre_tokenizers.Metaspace()
        library.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 120, initial_alphabet=alphabet, show_progress=False, special_tokens=["?"]
    )
    library.train_from_iterator([TEXT], trainer)
    return library


def word_piece() -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=110, show_progress=False, special_tokens=["[UNK]"])
    library.train_from_iterator([TEXT], trainer)
    return library


@pytest.fixture(scope="session")
def tokenizer_of(tmp_path_factory) -> Callable[[str], Tokenizer]:
    made: dict[str, Tokenizer] = {}

    def make(kind: str) -> Tokenizer:
        if kind in made:
            return made[kind]
        if kind in ("gpt2", "metaspace", "wordpiece"):
            path = tmp_path_factory.mktemp(kind) / "tokenizer.json"
            (word_piece() if kind == "wordpiece" else bpe_of_another_tool(kind)).save(str(path))
            made[kind] = Tokenizer.from_file(path)
        else:
            made[kind] = Tokenizer.train(kind, [TEXT])
        return made[kind]

    return make


def network(tokenizer: Tokenizer, text: str = TEXT, seed: int = 0) -> LanguageModel:
    """Untrained, so that every token is about as likely as any other."""
    import torch

    ids = np.append(tokenizer.encode(text), tokenizer.end_of_text_id).astype(np.int64)
    vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
    torch.manual_seed(seed)
    config = ModelConfig(model_vocab_size=vocab.size, cell="gru", embedding_dim=8, hidden_size=12)
    return LanguageModel(config, vocab)


@pytest.fixture(scope="session")
def generator_of(tokenizer_of) -> Callable[[str], Generator]:
    made: dict[str, Generator] = {}

    def make(kind: str) -> Generator:
        if kind not in made:
            tokenizer = tokenizer_of(kind)
            made[kind] = Generator(network(tokenizer), tokenizer)
        return made[kind]

    return make


def prompt_of(generator: Generator, text: str, **settings: object) -> Prompt:
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    return loop.prompt_of(Request(prompt=text, **settings))  # type: ignore[arg-type]


def given_back(generator: Generator, text: str, **settings: object) -> list[str]:
    return [generator.tokenizer.token_text(i) for i in prompt_of(generator, text, **settings).given_back]


def texts_agree(generator: Generator, prompt: str, sample: Sample) -> bool:
    """Whether the tokens that were read and drawn make the prompt's text and the new one, nothing twice."""
    kept = prompt_of(generator, prompt).token_ids.tolist()
    drawn = [i for i in sample.token_ids if i != generator.tokenizer.end_of_text_id]
    whole = generator.tokenizer.decode(generator.tokenizer.encode(prompt).tolist())
    return whole + sample.text == generator.tokenizer.decode(kept + drawn).rstrip("\ufffd")


# ---- what is given back


@pytest.mark.parametrize("kind", KINDS)
@given(place=st.integers(1, len(TEXT)))
def test_as_many_tokens_are_given_back_as_one_longer_token_could_begin_with(generator_of, kind, place):
    generator = generator_of(kind)
    spellings = spellings_of(generator.tokenizer, generator.vocab)
    ids = generator.tokenizer.encode(TEXT[:place]).tolist()
    texts = [spellings.of(token_id) for token_id in ids]
    longest = max(map(len, spellings.by_model_id))
    counts = [
        number
        for number in range(1, min(longest, len(ids)) + 1)
        if all(texts[-number:])
        and any(
            token.startswith(text := b"".join(texts[-number:])) and len(token) > len(text)
            for token in spellings.by_model_id
        )
    ]
    assert spellings.num_given_back(ids) == max(counts, default=0)


def test_the_spellings_of_a_text_are_its_bytes(generator_of):
    for kind in ("bpe", "word", "gpt2"):
        generator = generator_of(kind)
        spellings = spellings_of(generator.tokenizer, generator.vocab)
        assert b"".join(map(spellings.of, generator.tokenizer.encode(TEXT).tolist())) == TEXT.encode()


@pytest.mark.parametrize("kind", ["metaspace", "wordpiece"])
def test_tokens_that_write_a_space_only_after_others_are_spelled_with_it(generator_of, kind):
    generator = generator_of(kind)
    spellings = spellings_of(generator.tokenizer, generator.vocab)
    assert {b" word", b" word,"} & set(spellings.by_model_id)
    assert b"".join(map(spellings.of, generator.tokenizer.encode("the word").tolist())) == b" the word"


def test_a_word_is_given_back_where_it_could_be_longer_and_else_nothing(generator_of):
    bpe, word = generator_of("bpe"), generator_of("word")
    assert "".join(given_back(bpe, "the wor")) == " wor"
    assert given_back(word, "once upon a ti") == ["t", "i"]
    assert given_back(word, "the word") == ["word"]  # "words"
    assert given_back(word, "the words") == given_back(word, "the world,") == []
    assert given_back(bpe, "") == given_back(bpe, "the wordless zz") == []


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_characters_and_bytes_give_back_nothing(generator_of, kind):
    generator = generator_of(kind)
    for prompt in ("the wor", "caf", "é", "ไ", "ж", "<"):
        assert given_back(generator, prompt) == []


def test_the_start_token_is_not_given_back():
    text = "\n\n\nab\n\nabc\n\nabd\n" * 20
    tokenizer = Tokenizer.train("bpe", [text])
    vocab = ModelVocab.from_counts(np.bincount(tokenizer.encode(text), minlength=tokenizer.vocab_size))
    newline = Prompt.from_text("\n", tokenizer, vocab)
    (start,) = newline.model_ids.tolist()
    assert healed(newline, None).given_back == tuple(newline.token_ids)
    assert healed(newline, start) is newline


@pytest.mark.parametrize(
    "request_",
    [
        {"config": SampleConfig(heal=False)},
        {"prompt_log_probabilities": True},
        {"state": (np.zeros((1, 1, 12), np.float32),)},
    ],
    ids=["off", "scored", "continued"],
)
def test_a_prompt_of_which_something_is_asked_is_read_as_it_is(generator_of, request_):
    generator = generator_of("bpe")
    assert given_back(generator, "the wor")
    assert given_back(generator, "the wor", **request_) == []


def test_token_ids_and_prompts_are_read_as_they_are(generator_of):
    generator = generator_of("bpe")
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    plain = Prompt.from_text("the wor", generator.tokenizer, generator.vocab)
    assert loop.prompt_of(Request(prompt=plain)) is plain
    assert loop.prompt_of(Request(prompt=plain.token_ids.tolist())).given_back == ()


# ---- what is drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "setting",
    [{}, {"temperature": 0}, {"temperature": 3}, {"top_k": 1}, {"top_p": 0.3, "repetition_penalty": 5}],
    ids=str,
)
def test_no_character_is_lost_or_doubled(generator_of, kind, setting):
    generator = generator_of(kind)
    config = SampleConfig(max_new_tokens=4, **setting)
    for place in range(1, 110, 3):
        prompt = TEXT[90 : 90 + place]
        for sample in generator.generate(prompt, num_samples=2, seed=place, config=config):
            assert sample.prompt == prompt
            assert texts_agree(generator, prompt, sample)


@pytest.mark.parametrize("kind", ["bpe", "gpt2"])
@pytest.mark.parametrize("prompt", ["the wo", "a tig", "a w"])
def test_the_first_token_begins_with_a_single_token_that_was_given_back(generator_of, kind, prompt):
    generator = generator_of(kind)
    (text,) = given_back(generator, prompt)
    drawn = {s.tokens[0] for s in generator.generate(prompt, num_samples=300, seed=1, config=DEFAULT)}
    tokens = [generator.tokenizer.token_text(token_id) for token_id in generator.vocab.token_ids.tolist()]
    assert len(drawn) > 1
    assert drawn == {token for token in tokens if token.startswith(text)}


@pytest.mark.parametrize(("kind", "prompt"), [("bpe", "a tire"), ("word", "once upon a ti"), ("word", "hel")])
def test_each_way_to_write_the_text_is_as_likely_as_the_network_says(generator_of, kind, prompt):
    """Enumerated: tokens of the prompt as far as one likes, then one that writes all the rest, or more."""
    generator = generator_of(kind)
    found = prompt_of(generator, prompt)
    spellings = spellings_of(generator.tokenizer, generator.vocab)
    K = len(found.given_back)
    assert K > 1
    ids = found.given_back_model_ids.tolist()

    def logits_after(*drawn: int) -> np.ndarray:
        start = generator.vocab.to_model_ids(np.array([generator.tokenizer.end_of_text_id]))
        read = np.concatenate([start, found.model_ids, np.array(drawn, np.int64)])
        return generator.engine.start(read[None])

    rest = [b"".join(map(spellings.of, found.given_back[place:])) for place in range(K)]
    ways: dict[tuple[int, ...], float] = {}
    for place in range(K):
        before = sum(log_probabilities(logits_after(*ids[:n]))[0, ids[n]] for n in range(place))
        scores = log_probabilities(logits_after(*ids[:place]))[0]
        for model_id, text in enumerate(spellings.by_model_id):
            if text.startswith(rest[place]):
                ways[(*ids[:place], model_id)] = math.exp(before + scores[model_id])
    assert K in map(len, ways)
    assert 1 in map(len, ways)
    logits_after()
    shares = log_shares(generator.engine, found)
    for way, weight in ways.items():
        healing = TokenHealing(found)
        healing.log_shares = shares
        chance = 0.0
        for number, model_id in enumerate(way):
            chance += log_probabilities(healing.process(logits_after(*way[:number])))[0, model_id]
            healing.accept(model_id)
        assert healing.is_done
        assert math.exp(chance) == pytest.approx(weight / sum(ways.values()), rel=1e-4)


def test_the_loop_weighs_the_ways(generator_of, monkeypatch):
    generator = generator_of("word")
    settings = {"num_samples": 300, "seed": 1, "config": DEFAULT}
    weighed = generator.generate("once upon a tig", **settings)
    monkeypatch.setattr(
        "textgen.generation.prompt_reading.log_shares", lambda _, prompt: np.zeros(len(prompt.given_back))
    )
    stepwise = generator.generate("once upon a tig", **settings)
    spelled = [sum(s.tokens[0] == "t" for s in samples) for samples in (weighed, stepwise)]
    assert spelled[0] < 50 < 100 < spelled[1]


def test_end_of_text_is_not_drawn_for_its_name(generator_of):
    tokenizer = generator_of("word").tokenizer
    assert tokenizer.end_of_text.startswith("<")
    assert given_back(generator_of("word"), "a <") == []


@pytest.mark.parametrize("mid_text", [False, True])
@pytest.mark.parametrize(("kind", "prompt"), [("bpe", "th"), ("word", "hel")])
def test_a_prompt_that_is_given_back_whole_begins_a_text(generator_of, kind, prompt, mid_text):
    generator = generator_of(kind)
    assert len(prompt_of(generator, prompt).token_ids) == 0
    config = SampleConfig(max_new_tokens=3, temperature=1)
    settings = {"num_samples": 20, "seed": 2, "config": config, "mid_text": mid_text}
    samples = generator.generate(prompt, **settings)
    assert all(texts_agree(generator, prompt, sample) for sample in samples)
    if mid_text:  # nothing is known of what precedes it: by frequency in training
        frequencies = generator.vocab.frequencies
    else:
        start = generator.vocab.to_model_ids(np.array([[generator.tokenizer.end_of_text_id]]))
        frequencies = np.exp(log_probabilities(generator.engine.start(start)))[0]
    for sample in samples:
        (first, *_) = generator.vocab.to_model_ids(np.array(sample.token_ids)).tolist()
        assert sample.log_probabilities[0] == pytest.approx(math.log(frequencies[first]), abs=1e-5)


def test_an_unseen_token_is_replaced_by_one_that_training_saw():
    """ "h" alone is in the tokenizer but not in the text; "hello" is."""
    tokenizer = Tokenizer.train("word", ["hello " * 9])
    generator = Generator(network(tokenizer, "hello hello"), tokenizer)
    assert generator.count_unseen("hel") == (3, 3)
    for sample in generator.generate("hel", num_samples=9, seed=1, config=DEFAULT):
        assert sample.tokens[0] == "hello"
        assert sample.text.startswith("lo")
    assert given_back(generator, "held") == []  # nothing that training saw begins so


# ---- with everything else


@pytest.mark.parametrize("kind", ["bpe", "word", "gpt2", "metaspace"])
def test_log_probabilities_are_the_models_own(generator_of, kind):
    generator = generator_of(kind)
    config = SampleConfig(max_new_tokens=4, temperature=2, top_k=5, repetition_penalty=3)
    (sample,) = generator.generate("a tired ti", seed=1, config=config)
    kept = prompt_of(generator, "a tired ti").model_ids
    drawn = generator.vocab.to_model_ids(np.array(sample.token_ids))
    start = generator.vocab.to_model_ids(np.array([generator.tokenizer.end_of_text_id]))
    generator.engine.reset_state(1)
    scores = log_probabilities(generator.engine.read(np.concatenate([start, kept, drawn])[None])[0])
    expected = [scores[len(kept) + number, model_id] for number, model_id in enumerate(drawn)]
    assert sample.log_probabilities == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["bpe", "word", "char", "byte"])
def test_where_nothing_is_given_back_the_text_is_the_same(generator_of, kind):
    generator = generator_of(kind)
    without = SampleConfig(max_new_tokens=12, heal=False)
    compared = 0
    for place in range(0, 170, 7):
        prompt = TEXT[:place]
        if not given_back(generator, prompt):
            compared += 1
            expected = generator.generate(prompt, num_samples=2, seed=1, config=without)
            assert (
                generator.generate(prompt, num_samples=2, seed=1, config=SampleConfig(max_new_tokens=12))
                == expected
            )
    assert compared > 3


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("kind", "prompt"), [("bpe", "a tire"), ("word", "a ti")])
def test_tokens_that_only_write_the_prompt_again_are_not_counted(
    generator_of, kind, prompt, count, monkeypatch
):
    weightless = lambda _, prompt: np.zeros(len(prompt.given_back))  # noqa: E731  so that all ways are common
    monkeypatch.setattr("textgen.generation.prompt_reading.log_shares", weightless)
    generator = generator_of(kind)
    found = set()
    config = SampleConfig(max_new_tokens=count, min_new_tokens=count, temperature=1)
    for sample in generator.generate(prompt, num_samples=200, seed=3, config=config):
        assert sample.finish_reason == "length"
        num_old = len("".join(sample.tokens)) - len(sample.text)
        ends = np.cumsum(list(map(len, sample.tokens)))
        num_rewritten = int((ends <= num_old).sum())
        found.add(num_rewritten)
        assert len(sample.tokens) - num_rewritten == count
    assert {0, len(given_back(generator, prompt))} <= found


def test_so_many_new_tokens_are_drawn_before_the_end_of_the_text(generator_of):
    generator = generator_of("word")
    generator.engine.reset_state(1)
    config = SampleConfig(max_new_tokens=30, min_new_tokens=2, temperature=4)
    ended = [
        sample
        for sample in generator.generate("a tig", num_samples=400, seed=3, config=config)
        if sample.finish_reason == "end-of-text"
    ]
    assert len(ended) > 10
    for sample in ended:
        assert len(sample.text) >= 2
        assert "".join(sample.tokens).startswith("tig")


def test_stop_strings_count_in_new_text_only(generator_of):
    generator = generator_of("word")
    samples = generator.generate("the wor", num_samples=300, seed=1, config=DEFAULT, stop=["wor", "ld"])
    stopped = [sample for sample in samples if sample.tokens[-1] == "world"]
    assert stopped
    assert {(sample.text, sample.finish_reason) for sample in stopped if len(sample.tokens) == 1} == {
        ("", "stop")
    }
    assert any(len(sample.text) > 3 for sample in samples)  # "wor" itself did not stop it


def test_a_copy_counts_from_the_end_of_the_prompt(generator_of, tmp_path: Path):
    """The prompt alone is a copy that is too long; what is written again of it is no new copy."""
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "a.txt").write_bytes(TEXT.encode())
    corpus = Corpus.whole(DataConfig(corpus=("-",)), str(tmp_path / "index" / "a.txt"))
    copies_module._build(tmp_path / "index", corpus, None)
    copies = Copies(tmp_path / "index")
    for kind, prompts in {
        "bpe": ("a time a tire", "time a tig"),
        "word": ("the world said hel", "a time a ti"),
    }.items():
        generator, limit = generator_of(kind), CopyLimit(copies, 5)
        for prompt in prompts:
            for sample in generator.generate(
                prompt, num_samples=60, seed=1, config=DEFAULT, processors=[limit]
            ):
                assert sample.finish_reason != "copy"
                assert texts_agree(generator, prompt, sample)
                whole = prompt + sample.text
                for end in range(len(prompt) + 1, len(whole) + 1):
                    assert whole[max(end - 6, 0) : end] not in TEXT


def test_a_processor_sees_every_token_drawn_and_the_prompt_that_is_read(generator_of):
    generator = generator_of("word")
    made: list[Recording] = []

    class Recording(LogitsProcessor):
        def __init__(self, prompt: Prompt) -> None:
            self.prompt, self.seen = prompt, []
            made.append(self)

        def accept(self, model_id: int) -> None:
            self.seen.append(model_id)

    (sample,) = generator.generate("a tig", seed=1, config=DEFAULT, processors=[Recording])
    assert made[0].prompt.text == "a tig"
    assert generator.tokenizer.decode(made[0].prompt.token_ids.tolist()) == "a "
    assert made[0].seen == generator.vocab.to_model_ids(np.array(sample.token_ids)).tolist()


@pytest.mark.parametrize("kind", ["bpe", "word", "gpt2"])
def test_a_stream_is_the_text_of_generate(generator_of, kind):
    generator = generator_of(kind)
    for seed in range(20):
        pieces = list(generator.stream("café, caf", seed=seed, config=DEFAULT))
        (sample,) = generator.generate("café, caf", seed=seed, config=DEFAULT)
        assert "".join(pieces) == sample.text


def test_both_engines_write_the_same(tokenizer_of):
    for kind in ("bpe", "word"):
        tokenizer = tokenizer_of(kind)
        model = network(tokenizer)
        numpy, torch = Generator(model, tokenizer), Generator(TorchEngine(model), tokenizer)
        for prompt in ("a tig", "hel", "ไม", "the w"):
            for config in (DEFAULT, SampleConfig(max_new_tokens=6, temperature=0)):
                settings = {"num_samples": 5, "seed": 1, "config": config}
                texts = [[s.text for s in each.generate(prompt, **settings)] for each in (numpy, torch)]
                assert texts[0] == texts[1]


def test_prompts_in_one_batch_are_continued_as_alone(generator_of):
    generator = generator_of("word")
    prompts = ("a tig", "the wor", "the world,", "", "hel")
    requests = [Request(prompt=prompt, seed=n, config=DEFAULT) for n, prompt in enumerate(prompts)]
    requests.append(Request(prompt="a tig", seed=0, config=SampleConfig(max_new_tokens=6, heal=False)))
    together = generator.complete(requests)
    assert [s.text for s in together] == [generator.complete([each])[0].text for each in requests]
    assert together[0].text != together[-1].text


def test_once_healed_a_text_costs_what_others_cost(generator_of):
    generator = generator_of("word")
    loop = GenerationLoop(generator.engine, generator.tokenizer)
    text = loop.submit(Request(prompt="a tig", seed=1, config=SampleConfig(max_new_tokens=40, heal=True)))
    while text.healing is not None:
        loop.step()
    loop.step()
    healed_ = text.processors
    other = GenerationLoop(generator.engine, generator.tokenizer)
    plain = other.submit(Request(prompt="the world,", seed=1))
    assert bool(healed_) == bool(plain.processors)


def test_of_a_run_of_bpe_the_switch_changes_the_text(make_run):
    run: Run = make_run(text=TEXT, kind="bpe")
    generator = Generator.from_run(run)
    off, on = (
        generator.generate("the wor", seed=1, config=SampleConfig(max_new_tokens=9, heal=heal))[0].text
        for heal in (False, True)
    )
    assert off != on
