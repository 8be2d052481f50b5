"""`textgen score`, mostly as a real process: what it prints, how soon, and what it refuses."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import click
import pytest

from textgen.cli.support.terminal import BITS, PAINTS, RESET, coloured, escaped, legend
from textgen.errors import ConfigError, CorpusError
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import score_each_line
from textgen.evaluation.summary import summarize
from textgen.run import CONFIG, WEIGHTS, config_json, save_weights
from textgen.system.atomic import write_file

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "PYTHONIOENCODING": "utf-8",
}
TEXT = "The lazy dog.\nWhy? It was NOT: naïve 日本\x1b[31m\r\n\nThe fox\n"
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and terminals as POSIX has them")


def process_of(*arguments, **streams):
    return subprocess.Popen(
        [sys.executable, "-m", "textgen", "score", *map(str, arguments)],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        env=ENVIRONMENT,
    )


@pytest.fixture
def score(invoke):
    """Run `textgen score` in this process: its standard output. Errors are raised."""

    def run(*arguments, input=None, **environment):
        return invoke("score", *arguments, input=input, env={"NO_COLOR": None} | environment).stdout

    return run


@pytest.fixture
def run(make_run):
    return made_sure(make_run())


def made_sure(run):
    """The run with larger weights, so that each token has a figure of its own."""
    weights = run.load_weights()
    save_weights(run.path / WEIGHTS, {n: a * 4 if a.ndim == 2 else a for n, a in weights.items()})
    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def report(run):
    return summarize(Scorer.from_run(run).read([TEXT])).report


# ---- what is printed


def test_the_figures_are_printed_with_their_units(score, run, file, report):
    assert score(run.path, file) == "\n".join(report.lines()) + "\n"


def test_file_pipe_and_dash_are_the_same(score, run, file):
    from_file = score(run.path, file)
    assert score(run.path, input=TEXT.encode()) == from_file
    assert score(run.path, "-", input=TEXT.encode()) == from_file


def test_the_hardest_lines_of_a_longer_text_are_shown_without_control_characters(score, run):
    text = "The lazy dog jumps.\n" * 10 + "The \x1b[31m日本 dog jumps.\n"
    *_, heading, first, second = score(run.path, input=text.encode()).splitlines()
    assert heading == "hardest of 11 lines, in bits/character:"
    assert re.fullmatch(r"  +\d+\.\d{3}  line 11  The \\u001b\[31m日本 dog jumps\.", first)
    assert "The lazy dog jumps." in second
    assert "hardest" not in score(run.path, input=text[20:].encode())


def test_a_narrow_terminal_cuts_the_text_and_not_the_figures(score, run):
    text = "The lazy dog jumps over it.\n" * 11
    last = score(run.path, input=text.encode(), COLUMNS="40").splitlines()[-1]
    assert len(last) <= 40
    assert last.endswith("The lazy dog…") or re.search(r"The lazy.*…$", last)


def test_names_in_json_carry_units(score, run, file, report):
    found = json.loads(score(run.path, file, "--json"))
    assert found["run"] == str(run.path)
    assert found["text"] == str(file)
    assert found["lines"] == 4
    assert found["bits_per_character"] == pytest.approx(report.bits_per_character)
    assert found["characters"] == len(TEXT)
    (hardest, *_) = found["hardest_lines"]
    assert hardest == {
        "bits_per_character": pytest.approx(hardest["bits_per_character"]),
        "number": 2,
        "text": TEXT.split("\n")[1],
    }


def test_each_line_is_printed_unchanged_after_its_figure(score, run):
    pairs = [line.split("\t", 1) for line in score(run.path, "--lines", input=TEXT.encode()).split("\n")[:-1]]
    assert [text for _, text in pairs] == TEXT.split("\n")[:-1]
    figures = [
        report.bits_per_character for _, report in score_each_line(Scorer.from_run(run), [TEXT], "file")
    ]
    assert [float(figure) for figure, _ in pairs] == pytest.approx(figures, abs=5e-4)


def test_a_last_line_without_a_newline_gets_one(score, run):
    assert score(run.path, "--lines", input=b"The").endswith("\tThe\n")


def test_context_carries_the_state_across_lines(score, run):
    alone = score(run.path, "--lines", input=b"The dog\nThe dog\n").split("\n")
    context = score(run.path, "--lines", "--context", input=b"The dog\nThe dog\n").split("\n")
    assert alone[0] == alone[1] == context[0]
    assert context[1] != alone[1]


def test_lines_as_json_are_one_object_each(score, run):
    found = [
        json.loads(line) for line in score(run.path, "--lines", "--json", input=TEXT.encode()).splitlines()
    ]
    assert [each["line"] for each in found] == [1, 2, 3, 4]
    assert [each["text"] for each in found] == TEXT.split("\n")[:-1]
    for each in found:
        bits = each["nats_per_token"] * each["tokens"] / 0.6931471805599453
        assert each["bits_per_character"] * each["characters"] == pytest.approx(bits)


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_tokens_are_printed_as_json_strings_and_their_bits_sum_to_those_of_the_text(score, make_run, kind):
    run = made_sure(make_run(kind=kind))
    lines = score(run.path, "--tokens", input=TEXT.encode()).split("\n")[:-1]
    bits, tokens = zip(*(line.split("\t") for line in lines), strict=True)
    total = summarize(Scorer.from_run(run).read([TEXT])).report
    assert sum(map(float, bits)) == pytest.approx(total.bits_per_character * len(TEXT), rel=1e-3)
    assert all(line.isprintable() for line in tokens)
    assert "".join(map(json.loads, tokens)).startswith("The lazy dog.\nWhy")
    objects = [
        json.loads(line) for line in score(run.path, "--tokens", "--json", input=TEXT.encode()).splitlines()
    ]
    assert [each["token"] for each in objects] == [json.loads(token) for token in tokens]
    assert [each["bits"] for each in objects] == pytest.approx([*map(float, bits)], abs=5e-4)
    assert sum(not each["seen"] for each in objects) == total.loss.unseen_tokens > 0


def test_the_encoding_is_that_of_the_corpus_unless_one_is_named(score, run, tmp_path):
    (tmp_path / "latin.txt").write_bytes("The naïve dog\n".encode("latin-1"))
    found = score(run.path, tmp_path / "latin.txt", "--encoding", "latin-1")
    assert found == score(run.path, input="The naïve dog\n".encode())
    with pytest.raises(CorpusError, match="invalid utf-8 at byte 6"):
        score(run.path, tmp_path / "latin.txt")
    with pytest.raises(CorpusError, match="is not utf-16"):
        score(run.path, tmp_path / "latin.txt", "--encoding", "utf-16")
    with pytest.raises(ConfigError, match="no such encoding"):
        score(run.path, tmp_path / "latin.txt", "--encoding", "undefined")


@pytest.mark.parametrize("documents", ["file", "line", "block"])
def test_line_numbers_are_those_of_the_file_whatever_a_document_is(score, make_run, documents):
    run = made_sure(make_run(end_of_text=True))
    data = dataclasses.replace(run.config.data, documents=documents)
    write_file(run.path / CONFIG, config_json(dataclasses.replace(run.config, data=data)))
    text = " \n\nThe lazy dog.\n\nWhy? It is\r\n \t\n\r\n\nThe fox jumps over 日本 the dog.\n\n\n"
    alone, context = (
        [
            json.loads(line)
            for line in score(run.path, "--lines", "--json", *more, input=text.encode()).splitlines()
        ]
        for more in ([], ["--context"])
    )
    assert [line["text"] for line in alone] == text.split("\n")[:-1]
    assert [line["line"] for line in context] == [line["line"] for line in alone]
    assert [line["text"].strip() for line in context] == [line["text"].strip() for line in alone]
    whole = json.loads(score(run.path, "--json", input=text.encode()))
    assert whole["lines"] == len(alone)
    assert whole["hardest_lines"][0]["number"] == 9
    assert sum(line["tokens"] for line in context) == whole["tokens"]


# ---- in colour


def test_the_view_shows_the_whole_text_a_legend_and_the_figures(score, run, report):
    shown = score(run.path, "--view", input=TEXT.encode())
    assert shown.startswith(legend())
    assert shown.endswith("\n".join(report.lines()) + "\n")
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("↵", "")
    assert "\n\nThe lazy dog.\nWhy? It was NOT: naïve 日本␛[31m␍\n\nThe fox\n\n" in plain
    assert shown.count("\x1b") == len(re.findall(r"\x1b\[(?:0|38;5;\d+;48;5;\d+)m", shown))


def test_more_bits_have_a_stronger_colour_and_few_have_none():
    assert "".join(coloured([("a", 0.5), ("b", 0.9)])) == "ab"
    for step, paint in enumerate(PAINTS):
        assert "".join(coloured([("a", BITS[step])])) == f"{paint}a{RESET}"
    assert "".join(coloured([("a", 3), ("b", 3.9), ("c", 0)])) == f"{PAINTS[1]}ab{RESET}c"
    assert len(set(PAINTS)) == len(BITS)


def test_no_colour_continues_past_the_end_of_a_line():
    assert "".join(coloured([("a\n\nb", 3)])) == "\n".join(
        [f"{PAINTS[1]}a↵{RESET}", f"{PAINTS[1]}↵{RESET}", f"{PAINTS[1]}b{RESET}"]
    )


def test_control_characters_are_escaped_or_shown_as_symbols():
    acting = "\x00\x07\x1b\x7f\x85\x9b\u202e\u2028\xa0\u200b"
    assert json.loads(escaped(acting)) == acting
    assert escaped(acting).isprintable()
    assert "".join(coloured([(acting, 0)])).isprintable()
    assert escaped('naïve "日本"') == r'"naïve \"日本\""'


def test_no_color_refuses_the_view(score, run):
    with pytest.raises(ConfigError, match="NO_COLOR"):
        score(run.path, "--view", input=b"The", NO_COLOR="1")


# ---- pipes and terminals


@posix
@pytest.mark.parametrize(
    "options", [("--lines",), ("--lines", "--context"), ("--tokens",), ("--view",)], ids=str
)
def test_each_line_from_a_pipe_is_scored_at_once(run, options):
    process = process_of(run.path, *options)
    for word in (b"The\n", b"dog\n"):
        process.stdin.write(word)
        process.stdin.flush()
        answer = b""
        while b"\n" not in answer.replace(b"\n\n", b"", 1) or word[:1] not in answer:
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready, "no answer while the pipe is open"
            answer += os.read(process.stdout.fileno(), 2**16)
    process.communicate()
    assert process.returncode == 0


@posix
def test_a_closed_pipe_ends_the_command_silently(run):
    process = process_of(run.path, "--lines")
    process.stdin.write(b"The dog\n" * 5)
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(b"The dog\n" * 500)
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


@posix
def test_a_terminal_shows_what_to_type(run):
    master, slave = os.openpty()
    process = process_of(run.path, "--lines", stdin=slave)
    os.write(master, b"The dog\n\x04")
    out, err = process.communicate(timeout=60)
    assert b"Ctrl-D" in err
    assert out.endswith(b"\tThe dog\n")
    os.close(master)
    os.close(slave)


def test_lines_before_an_invalid_byte_are_scored(run):
    process = process_of(run.path, "--lines")
    out, err = process.communicate(b"The dog\n" * 10_000 + b"\xff\n")
    assert process.returncode == 1
    assert err == (
        b"textgen: standard input: invalid utf-8 at byte 80000 (0xff); "
        b"if the file has another encoding, name it with --encoding\n"
    )
    assert out.count(b"\tThe dog\n") == 10_000


# ---- errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--context"], "--context does nothing without --lines"),
        (["--lines", "--tokens"], "--lines does not go with --tokens"),
        (["--tokens", "--view"], "--tokens does not go with --view"),
        (["--view", "--json"], "--view does not go with --json"),
        (["--encoding", "klingon"], "Python has no such encoding"),
    ],
)
def test_options_that_contradict_or_do_nothing_are_refused(score, run, file, options, words):
    with pytest.raises(ConfigError, match=words):
        score(run.path, file, *options)


@pytest.mark.parametrize("content", ["", "\ufeff"])
def test_an_empty_text_is_refused(score, run, content):
    with pytest.raises(CorpusError, match="there is no text in it"):
        score(run.path, input=content.encode())


def test_a_text_of_one_character_can_be_scored(score, run):
    assert "1 tokens, 1 characters, 1 bytes" in score(run.path, input=b"T")


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.txt", "No such file"), (".", "a folder"), ("a.jsonl", "Name it with --field")],
)
def test_a_path_that_is_not_a_text_file_is_refused(score, run, tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"text": "The"}\n')
    with pytest.raises(CorpusError, match=words):
        score(run.path, name)


def test_the_device_is_a_choice(score, run):
    with pytest.raises(click.BadParameter):
        score(run.path, "--device", "abacus", input=b"T")


@posix
def test_a_file_that_can_be_read_only_once_is_read(run, tmp_path, report):
    os.mkfifo(tmp_path / "pipe")
    process = process_of(run.path, tmp_path / "pipe")
    (tmp_path / "pipe").write_bytes(TEXT.encode())
    out, _ = process.communicate()
    assert out.decode() == "\n".join(report.lines()) + "\n"


@posix
def test_a_compressed_text_is_scored_from_standard_input_a_named_pipe_and_a_file(run, score, tmp_path):
    packed = gzip.compress(TEXT.encode())
    (tmp_path / "plain.txt").write_bytes(TEXT.encode())
    (tmp_path / "packed").write_bytes(packed)
    expected = score(run.path, tmp_path / "plain.txt", "--lines")
    assert score(run.path, tmp_path / "packed", "--lines") == expected
    assert score(run.path, "-", "--lines", input=packed) == expected
    os.mkfifo(tmp_path / "pipe")
    with process_of(run.path, tmp_path / "pipe", "--lines", stdin=subprocess.DEVNULL) as process:
        (tmp_path / "pipe").write_bytes(packed)  # opening it a second time would wait for ever
        assert process.communicate(timeout=60)[0].decode() == expected
