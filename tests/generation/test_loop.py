"""Requests join and leave the batch; what each text is depends on its own request only."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import ConfigError, TokenizerError
from textgen.generation import loop as loop_module
from textgen.generation.engine import Engine
from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.processors import LogitsProcessor
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import Sample, SampleState
from textgen.generation.token_processors import CountPenalties, ForbiddenTokens, LogitBias, StopTokens
from textgen.generation.torch_engine import TorchEngine
from textgen.models.language_model import LanguageModel
from textgen.settings.config import SampleConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

ALPHABET = "abcdefghij \n"
TOKENIZER = Tokenizer.train("char", [ALPHABET])
VOCAB = ModelVocab.from_counts(np.bincount(TOKENIZER.encode(ALPHABET), minlength=TOKENIZER.vocab_size))
# The same, and end-of-text.
ENDING = VOCAB.extended(np.bincount([TOKENIZER.end_of_text_id], minlength=TOKENIZER.vocab_size))


class HashEngine:
    """An Engine whose logits are a function of all that a text has read: exact in any batch.

    Its state is one number for each text, no tuple of arrays. `log` has the shape of what each call was
    given; copies share it.
    """

    def __init__(self, vocab: ModelVocab = VOCAB) -> None:
        self.vocab = vocab
        self.state = np.zeros(1, np.uint64)
        self.log: list[tuple[str, tuple[int, ...]]] = []

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        self.reset_state(len(prompt_ids))
        return self.advance(prompt_ids)

    def step(self, ids: np.ndarray) -> np.ndarray:
        self.log.append(("step", ids.shape))
        return self._read(ids[:, None])[:, -1]

    def advance(self, ids: np.ndarray) -> np.ndarray:
        self.log.append(("advance", ids.shape))
        return self._read(ids)[:, -1]

    def read(self, ids: np.ndarray) -> np.ndarray:
        self.log.append(("read", ids.shape))
        return self._read(ids)

    def reset_state(self, batch_size: int) -> None:
        self.state = np.zeros(batch_size, np.uint64)

    def select(self, places: Sequence[int]) -> None:
        self.log.append(("select", (len(places),)))
        self.state = self.state[list(places)]

    def join(self, other: HashEngine) -> None:
        self.state = np.concatenate([self.state, other.state])

    def _read(self, ids: np.ndarray) -> np.ndarray:
        logits = []
        for column in ids.T:
            self.state = self.state * np.uint64(6364136223846793005) + column.astype(np.uint64) + np.uint64(1)
            logits.append(
                [np.random.default_rng(int(state)).normal(0, 2, self.vocab.size) for state in self.state]
            )
        return np.array(logits, np.float32).swapaxes(0, 1)


class Vowelless(LogitsProcessor):
    """Forbids some letters by name, in one of three ways."""

    def __init__(self, prompt: Prompt, way: str, letters: str = "aei") -> None:
        self.way, self.size = way, prompt.vocab.size
        self.forbidden = prompt.vocab.to_model_ids(prompt.tokenizer.encode(letters))
        self.num_masks = 0

    def _mask(self) -> np.ndarray:
        mask = np.ones(self.size, dtype=bool)
        mask[self.forbidden] = False
        return mask

    def process(self, logits: np.ndarray) -> np.ndarray:
        return np.where(self._mask(), logits, -np.inf) if self.way == "process" else logits

    def allows(self, model_id: int) -> bool:
        return self.way == "process" or model_id not in self.forbidden

    def mask(self) -> np.ndarray | None:
        self.num_masks += 1
        return self._mask() if self.way == "mask" else None


class Raises(LogitsProcessor):
    """Raises where it is asked for the n-th time: in one of its methods."""

    def __init__(self, prompt: Prompt, way: str, number: int = 4) -> None:
        self.way, self.num_left = way, number

    def _ask(self, way: str) -> None:
        self.num_left -= way == self.way
        if not self.num_left:
            raise ValueError(f"{self.way} raised")

    def process(self, logits: np.ndarray) -> np.ndarray:
        self._ask("process")
        return logits

    def allows(self, model_id: int) -> bool:
        self._ask("allows")
        return self.way != "mask" or model_id % 2 == 0

    def mask(self) -> np.ndarray | None:
        self._ask("mask")
        return None

    def accept(self, model_id: int) -> None:
        self._ask("accept")


class EndsAfter(LogitsProcessor):
    """Ends a text at its third token of a kind."""

    def __init__(self, prompt: Prompt, letter: str = "b") -> None:
        (self.model_id,) = prompt.vocab.to_model_ids(prompt.tokenizer.encode(letter))
        self.num_left = 3

    def accept(self, model_id: int) -> str | None:
        self.num_left -= model_id == self.model_id
        return None if self.num_left else "third"


def new_loop(engine: Engine | None = None, **settings: object) -> GenerationLoop:
    return GenerationLoop(engine or HashEngine(), TOKENIZER, **settings)  # type: ignore[arg-type]


def finish(loop: GenerationLoop) -> None:
    while loop.busy:
        loop.step()


def written_alone(request: Request, engine: Engine | None = None) -> SampleState:
    loop = new_loop(engine)
    text = loop.submit(request)
    finish(loop)
    return text


def alone(request: Request, engine: Engine | None = None) -> Sample:
    return written_alone(request, engine).result()


# ---- a text depends on its own request only

configs = st.builds(
    SampleConfig,
    max_new_tokens=st.integers(1, 90),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    top_k=st.sampled_from([None, 3]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    min_new_tokens=st.sampled_from([0, 1]),
)
ENDS = [TOKENIZER.end_of_text_id, *TOKENIZER.encode("ab").tolist()]
factories: list[Callable[[Prompt], LogitsProcessor]] = [
    lambda prompt: Vowelless(prompt, "process"),
    lambda prompt: Vowelless(prompt, "allows"),
    lambda prompt: Vowelless(prompt, "mask"),
    EndsAfter,
    CountPenalties(presence=0.5, frequency=1.5),
    LogitBias({0: 2.0, 1: -100.0, 10**9: 3.0}),
    ForbiddenTokens(ENDS),
    StopTokens(ENDS[:2]),
    *(functools.partial(Raises, way=way) for way in ("process", "allows", "mask", "accept")),
]
requests = st.builds(
    Request,
    prompt=st.one_of(
        st.text(ALPHABET, max_size=9),
        st.text(ALPHABET, min_size=1, max_size=3).map(lambda text: text * 60),  # read in several pieces
        st.lists(st.integers(0, TOKENIZER.vocab_size - 1), min_size=1, max_size=5),
    ),
    config=configs,
    stop=st.lists(st.text("ab ", min_size=1, max_size=2), max_size=1),
    seed=st.integers(0, 99),
    keep_stop=st.booleans(),
    processors=st.lists(st.sampled_from(factories), max_size=2),
    log_probabilities=st.booleans(),
    prompt_log_probabilities=st.booleans(),
    num_alternatives=st.sampled_from([0, 0, 2, 20]),
    mid_text=st.booleans(),
)


@given(
    arrivals=st.lists(st.tuples(requests, st.integers(0, 40), st.integers(0, 80)), min_size=2, max_size=7),
    max_batch_size=st.sampled_from([None, 1, 2]),
    compact=st.booleans(),
)
def test_a_text_alone_is_the_same_among_others_that_join_and_leave_at_any_time(
    arrivals, max_batch_size, compact
):
    """An arrival is a request, the step at which it comes and one at which it is cancelled, 60 at most."""
    loop = new_loop(HashEngine(ENDING), max_batch_size=max_batch_size, compact=compact)
    texts: dict[int, SampleState] = {}
    streamed = dict.fromkeys(range(len(arrivals)), "")
    for step in range(10**6):
        for number, (request, arrival, cancelled) in enumerate(arrivals):
            if step == arrival:
                texts[number] = loop.submit(request)
            if step == cancelled <= 60 and number in texts:
                loop.cancel(texts[number])
        for text, piece in loop.step():
            streamed[next(n for n, each in texts.items() if each is text)] += piece
        if step > 80 and not loop.busy:
            break
    for number, (request, _, _) in enumerate(arrivals):
        found, expected = texts[number], written_alone(request, HashEngine(ENDING))
        length = len(found.token_ids)
        assert expected.token_ids[:length] == found.token_ids
        assert expected.log_probabilities[:length] == found.log_probabilities
        assert expected.alternatives[:length] == found.alternatives
        assert len(found.alternatives) == len(found.log_probabilities) * (request.num_alternatives > 0)
        if found.finish_reason != "cancelled":
            assert found.result() == expected.result()
            assert repr(found.error) == repr(expected.error)
            assert found.prompt_log_probabilities == expected.prompt_log_probabilities
            assert found.prompt_alternatives == expected.prompt_alternatives
            assert streamed[number] == found.result().text


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_texts_of_a_network_are_those_alone_whenever_they_join_and_leave(make_run, cell, kind):
    run = make_run(cell=cell, num_layers=2)
    model = LanguageModel.from_pretrained(run.path)
    generator = Generator(TorchEngine(model) if kind == "torch" else model, run.tokenizer)
    rng = np.random.default_rng(3)
    asked = [
        Request(
            prompt="The quick brown fox "[: rng.integers(0, 20)],
            config=SampleConfig(temperature=0.9, max_new_tokens=int(rng.integers(1, 60))),
            seed=seed,
            log_probabilities=True,
        )
        for seed in range(12)
    ]
    loop = GenerationLoop(generator.engine, run.tokenizer)
    texts = []
    for request in asked:
        texts.append(loop.submit(request))
        for _ in range(rng.integers(0, 15)):
            loop.step()
    finish(loop)
    for text, request in zip(texts, asked, strict=True):
        one = GenerationLoop(generator.engine, run.tokenizer)
        expected = one.submit(request)
        finish(one)
        assert text.token_ids == expected.token_ids
        np.testing.assert_allclose(text.log_probabilities, expected.log_probabilities, atol=1e-5)


def test_a_request_gives_the_text_of_stream_for_its_seed():
    generator = Generator(HashEngine(), TOKENIZER)
    config = SampleConfig(max_new_tokens=70)
    streamed = "".join(generator.stream("ab", seed=4, config=config))
    assert alone(Request(prompt="ab", seed=4, config=config)).text == streamed
    (child,) = np.random.SeedSequence(4).spawn(1)
    assert alone(Request(prompt="ab", seed=child, config=config)).text == streamed
    assert alone(Request(prompt="ab", seed=5, config=config)).text != streamed


# ---- joining and leaving


def test_a_text_that_ends_leaves_the_batch_and_one_that_comes_joins_it():
    engine = HashEngine()
    loop = new_loop(engine)
    for count in (3, 9, 9):
        loop.submit(Request(prompt="a", config=SampleConfig(max_new_tokens=count, temperature=0)))
    for _ in range(4):
        loop.step()
    loop.submit(Request(prompt="b", config=SampleConfig(max_new_tokens=9)))
    for _ in range(2):
        loop.step()
    sizes = [shape for call, shape in engine.log if call == "step"]
    assert sizes == [(3,), (3,), (2,), (2,), (3,)]


def test_without_compact_the_batch_keeps_its_size_until_the_last_text_ends():
    engine = HashEngine()
    loop = new_loop(engine, compact=False)
    for count in (2, 5):
        loop.submit(Request(prompt="a", config=SampleConfig(max_new_tokens=count), seed=1))
    finish(loop)
    assert [shape for call, shape in engine.log if call == "step"] == [(2,)] * 4


def test_a_single_text_takes_one_engine_call_a_step_and_no_other():
    engine = HashEngine()
    new = Request(prompt="ab", config=SampleConfig(max_new_tokens=40), seed=1)
    alone(new, engine)
    assert [call for call, _ in engine.log] == ["advance", "select"] + ["step"] * 39


def test_requests_that_share_a_prompt_read_it_once():
    engine = HashEngine()
    loop = new_loop(engine)
    shared = Prompt.from_text("abc" * 300, TOKENIZER, VOCAB)
    texts = [loop.submit(Request(prompt=shared, seed=seed)) for seed in range(3)]
    finish(loop)
    assert sum(shape[1] for call, shape in engine.log if call == "advance") == 901  # with the start token
    assert len({text.result().text for text in texts}) == 3
    assert texts[1].result().text == alone(Request(prompt="abc" * 300, seed=1)).text


def test_a_request_may_share_a_prompt_that_has_been_read_in_part():
    engine = HashEngine()
    loop = new_loop(engine)
    shared = Prompt.from_text("abc" * 300, TOKENIZER, VOCAB)
    settings = {"prompt": shared, "seed": 1, "prompt_log_probabilities": True, "num_alternatives": 2}
    first = loop.submit(Request(**settings))
    assert loop.step() == []
    second = loop.submit(Request(**settings))
    finish(loop)
    assert sum(shape[1] for call, shape in engine.log if call == "read") == 901  # with the start token
    assert second.result() == first.result()
    assert second.prompt_log_probabilities == first.prompt_log_probabilities
    assert second.prompt_alternatives == first.prompt_alternatives
    assert len(second.prompt_log_probabilities) == len(second.prompt_alternatives) == 900


def test_a_long_prompt_does_not_stall_the_texts_of_the_batch():
    engine = HashEngine()
    loop = new_loop(engine)
    running = loop.submit(Request(prompt="a", config=SampleConfig(max_new_tokens=400, temperature=0)))
    loop.step()
    coming = loop.submit(Request(prompt="abc" * 200, config=SampleConfig(max_new_tokens=5)))
    brief = loop.submit(Request(prompt="b", config=SampleConfig(max_new_tokens=5)))
    steps = 0
    while not coming.token_ids:
        steps += 1
        assert running in [text for text, _ in loop.step()]
        assert brief.token_ids or steps == 1, "a brief prompt does not wait for the long one before it"
    assert steps == -(-601 // loop_module.PROMPT_PIECE_BETWEEN_STEPS)


def test_no_more_texts_than_the_limit_are_in_the_batch_and_the_first_come_are_first():
    loop = new_loop(max_batch_size=2)
    texts = [loop.submit(Request(prompt="a", config=SampleConfig(max_new_tokens=3))) for _ in range(5)]
    assert [text for text, _ in loop.step()] == texts[:2]
    finish(loop)
    assert all(len(text.token_ids) == 3 or text.finish_reason == "end-of-text" for text in texts)


# ---- cancelling


@pytest.mark.parametrize("compact", [True, False])
def test_a_text_that_is_cancelled_gets_no_more_tokens_and_frees_its_place_at_once(compact):
    engine = HashEngine()
    loop = new_loop(engine, max_batch_size=2, compact=compact)
    config = SampleConfig(max_new_tokens=30, temperature=0)
    first, second, waiting, last = (
        loop.submit(Request(prompt=p, config=config)) for p in ("b", "c", "d", "e")
    )
    loop.step()
    loop.step()
    loop.cancel(first)
    loop.cancel(waiting)
    assert (first.finish_reason, len(first.token_ids)) == ("cancelled", 2)
    assert [text for text, _ in loop.step()] == [second, last]
    loop.cancel(first)  # again changes nothing
    finish(loop)
    assert first.result().text == TOKENIZER.decode(first.token_ids)
    assert (waiting.result().text, waiting.finish_reason) == ("", "cancelled")
    for text, prompt in ((second, "c"), (last, "e")):
        assert text.result() == alone(Request(prompt=prompt, config=config))


def test_a_text_may_be_cancelled_while_its_prompt_is_read():
    loop = new_loop()
    shared = Prompt.from_text("abc" * 400, TOKENIZER, VOCAB)
    one, other = (loop.submit(Request(prompt=shared, seed=seed)) for seed in (1, 2))
    assert loop.step() == []
    loop.cancel(one)
    finish(loop)
    assert (one.token_ids, one.finish_reason) == ([], "cancelled")
    assert other.result().text == alone(Request(prompt="abc" * 400, seed=2)).text
    loop.submit(Request(prompt="abc" * 400))
    gone = loop.submit(Request(prompt="abc" * 400))
    loop.step()
    loop.cancel(gone)
    assert loop.busy


def test_a_loop_whose_texts_are_all_cancelled_has_nothing_to_do():
    loop = new_loop()
    texts = [loop.submit(Request(prompt="abc" * count)) for count in (1, 400)]
    loop.step()
    for text in texts:
        loop.cancel(text)
    assert not loop.busy
    assert loop.step() == []


# ---- states


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_text_continues_from_its_state_exactly_as_if_it_had_not_ended(make_run, cell, kind):
    run = make_run(cell=cell, num_layers=2)
    model = LanguageModel.from_pretrained(run.path)
    generator = Generator(TorchEngine(model) if kind == "torch" else model, run.tokenizer)
    loop = GenerationLoop(generator.engine, run.tokenizer)

    def write(count: int, **settings: object) -> SampleState:
        config = SampleConfig(temperature=0, max_new_tokens=count)
        text = loop.submit(
            Request(config=config, log_probabilities=True, keep_state=True, **settings)  # type: ignore[arg-type]
        )
        finish(loop)
        return text

    whole, half = write(40, prompt="The "), write(15, prompt="The ")
    rest = write(25, prompt=half.token_ids[-1:], state=half.state)
    assert half.token_ids + rest.token_ids == whole.token_ids
    if kind == "numpy":
        assert half.log_probabilities + rest.log_probabilities == whole.log_probabilities
    else:  # where a step and a prompt of one token are different products
        np.testing.assert_allclose(rest.log_probabilities, whole.log_probabilities[15:], atol=1e-6)


def test_a_state_is_that_of_its_text_also_in_a_batch_and_is_not_changed_by_continuing_it():
    loop = new_loop()
    config = SampleConfig(temperature=0, max_new_tokens=10)
    texts = [loop.submit(Request(prompt=prompt, config=config, keep_state=True)) for prompt in "bcd"]
    finish(loop)
    for text, prompt in zip(texts, "bcd", strict=True):
        longer = alone(Request(prompt=prompt, config=SampleConfig(temperature=0, max_new_tokens=30)))
        kept = copy.deepcopy(text.state)
        for _ in range(2):
            rest = alone(
                Request(
                    prompt=text.token_ids[-1:],
                    state=text.state,
                    config=SampleConfig(temperature=0, max_new_tokens=20),
                )
            )
            assert (*text.token_ids, *rest.token_ids) == longer.token_ids
        assert np.array_equal(text.state, kept)


def test_a_state_is_kept_only_if_it_is_wanted():
    loop = new_loop()
    text = loop.submit(Request(prompt="a", config=SampleConfig(max_new_tokens=2)))
    finish(loop)
    assert text.state is None


# ---- log-probabilities


def test_no_log_probabilities_are_kept_where_they_are_not_wanted():
    loop = new_loop()
    config = SampleConfig(max_new_tokens=5, temperature=0)
    without = loop.submit(Request(prompt="b", config=config))
    wanted = loop.submit(Request(prompt="b", config=config, log_probabilities=True))
    finish(loop)
    assert without.token_ids == wanted.token_ids
    assert without.result().log_probabilities == ()
    assert len(wanted.result().log_probabilities) == 5


# ---- refusals


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (
            Request(prompt=[0, TOKENIZER.vocab_size]),
            ConfigError,
            f"token id {TOKENIZER.vocab_size}: the token",
        ),
        (Request(prompt=[-1]), ConfigError, "token id -1"),
        (Request(prompt=[0.5]), ConfigError, "whole numbers"),  # type: ignore[list-item]
        (Request(prompt="half a pair: \ud83d"), TokenizerError, "half a pair|surrogate|encode"),
        (Request(stop=[""]), ConfigError, "empty stop string"),
        (Request(state=np.zeros(1)), ConfigError, "at least one token"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_request_with_a_mistake_is_refused_and_the_others_continue(request_, error, message):
    loop = new_loop()
    good = loop.submit(Request(prompt="a", seed=1))
    with pytest.raises(error, match=message):
        loop.submit(request_)
    finish(loop)
    assert good.result() == alone(Request(prompt="a", seed=1))


def test_a_batch_size_below_1_is_refused():
    with pytest.raises(ConfigError, match="max_batch_size"):
        new_loop(max_batch_size=0)


def test_the_uniforms_of_a_token_are_the_same_however_often_they_are_asked_for():
    sample = SampleState(Request(seed=1), Prompt.from_text("a", TOKENIZER, VOCAB))
    np.testing.assert_array_equal(sample.uniforms(), sample.uniforms())
