"""Scoring against `evaluate`: the same figures for every kind of run, however the text arrives."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from textgen.errors import RunError
from textgen.evaluation import score
from textgen.evaluation.evaluate import evaluate_run
from textgen.evaluation.report import Report
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import lines_in_context, score_each_line
from textgen.evaluation.summary import Summary, summarize
from textgen.run import CONFIG, WEIGHTS, Run, config_json, save_weights
from textgen.system.atomic import write_file
from textgen.text.corpus import Corpus
from textgen.text.documents import TextSize, split_documents
from textgen.text.lines import LONGEST_IN_MEMORY
from textgen.text.store import TokenStore

KNOWN = "The quick brown fox jumps over the lazy dog.\nWhy? It is not known; the dog was 42 years old!\n" * 3
TEXT = (
    "The dog jumps over the fox.\r\n\n\n  Was it known? It was NOT: naïve 日本 and 😀\tknown\x1b[0m.\n"
    "The lazy dog\n" * 12 + "is 42"
)
RUNS: dict[str, dict[str, object]] = {
    "char": {},
    "char, beyond ASCII": {"text": KNOWN + "naïve 日"},
    "char, from end-of-text": {"end_of_text": True},
    "char, from nothing": {"text": KNOWN.replace("\n", " ")},
    "char, first token unseen": {"text": KNOWN.replace("\n", " ").replace("T", "t")},
    "byte": {"kind": "byte"},
    "bpe": {"kind": "bpe"},
    "word": {"kind": "word"},
    "gru, two layers": {"cell": "gru", "num_layers": 2},
    "rnn": {"cell": "rnn"},
    "tied": {"tie_weights": True},
    "tied and projected": {"tie_weights": True, "embedding_dim": 16},
    "deep": {"num_layers": 3, "residual": True, "layer_norm": True, "kind": "bpe"},
}


def made(make_run, options: dict[str, object], documents: str = "file") -> Run:
    """An untrained run with weights so large that every token has a different cross-entropy."""
    run = make_run(**({"text": KNOWN} | options))
    weights = run.load_weights()
    matrices = {name: array * 4 for name, array in weights.items() if array.ndim == 2}
    save_weights(run.path / WEIGHTS, weights | matrices)
    data = dataclasses.replace(run.config.data, documents=documents)
    write_file(run.path / CONFIG, config_json(dataclasses.replace(run.config, data=data)))
    return Run(run.path)


def evaluated(run: Run, text: str, folder: Path) -> Report:
    """The figures of `textgen eval RUN FILE`."""
    path = folder / "text.txt"
    path.write_bytes(text.encode())
    corpus = Corpus.whole(run.config.data, str(path))
    store = TokenStore.open_or_build(corpus, run.tokenizer, folder / "cache")
    return evaluate_run(run, store, corpus.parts[0], device="cpu")


def summary_of(
    run: Run, blocks: list[str], *, unbuffered: bool = False, device: str | None = None
) -> Summary:
    stream = split_documents(blocks, run.config.data.documents)
    return summarize(Scorer.from_run(run, device).read(stream, unbuffered=unbuffered))


def assert_same(found: Report, expected: Report) -> None:
    assert found.loss.total_nats == pytest.approx(expected.loss.total_nats, rel=1e-5)
    assert (found.loss.tokens, found.loss.unseen_tokens) == (
        expected.loss.tokens,
        expected.loss.unseen_tokens,
    )
    assert found.size == expected.size


@pytest.fixture
def run(make_run) -> Run:
    return made(make_run, {})


# ---- the same figures as eval


@pytest.mark.parametrize("name", RUNS)
def test_the_figures_of_a_text_are_those_of_eval(make_run, tmp_path: Path, name: str) -> None:
    run = made(make_run, RUNS[name])
    expected = evaluated(run, TEXT, tmp_path)
    assert expected.loss.unseen_tokens > 0
    assert_same(summary_of(run, [TEXT]).report, expected)


@pytest.mark.parametrize("documents", ["line", "block"])
@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_end_of_text_is_counted_between_documents_as_in_eval(
    make_run, tmp_path: Path, kind: str, documents: str
) -> None:
    run = made(make_run, {"end_of_text": True, "kind": kind}, documents)
    expected = evaluated(run, TEXT, tmp_path)
    assert_same(summary_of(run, [TEXT]).report, expected)
    as_one = made(make_run, {"name": "file", "end_of_text": True, "kind": kind})
    assert summary_of(as_one, [TEXT]).report.loss.total_nats != pytest.approx(expected.loss.total_nats)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_the_blocks_in_which_a_text_arrives_make_no_difference(make_run, kind: str, unbuffered: bool) -> None:
    run = made(make_run, {"kind": kind})
    whole = summary_of(run, [TEXT])
    for size in (1, 7, 40):
        blocks = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
        cut = summary_of(run, blocks, unbuffered=unbuffered)
        assert_same(cut.report, whole.report)
        assert cut.num_lines == whole.num_lines


def test_the_number_of_logits_per_call_makes_no_difference(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = summary_of(run, [TEXT]).report
    monkeypatch.setattr(score, "LOGITS", 1)  # one token at a time
    assert_same(summary_of(run, [TEXT]).report, whole)


def test_the_torch_engine_gives_the_same_figures(run: Run) -> None:
    assert_same(summary_of(run, [TEXT], device="auto").report, summary_of(run, [TEXT]).report)


def test_on_the_cpu_torch_is_not_loaded(run: Run) -> None:
    code = (
        "import sys; from textgen.run import Run; from textgen.evaluation.score import Scorer\n"
        "from textgen.evaluation.scored_lines import score_each_line\n"
        "from textgen.evaluation.summary import summarize\n"
        f"scorer = Scorer.from_run(Run({str(run.path)!r}))\n"
        "summarize(scorer.read(['The dog\\n'])), list(score_each_line(scorer, ['The dog\\n'], 'file'))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_weights_that_are_not_finite_are_reported_as_damaged(run: Run, tmp_path: Path) -> None:
    weights = run.load_weights()
    for value in (np.nan, np.inf, -np.inf):
        for index in (slice(None), slice(1)):  # all values, or a single one
            bias = weights["head.bias"].copy()
            bias[index] = value
            save_weights(run.path / WEIGHTS, weights | {"head.bias": bias})
            with pytest.raises(RunError, match="damaged"):
                summary_of(run, [TEXT])
            with pytest.raises(RunError, match="damaged"):
                evaluated(run, TEXT, tmp_path)


def test_texts_read_alternately_do_not_affect_each_other(run: Run) -> None:
    scorer = Scorer.from_run(run)
    expected = [piece.nats for piece in scorer.read(["The dog", " jumps"], unbuffered=True)]
    in_turn = zip(*(scorer.read(["The dog", " jumps"], unbuffered=True) for _ in range(2)), strict=True)
    for (one, other), nats in zip(in_turn, expected, strict=True):
        np.testing.assert_allclose([one.nats, other.nats], [nats, nats], rtol=1e-6)


def test_texts_in_a_batch_have_similar_lengths_and_each_text_occurs_once() -> None:
    lengths = [*range(100), 5, 1000, 0, 3]
    found = list(score._batches_of_similar_length(lengths))
    assert sorted(index for batch in found for index in batch) == [
        index for index, length in enumerate(lengths) if length
    ]
    for batch in found:
        in_batch = [lengths[index] for index in batch]
        assert max(in_batch) < 2 * min(in_batch)
        assert len(batch) <= score.MAX_BATCH_SIZE
    assert len(found) < 15


# ---- tokens and where they begin


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_the_probabilities_of_the_next_token_sum_to_one(make_run, kind: str) -> None:
    run = made(make_run, {"kind": kind, "text": "abc. abc\n" * 3})
    scorer = Scorer.from_run(run)
    vocab, engine = scorer._vocab, scorer._engine
    engine.reset_state(1)
    ids = np.arange(run.tokenizer.vocab_size)
    logits = np.repeat(engine.read(np.array([[0, 1, 2]]))[:, -1:], len(ids), axis=1)  # (1, N, V)
    nats = score.token_nats(logits, vocab.to_model_ids(ids)[None], scorer._costs)
    assert np.exp(-nats).sum() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_the_bits_of_characters_add_up_to_those_of_tokens_and_no_text_is_lost(make_run, kind: str) -> None:
    scorer = Scorer.from_run(made(make_run, {"kind": kind, "text": KNOWN + "naïve 日"}))
    pieces = list(scorer.read([TEXT]))
    segments = [segment for piece in pieces for segment in piece.by_character()]
    assert "".join(text for text, _ in segments) == TEXT
    assert all(text for text, _ in segments)
    bits = sum(float(piece.nats.sum()) for piece in pieces) / math.log(2)
    assert sum(cost for _, cost in segments) == pytest.approx(bits)
    tokens = [token for piece in pieces for token in scorer.tokens(piece)]
    assert sum(token.bits for token in tokens) == pytest.approx(bits)
    assert scorer.tokenizer.decode(token.id for token in tokens) == TEXT


def test_a_character_of_several_tokens_has_their_total_bits(run: Run) -> None:
    (piece,) = Scorer.from_run(run).read(["d日d"])
    bits = piece.nats / math.log(2)
    assert len(bits) == 5
    assert list(piece.by_character()) == [
        ("d", pytest.approx(bits[0])),
        ("日", pytest.approx(bits[1:4].sum())),
        ("d", pytest.approx(bits[4])),
    ]
    assert piece.seen.tolist() == [True, False, False, False, True]


# ---- lines


def each_line(
    run: Run, text: str, documents: str = "file", size: int = 10**9
) -> Iterator[tuple[str, Report]]:
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    for line, report in score_each_line(Scorer.from_run(run), blocks, documents):
        yield "".join(line), report


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("size", [10**9, 5])
def test_a_line_alone_scores_the_same_as_a_text_of_its_own(make_run, name: str, size: int) -> None:
    run = made(make_run, RUNS[name])
    found = list(each_line(run, TEXT, size=size))
    assert [line for line, _ in found] == re.findall(r"[^\n]*\n|[^\n]+", TEXT)
    for line, report in found[:6]:
        assert_same(report, summary_of(run, [line]).report)


def test_the_loss_of_a_line_does_not_depend_on_other_lines(run: Run) -> None:
    lines = [f"{word * count}\n" for count in (1, 20, 30) for word in ("dog ", "fox", "日", "?")]
    together = [report.loss.total_nats for _, report in each_line(run, "".join(lines))]
    backwards = [report.loss.total_nats for _, report in each_line(run, "".join(lines[::-1]))]
    alone = [report.loss.total_nats for line in lines for _, report in each_line(run, line)]
    assert together == pytest.approx(alone, rel=1e-6)
    assert together == pytest.approx(backwards[::-1], rel=1e-6)
    assert len(set(together)) == len(lines)


def test_where_lines_are_documents_each_ends_in_end_of_text_and_empty_ones_cost_nothing(make_run) -> None:
    run = made(make_run, {"end_of_text": True}, "line")
    text = "The dog\r\n\nThe fox\nThe"
    found = dict(each_line(run, text, "line"))
    assert list(found) == ["The dog\r\n", "\n", "The fox\n", "The"]
    assert [report.loss.tokens for report in found.values()] == [8, 0, 8, 3]
    assert [report.size.characters for report in found.values()] == [9, 1, 8, 3]
    assert found["\n"].bits_per_character == 0
    assert found["\n"].as_dict()["nats_per_token"] is None
    two = summary_of(run, ["The fox\nThe"]).report.loss.total_nats
    scorer = Scorer.from_run(run)
    *_, last = scorer.read(split_documents(["The fox\nThe"], "line"))
    assert found["The fox\n"].loss.total_nats == pytest.approx(two - last.nats.sum(), rel=1e-6)


@pytest.mark.parametrize("kind", ["char", "bpe"])
@pytest.mark.parametrize("documents", ["file", "line"])
def test_a_line_too_long_for_memory_is_scored_like_any_other(make_run, kind: str, documents: str) -> None:
    run = made(make_run, {"kind": kind, "end_of_text": True}, documents)
    text = "The dog\n" + "The fox " * (LONGEST_IN_MEMORY // 8 + 10) + "dog\nThe dog\n"
    scored = score_each_line(Scorer.from_run(run), [text[:50_000], text[50_000:]], documents)
    found = [(line.is_long, "".join(line), report) for line, report in scored]
    assert [is_long for is_long, _, _ in found] == [False, True, False]
    assert [line for _, line, _ in found] == text.splitlines(keepends=True)
    assert found[0][2].loss.total_nats == pytest.approx(found[2][2].loss.total_nats)
    two_lines = summary_of(run, [found[1][1], "The dog\n"])
    assert found[1][2].loss.tokens == two_lines.report.loss.tokens - found[2][2].loss.tokens + (
        documents == "line"
    )
    # The end of the text does not end a document: of the two lines, only the first ends in end-of-text.
    (first, _) = lines_in_context(Scorer.from_run(run).read(split_documents([text[8:]], documents)))
    assert found[1][2].loss.total_nats == pytest.approx(first[1].loss.total_nats, rel=1e-6)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_lines_in_context_add_up_to_the_text(make_run, kind: str) -> None:
    run = made(make_run, {"kind": kind})
    found = [("".join(line), report) for line, report in lines_in_context(Scorer.from_run(run).read([TEXT]))]
    whole = summary_of(run, [TEXT])
    assert "".join(line for line, _ in found) == TEXT
    assert len(found) == whole.num_lines
    total = sum(report.loss.total_nats for _, report in found)
    assert total == pytest.approx(whole.report.loss.total_nats)
    assert sum(report.loss.tokens for _, report in found) == whole.report.loss.tokens
    assert sum(report.size.words for _, report in found) == whole.report.size.words
    alone = [report.loss.total_nats for _, report in each_line(run, TEXT)]
    assert alone[0] == pytest.approx(found[0][1].loss.total_nats)
    assert alone[-1] != pytest.approx(found[-1][1].loss.total_nats, rel=1e-3)


def test_a_line_is_yielded_before_the_next_one_has_arrived(run: Run) -> None:
    requested = []

    def blocks() -> Iterator[str]:
        for line in ("The dog\n", "The fox\n"):
            requested.append(line)
            yield line

    for scored in (
        score_each_line(Scorer.from_run(run), blocks(), "file"),
        lines_in_context(Scorer.from_run(run).read(blocks(), unbuffered=True)),
    ):
        requested.clear()
        assert "".join(next(scored)[0]) == "The dog\n"
        assert requested == ["The dog\n"]
        scored.close()


def test_the_hardest_lines_are_listed_hardest_first_and_each_text_once(run: Run) -> None:
    odd = ["日本語日本語日本語日本語日本語日本語\n", "The naïve dog was not known\n"]
    text = "The lazy dog jumps.\n" * 3 + odd[1] + odd[0] * 2 + "語\n" + "The lazy dog jumps.\n" * 3
    found = summary_of(run, [text])
    assert found.num_lines == 10
    reports = [report for _, report in lines_in_context(Scorer.from_run(run).read([text]))]
    hardest = found.hardest
    assert hardest[0].text == odd[0].strip()
    assert hardest[0].bits_per_character == max(each.bits_per_character for each in reports[4:6])
    assert [line.text for line in hardest].count(odd[0].strip()) == 1
    assert "語" not in [line.text for line in hardest]  # too short to count as hard
    assert [line.bits_per_character for line in hardest] == sorted(
        (reports[line.number - 1].bits_per_character for line in hardest), reverse=True
    )


def test_an_empty_text_has_no_tokens_and_no_lines(run: Run) -> None:
    found = summary_of(run, [])
    assert (found.report.loss.tokens, found.num_lines, found.hardest) == (0, 0, ())
    assert found.report.size == TextSize(0, 0, 0, 0)
    assert list(each_line(run, "")) == []
