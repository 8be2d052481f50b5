"""Prompt in, text out: with random weights, and with an engine that follows a script."""

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, zip_longest

import numpy as np
import pytest
import torch

from textgen.errors import ConfigError, RunError, TokenizerError
from textgen.evaluation.score import Scorer
from textgen.generation.generator import MOST_DRAWS, Generator
from textgen.generation.request import Request
from textgen.generation.sample import UNIFORMS_AT_ONCE
from textgen.generation.sampling import log_probabilities, sample_token
from textgen.generation.torch_engine import TorchEngine
from textgen.models.language_model import LanguageModel
from textgen.settings.config import SampleConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.token_costs import TokenCosts
from textgen.text.tokenizer import Tokenizer

GREEDY = SampleConfig(temperature=0)
SHORT = SampleConfig(temperature=1.0, max_new_tokens=40)


class ScriptedEngine:
    """An Engine whose text b can only continue with the ids of script b, whatever it reads."""

    def __init__(self, tokenizer, *scripts):
        # Token 0 is what comes after the end of a script.
        known = sorted({token_id for script in scripts for token_id in script} | {0})
        self.vocab = ModelVocab(np.array(known), np.ones(len(known), np.int64))
        self.scripts = [self.vocab.to_model_ids(np.array(script)) for script in scripts]
        self.state = (np.zeros((1, 1, 1), np.float32),)
        # What advance and step were given; copies of the engine share the lists.
        self.advanced, self.stepped = [], []

    def start(self, prompt_ids):
        self.reset_state(len(prompt_ids))
        return self.advance(prompt_ids)

    def advance(self, ids):
        self.advanced.append(ids)
        return self._logits()

    def select(self, places):
        self.state = (self.state[0][:, places],)

    def join(self, other):
        self.state = (np.concatenate([self.state[0], other.state[0]], axis=1),)

    def reset_state(self, batch_size):
        self.state = (np.zeros((1, batch_size, 1), np.float32),)

    def read(self, ids):
        return np.stack([self.step(column) for column in ids.T], axis=1)

    def step(self, ids):
        self.stepped.append(ids)
        self.state = (self.state[0] + 1,)
        return self._logits()

    def _logits(self):
        places = self.state[0][0, :, 0].astype(int)
        logits = np.full((len(places), self.vocab.size), -100.0, np.float32)
        for b, place in enumerate(places):
            script = self.scripts[b % len(self.scripts)]
            logits[b, script[place] if place < len(script) else 0] = 100.0
        return logits


@pytest.fixture(scope="module")
def byte_tokenizer():
    return Tokenizer.train("byte", ["x"])


def scripted(tokenizer, *texts, ends=False):
    """A generator that writes these texts, then end-of-text if it `ends`."""
    tail = [tokenizer.end_of_text_id] if ends else []
    return Generator(
        ScriptedEngine(tokenizer, *([*tokenizer.encode(text), *tail] for text in texts)), tokenizer
    )


def length_of(tokenizer, text):
    return SampleConfig(temperature=0, max_new_tokens=len(tokenizer.encode(text)))


# ---- streaming


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_stream_never_yields_half_a_character(kind):
    text = "née 🙂👩‍👩‍👧 日本語 שלום e\u0301"
    tokenizer = Tokenizer.train(kind, ["ascii letters only, so that all else is bytes"])
    pieces = list(scripted(tokenizer, text).stream("x", config=length_of(tokenizer, text)))
    assert "".join(pieces) == text
    assert len(pieces) > 10
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_that_the_budget_cuts_in_two_is_left_out(byte_tokenizer):
    generator = scripted(byte_tokenizer, "ab🙂")
    config = SampleConfig(temperature=0, max_new_tokens=4)  # two of the four bytes of 🙂
    assert "".join(generator.stream("x", config=config)) == "ab"
    (sample,) = generator.generate("x", config=config)
    assert sample.text == "ab"
    assert sample.token_ids == (97, 98, 0xF0, 0x9F)


def test_text_is_yielded_as_soon_as_it_is_drawn(byte_tokenizer):
    stream = scripted(byte_tokenizer, "one two").stream("x", config=GREEDY)
    assert list(islice(stream, 3)) == ["o", "n", "e"]


def test_text_that_could_become_a_stop_string_is_held_back_and_then_yielded(byte_tokenizer):
    generator = scripted(byte_tokenizer, "a END, the ENd")
    pieces = list(generator.stream("x", stop=["ENDE"], config=length_of(byte_tokenizer, "a END, the EN")))
    assert pieces == ["a", " ", "END,", " ", "t", "h", "e", " ", "EN"]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_a_stop_string_that_straddles_tokens_ends_the_text_before_it(kind):
    tokenizer = Tokenizer.train(kind, ["Q: what is it?\nA: this and that.\n\nQ: is it?\nA: it is.\n\n" * 9])
    generator = scripted(tokenizer, "A: it is so.\n\nQ: what?")
    stop = [".\n\nQ", "it?"]
    assert "".join(generator.stream("x", stop=stop, config=GREEDY)) == "A: it is so"
    (sample,) = generator.generate("x", stop=stop, config=GREEDY)
    assert (sample.text, sample.finish_reason) == ("A: it is so", "stop")


def test_stop_strings_do_not_count_in_the_prompt_nor_across_its_end(byte_tokenizer):
    generator = scripted(byte_tokenizer, "D and more")
    assert "".join(generator.stream("END EN", stop=["END"], config=GREEDY)).startswith("D and more")


def test_end_of_text_ends_the_text_and_is_not_printed(byte_tokenizer):
    generator = scripted(byte_tokenizer, "all", ends=True)
    assert "".join(generator.stream("x", config=GREEDY)) == "all"
    (sample,) = generator.generate("x", config=GREEDY)
    assert (sample.text, sample.finish_reason) == ("all", "end-of-text")
    assert sample.token_ids[-1] == byte_tokenizer.end_of_text_id
    assert len(sample.tokens) == len(sample.log_probabilities) == 4


def test_end_of_text_lets_out_what_was_held_back(byte_tokenizer):
    generator = scripted(byte_tokenizer, "all E", ends=True)
    assert "".join(generator.stream("x", stop=["END"], config=GREEDY)) == "all E"


def test_streams_of_one_generator_do_not_disturb_each_other(make_run):
    generator = Generator.from_run(make_run())
    alone = [list(generator.stream(prompt, seed=3, config=SHORT)) for prompt in ("The ", "Why")]
    in_turn = list(
        zip_longest(*(generator.stream(prompt, seed=3, config=SHORT) for prompt in ("The ", "Why")))
    )
    assert [list(filter(None, pieces)) for pieces in zip(*in_turn, strict=True)] == alone


# ---- samples


@pytest.mark.parametrize("prompt", ["", "The quick", "unseen: ÄÖ🙂 "])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_generate_and_stream_give_the_same_text_for_the_same_seed(make_run, prompt, cell):
    generator = Generator.from_run(make_run(cell=cell, num_layers=2))
    settings = {"seed": 7, "stop": ["qz"], "config": SHORT}
    (sample,) = generator.generate(prompt, **settings)
    assert sample.text == "".join(generator.stream(prompt, **settings))


@pytest.mark.parametrize("num_samples", [1, 3])
def test_sample_k_is_drawn_by_inverse_transform_with_the_kth_stream_of_uniforms(make_run, num_samples):
    generator = Generator.from_run(make_run())
    count = 3 * UNIFORMS_AT_ONCE - 5
    config = SampleConfig(temperature=0.9, max_new_tokens=count)
    samples = generator.generate("The ", num_samples=num_samples, seed=5, config=config)
    engine, prompt = generator.engine, generator.vocab.to_model_ids(generator.tokenizer.encode("The "))
    for sample, seed in zip(samples, np.random.SeedSequence(5).spawn(num_samples), strict=True):
        rng, logits, ids = np.random.default_rng(seed), engine.start(prompt[None]), []
        for _ in range(count):
            row = sample_token(logits, config, rng)
            ids += generator.vocab.to_token_ids(row).tolist()
            logits = engine.step(row)
        assert sample.token_ids == tuple(ids)


def test_the_same_seed_gives_the_same_text_and_no_seed_another(make_run):
    generator = Generator.from_run(make_run())
    texts = [generator.generate("The", seed=seed, config=SHORT)[0].text for seed in (5, 5, 6, None, None)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


def test_samples_of_a_batch_differ_and_the_first_is_the_one_drawn_alone(make_run):
    generator = Generator.from_run(make_run())
    alone, three, five = (
        generator.generate("The ", num_samples=count, seed=5, config=SHORT) for count in (1, 3, 5)
    )
    assert len({sample.text for sample in five}) == 5
    assert [sample.text for sample in five[:3]] == [sample.text for sample in three]
    assert three[0].text == alone[0].text


def test_a_sample_does_not_depend_on_when_the_others_finish(make_run):
    generator = Generator.from_run(make_run())
    plain = generator.generate("The ", num_samples=4, seed=5, config=SHORT)
    first_letters = plain[1].text[:2]
    stopped = generator.generate("The ", num_samples=4, seed=5, stop=[first_letters], config=SHORT)
    assert (stopped[1].text, stopped[1].finish_reason) == ("", "stop")
    for before, after in zip(plain, stopped, strict=True):
        if after.finish_reason == "length":
            assert after == before
    assert [sample.finish_reason for sample in stopped].count("length") >= 2


def test_texts_of_a_batch_end_each_for_its_own_reason(byte_tokenizer):
    tokenizer = byte_tokenizer
    end = tokenizer.end_of_text_id
    engine = ScriptedEngine(tokenizer, [97, 98, end], [97, 33, 98], [97, 97, 97, 97, 97, 97])
    config = SampleConfig(temperature=0, max_new_tokens=5)
    samples = Generator(engine, tokenizer).generate("x", num_samples=3, stop=["!"], config=config)
    found = [(sample.text, sample.finish_reason, len(sample.token_ids)) for sample in samples]
    assert found == [("ab", "end-of-text", 3), ("a", "stop", 2), ("aaaaa", "length", 5)]


def test_a_batch_takes_one_engine_call_a_step_and_reads_the_prompt_once(byte_tokenizer):
    engine = ScriptedEngine(byte_tokenizer, [97] * 3)
    config = SampleConfig(temperature=0, max_new_tokens=3)
    Generator(engine, byte_tokenizer).generate("aaaa", num_samples=4, config=config)
    assert [ids.shape for ids in engine.stepped] == [(4,), (4,)]
    assert [prompt.shape for prompt in engine.advanced] == [(1, 4)]


def test_max_new_tokens_counts_tokens_drawn(make_run):
    generator = Generator.from_run(make_run())
    for count in (1, 17):
        (sample,) = generator.generate("The", seed=1, config=SampleConfig(max_new_tokens=count))
        assert len(sample.token_ids) == len(sample.text) == count
        assert sample.finish_reason == "length"


def test_a_sample_tells_its_tokens(make_run):
    run = make_run()
    (sample,) = Generator.from_run(run).generate("The", seed=1, config=SHORT)
    assert "".join(sample.tokens) == sample.text
    assert run.tokenizer.decode(sample.token_ids) == sample.text
    assert sample.prompt == "The"
    json.dumps(sample.__dict__)  # nothing but plain numbers and text


def test_log_probabilities_are_the_models_own_before_temperature_filters_and_penalty(make_run):
    run = make_run(end_of_text=True)
    config = SampleConfig(
        temperature=0.3, top_k=9, top_p=0.9, min_p=0.01, repetition_penalty=1.3, max_new_tokens=20
    )
    (sample,) = Generator.from_run(run).generate("The", seed=1, config=config, mid_text=True)
    model = LanguageModel.from_pretrained(run.path)
    ids = np.concatenate([run.tokenizer.encode("The"), sample.token_ids])
    model_ids = model.vocab.to_model_ids(ids)
    with torch.no_grad():
        scores = torch.log_softmax(
            model(torch.from_numpy(model_ids[None, :-1]))[0][0].double(), dim=1
        ).numpy()
    expected = [scores[place, model_ids[place + 1]] for place in range(2, len(ids) - 1)]
    np.testing.assert_allclose(sample.log_probabilities, expected, atol=1e-4)


# ---- settings


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.1},
        {"temperature": 0},
        {"top_k": 2},
        {"top_p": 0.1},
        {"min_p": 0.9},
        {"repetition_penalty": 5.0},
        {"max_new_tokens": 7},
    ],
    ids=str,
)
def test_every_setting_changes_the_text(make_run, change):
    generator = Generator.from_run(make_run())
    plain = generator.generate("The", seed=1, config=SampleConfig(temperature=1.0))[0].text
    changed = generator.generate("The", seed=1, config=SampleConfig(**({"temperature": 1.0} | change)))[
        0
    ].text
    assert changed != plain


def test_the_penalty_counts_prompt_and_output(make_run):
    run = make_run()
    distinct = len(set(run.tokenizer.encode("The quick")))
    config = SampleConfig(temperature=0, repetition_penalty=1e9, max_new_tokens=10)
    (sample,) = Generator.from_run(run).generate("The quick", config=config)
    seen = set(run.tokenizer.encode("The quick").tolist())
    assert not seen & set(sample.token_ids)  # so strong a penalty forbids what occurred
    assert len(set(sample.token_ids)) == 10
    assert distinct + 10 < Generator.from_run(run).vocab.size


@pytest.mark.parametrize("num_samples", [1, 2])
@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_the_largest_penalty_warns_of_nothing(make_run, num_samples, temperature):
    config = SampleConfig(
        temperature=temperature, repetition_penalty=sys.float_info.max, max_new_tokens=60
    )  # more tokens than the network knows: at the end all have occurred
    samples = Generator.from_run(make_run()).generate("The", num_samples=num_samples, config=config, seed=1)
    assert [len(sample.token_ids) for sample in samples] == [60] * num_samples


def test_greedy_text_needs_no_seed(make_run):
    generator = Generator.from_run(make_run())
    one, other = (generator.generate(prompt, config=GREEDY)[0].text for prompt in ("The", "The"))
    assert one == other


@pytest.mark.parametrize("num_samples", [0, -1])
def test_a_number_of_samples_below_1_is_refused(make_run, num_samples):
    with pytest.raises(ConfigError, match="num_samples"):
        Generator.from_run(make_run()).generate("x", num_samples=num_samples)


def test_mistakes_are_found_before_the_first_piece(make_run):
    generator = Generator.from_run(make_run())
    with pytest.raises(ConfigError, match="stop"):
        generator.stream("x", stop=[""])
    with pytest.raises(TokenizerError):
        generator.stream("half a pair: \ud83d")


# ---- the prompt and the beginning


@pytest.mark.parametrize(
    ("text", "end_of_text", "after"),
    [("one\ntwo", True, "end-of-text"), ("one\ntwo", False, "\n"), ("one two", True, "end-of-text")],
)
def test_without_a_prompt_a_text_starts_after_end_of_text_else_after_a_newline(
    make_run, text, end_of_text, after
):
    run = make_run(text=text, end_of_text=end_of_text)
    generator = Generator.from_run(run)
    token_id = run.tokenizer.end_of_text_id if after == "end-of-text" else run.tokenizer.encode("\n")[0]
    logits = generator.engine.start(generator.vocab.to_model_ids(np.array([[token_id]])))
    (sample,) = generator.generate(config=SampleConfig(temperature=0, max_new_tokens=1))
    assert sample.log_probabilities[0] == pytest.approx(log_probabilities(logits).max())


def test_where_training_saw_neither_the_first_token_is_drawn_by_frequency_and_part_of_the_text(make_run):
    run = make_run(text="aaaaaabbbc")
    config = SampleConfig(temperature=1.0, max_new_tokens=3)
    samples = Generator.from_run(run).generate(num_samples=2000, seed=1, config=config)
    assert {len(sample.text) for sample in samples} == {3}
    for letter, share in {"a": 0.6, "b": 0.3, "c": 0.1}.items():
        firsts = [sample for sample in samples if sample.text[0] == letter]
        assert len(firsts) / 2000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 2000))
        assert firsts[0].log_probabilities[0] == pytest.approx(math.log(share))


def test_the_first_token_by_frequency_is_read_before_the_second_is_drawn(make_run):
    run = make_run(text="aaaaaabbbc")
    generator = Generator.from_run(run)
    (sample,) = generator.generate(config=SampleConfig(temperature=0, max_new_tokens=2))
    assert sample.text[0] == "a"
    logits = generator.engine.start(generator.vocab.to_model_ids(run.tokenizer.encode("a"))[None])
    assert sample.log_probabilities[1] == pytest.approx(log_probabilities(logits).max())


def test_a_prompt_that_training_never_saw_is_read_as_the_unseen_id(make_run):
    run = make_run()
    generator = Generator.from_run(run)
    unseen = generator.vocab.size
    logits = generator.engine.start(np.full((1, 4), unseen))  # 🙂 is four bytes
    config = SampleConfig(temperature=0, max_new_tokens=1)
    (sample,) = generator.generate("🙂", config=config, mid_text=True)
    assert sample.log_probabilities[0] == pytest.approx(log_probabilities(logits).max())


def test_a_long_prompt_is_read_whole(make_run):
    generator = Generator.from_run(make_run())
    prompt = "The quick brown fox. " * 100
    model_rows = generator.vocab.to_model_ids(generator.tokenizer.encode(prompt))
    logits = [generator.engine.start(model_rows[:1][None])] + [
        generator.engine.step(model_rows[i : i + 1]) for i in range(1, len(model_rows))
    ]
    (sample,) = generator.generate(prompt, config=SampleConfig(temperature=0, max_new_tokens=1))
    assert sample.log_probabilities[0] == pytest.approx(log_probabilities(logits[-1]).max(), abs=1e-5)


def test_a_prompt_that_ends_in_a_replacement_character_is_not_written_again():
    tokenizer = Tokenizer.train("bpe", ["some text, some text"])
    generator = scripted(tokenizer, "some")
    assert "".join(generator.stream("?\ufffd", config=length_of(tokenizer, "some"))) == "some"


def test_a_token_that_begins_with_a_space_only_after_others_has_it_after_a_prompt(tmp_path):
    library = {
        "version": "1.0",
        "model": {
            "type": "BPE",
            "vocab": {"▁one": 0, "▁two": 1, "<unk>": 2},
            "merges": [],
            "unk_token": "<unk>",
        },
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "added_tokens": [],
    }
    library["model"] |= {"ignore_merges": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(library), encoding="utf-8")
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    engine = ScriptedEngine(tokenizer, [1, 0])
    config = SampleConfig(temperature=0, max_new_tokens=2)
    assert "".join(Generator(engine, tokenizer).stream("one", config=config)) == " two one"


# ---- models, runs, engines


def test_a_model_on_a_cpu_and_its_run_write_the_same(make_run):
    run = make_run()
    model = LanguageModel.from_pretrained(run.path)
    from_model, from_run = Generator(model, run.tokenizer), Generator.from_run(run)
    one, other = (generator.generate("The", seed=1, config=SHORT) for generator in (from_model, from_run))
    assert one == other


def test_from_run_on_auto_writes_the_same_as_on_the_cpu(make_run):
    run = make_run()
    one, other = (
        Generator.from_run(run, device).generate("The", config=GREEDY)[0] for device in ("auto", "cpu")
    )
    assert one.text == other.text


def test_a_model_and_a_tokenizer_that_do_not_belong_together_are_refused(make_run, byte_tokenizer):
    run = make_run()
    with pytest.raises(RunError, match="do not belong together"):
        Generator(LanguageModel.from_pretrained(run.path), byte_tokenizer)


def test_a_run_with_damaged_weights_is_refused_by_name(make_run):
    run, other = make_run("one"), make_run("other", hidden_size=8)
    (run.path / "model.safetensors").write_bytes((other.path / "model.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"one.*safetensors: not the weights of this model: head.weight"):
        Generator.from_run(run)


def test_the_given_text_of_a_torch_engine_is_that_of_the_numpy_engine(make_run):
    run = make_run(cell="gru", num_layers=2)
    engine = TorchEngine(LanguageModel.from_pretrained(run.path))
    one, other = (
        generator.generate("The", num_samples=3, seed=2, config=SHORT)
        for generator in (Generator(engine, run.tokenizer), Generator.from_run(run))
    )
    assert [sample.text for sample in one] == [sample.text for sample in other]


def test_threads_may_use_torch_engines_on_one_model_that_is_being_trained(make_run):
    """Each reads its prompt in evaluation mode; none may end it while another relies on it."""
    run = make_run(dropout=0.9, num_layers=2, hidden_size=64)
    model = LanguageModel.from_pretrained(run.path).train()

    def write(_):
        engine = TorchEngine(model)
        return [engine.start(np.arange(20)[None, :]).tolist() for _ in range(80)]

    expected = write(0)[0]
    with ThreadPoolExecutor(3) as pool:
        assert all(logits == expected for written in pool.map(write, range(3)) for logits in written)
    assert model.training


# ---- where a prompt stands


@pytest.mark.parametrize("end_of_text", [False, True])
@pytest.mark.parametrize("prompt", ["The quick", "a", "Q"])
def test_a_prompt_begins_after_the_start_token_as_scoring_does(make_run, end_of_text, prompt):
    run = make_run(end_of_text=end_of_text)
    config = SampleConfig(temperature=0, max_new_tokens=1)
    (sample,) = Generator.from_run(run).generate(prompt, config=config)
    *_, piece = Scorer.from_run(run).read([prompt + sample.text])
    vocab = Generator.from_run(run).vocab
    # Scoring leaves a probability to tokens that training never saw.
    expected = TokenCosts(vocab, run.tokenizer.vocab_size - vocab.size).seen_nats - piece.nats[-1]
    assert expected == pytest.approx(sample.log_probabilities[0], abs=1e-5)


def test_a_prompt_from_the_middle_of_a_text_is_read_without_the_start_token(make_run):
    run = make_run(end_of_text=True)
    generator = Generator.from_run(run)
    logits = generator.engine.start(generator.vocab.to_model_ids(run.tokenizer.encode("The"))[None])
    config = SampleConfig(temperature=0, max_new_tokens=1)
    (sample,) = generator.generate("The", config=config, mid_text=True)
    assert sample.log_probabilities[0] == pytest.approx(log_probabilities(logits).max(), abs=1e-5)
    (other,) = generator.generate("The", config=config)
    assert other.log_probabilities != sample.log_probabilities


def test_a_prompt_that_begins_with_the_start_token_has_it_once(make_run):
    generator = Generator.from_run(make_run())  # a newline
    config = SampleConfig(temperature=0, max_new_tokens=9)
    assert generator.generate("\nThe", config=config)[0].log_probabilities == pytest.approx(
        generator.generate("The", config=config)[0].log_probabilities
    )


# ---- stop strings, least lengths, distinct texts


def test_the_stop_string_may_be_kept(byte_tokenizer):
    generator = scripted(byte_tokenizer, "one. two. three")
    config = SampleConfig(max_new_tokens=50)
    assert generator.generate("x", stop=[". "], config=config)[0].text == "one"
    (kept,) = generator.generate("x", stop=[". ", "."], config=config, keep_stop=True)
    assert (kept.text, kept.finish_reason) == ("one.", "stop")
    assert "".join(generator.stream("x", stop=["wo. "], config=config, keep_stop=True)) == "one. two. "


def test_so_many_tokens_are_drawn_before_the_end_of_the_text(make_run):
    generator = Generator.from_run(make_run(text="ab\n" * 9, end_of_text=True))
    for least in (0, 1, 7):
        config = SampleConfig(min_new_tokens=least, max_new_tokens=9, temperature=3)
        samples = generator.generate(num_samples=60, seed=1, config=config)
        lengths = [len(each.token_ids) - (each.finish_reason == "end-of-text") for each in samples]
        assert min(lengths) == least
    with pytest.raises(ConfigError, match="min_new_tokens=10 is more than max_new_tokens=9"):
        SampleConfig(min_new_tokens=10, max_new_tokens=9)


def test_distinct_texts_differ_are_not_known_and_are_those_of_generate(make_run):
    generator = Generator.from_run(make_run(text="ab\n" * 9, end_of_text=True))
    config = SampleConfig(max_new_tokens=2, temperature=2)
    request = Request(config=config, seed=4)
    found = generator.distinct(request, 6)
    texts = [sample.text for sample in found.samples]
    assert len(set(texts)) == 6
    drawn = [each.text for each in generator.generate(num_samples=found.num_draws, seed=4, config=config)]
    assert list(dict.fromkeys(drawn)) == texts
    others = generator.distinct(request, 3, is_known=texts[:3].__contains__).samples
    assert not {sample.text for sample in others} & set(texts[:3])


def test_where_there_are_too_few_distinct_texts_the_draws_are_limited(make_run):
    generator = Generator.from_run(make_run())
    found = generator.distinct(Request(config=SampleConfig(temperature=0, max_new_tokens=3)), 2)
    assert len(found.samples) == 1
    assert found.num_draws == 2 * MOST_DRAWS
