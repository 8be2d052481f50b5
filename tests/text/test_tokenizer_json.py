"""Hostile tokenizer.json files: refused in one line, or made harmless, before they take time or memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, MakeRun
from textgen.errors import TokenizerError
from textgen.run import TOKENIZER, Run
from textgen.text.tokenizer import Tokenizer
from textgen.text.tokenizer_json import MAX_ADDED_TOKENS, MAX_BYTES, parse, patterns, steps

Data = dict[str, Any]
Change = Callable[[Data], None]
MEGABYTE = 2**20


def replace(pattern: str, content: str, kind: str = "String") -> Data:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(steps: list[Data], name: str = "normalizers") -> Data:
    return {"type": "Sequence", name: steps}


def normalizer(step: Data) -> Change:
    return lambda data: data.update(normalizer=step)


def split(pattern: str) -> Change:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return lambda data: data.update(pre_tokenizer=step)


def add_tokens(number: int) -> Change:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return lambda data: data.update(
        added_tokens=[flags | {"id": 1000 + i, "content": f"<x{i}>"} for i in range(number)]
    )


def token(name: str, token_id: object) -> Change:
    return lambda data: data["model"]["vocab"].update({name: token_id})


def nested(depth: int) -> Data:
    step: Data = {"type": "NFC"}
    for _ in range(depth):
        step = sequence([step])
    return step


HOSTILE: dict[str, tuple[Change, str]] = {
    "an id of 2**31": (token("x", 2**31), r"the id of token 'x' is 2147483648"),
    "an id of 2**64": (token("x", 2**64), r"the id of token 'x' is"),
    "a negative id": (token("x", -1), r"the id of token 'x' is -1"),
    "an id that is no number": (token("x", "7"), r"the id of token 'x' is '7'"),
    "a long token": (token("x" * 20_000, 400), r"token 400 is not a text of at most 10,000 characters"),
    "no vocab": (lambda data: data["model"].pop("vocab"), r"its model has no vocab"),
    "an unknown model": (lambda data: data["model"].update(type="Code"), r"its model is 'Code'"),
    "many added tokens": (add_tokens(MAX_ADDED_TOKENS + 1), r"it has 32,769 added tokens"),
    "exponential replacements": (
        normalizer(sequence([replace("a", "aa")] * 40)),
        r"the replacements of its normalizer can make a text 1,000 times longer",
    ),
    "a long replacement": (normalizer(replace("a", "b" * 10_000)), r"1,000 times longer"),
    "a replacement of nothing": (normalizer(replace("(?=.)", "b" * 1000, "Regex")), r"1,000 times longer"),
    "an endless decoder": (
        lambda data: data.update(decoder=sequence([replace("a", "aa")] * 40, "decoders")),
        r"the replacements of its decoder",
    ),
    "many steps": (normalizer(sequence([{"type": "NFC"}] * 100)), r"its normalizer has 100 steps"),
    "a deep sequence": (normalizer(nested(20)), r"its normalizer is not made of steps"),
    "an unknown step": (normalizer({"type": "Exec"}), r"its normalizer has a step 'Exec'"),
    "a long pattern": (split("a" * 5000), r"a pattern in it is longer than 4,096"),
    "a pattern that is no text": (normalizer({"type": "Replace", "pattern": 7}), r"a pattern in it is 7"),
    "a long prefix": (normalizer({"type": "Prepend", "prepend": "a" * 20_000}), r"what it prepends"),
    "what makes the library panic": (
        lambda data: data.update(pre_tokenizer={"type": "FixedLength", "length": "x"}),
        r"not a tokenizer\.json",
    ),
    "a damaged charsmap": (
        normalizer({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        r"Precompiled",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    path = tmp_path_factory.mktemp("plain") / "tokenizer.json"
    Tokenizer.train("char", ["some text\n"]).save(path)
    return json.loads(path.read_text())


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_and_at_once(
    data: Data, tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    change, message = HOSTILE[case]
    path = write(tmp_path / "a.json", changed(data, change))
    started = time.monotonic()
    for read in (Tokenizer.load, Tokenizer.from_file):
        with pytest.raises(TokenizerError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    assert time.monotonic() - started < 2
    assert capfd.readouterr().err == ""  # not even the report of a panic


def changed(data: Data, change: Change) -> Data:
    copy: Data = json.loads(json.dumps(data))
    change(copy)
    return copy


def write(path: Path, data: Data) -> Path:
    path.write_text(json.dumps(data))
    return path


PADDING = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
TRUNCATION = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize(
    "setting", [{"padding": PADDING | {"strategy": {"Fixed": 10**9}}}, {"truncation": TRUNCATION}], ids=str
)
def test_padding_and_truncation_in_the_tokenizer_of_a_run_are_turned_off(
    data: Data, tmp_path: Path, setting: Data
) -> None:
    path = write(tmp_path / "a.json", data | setting)
    assert len(Tokenizer.load(path).encode("some text")) == 9


def test_of_a_name_that_the_file_has_twice_only_the_checked_one_is_built(data: Data, tmp_path: Path) -> None:
    """The library would take both lists of added tokens."""
    text = json.dumps(data)
    assert '"added_tokens": []' in text
    many = json.dumps(changed(data, add_tokens(5))["added_tokens"])
    path = tmp_path / "a.json"
    path.write_text(text.replace('"added_tokens": []', f'"added_tokens": {many}, "added_tokens": []'))
    assert Tokenizer.load(path).vocab_size == Tokenizer.load(write(tmp_path / "b.json", data)).vocab_size


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "7", '{"model": []}'])
def test_json_that_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is nested too deeply|it has no model"):
        parse(text)


def test_steps_and_patterns_are_found_within_sequences() -> None:
    data = {"normalizer": sequence([sequence([replace("a", "b", "Regex")]), {"type": "NFC"}])}
    assert [step["type"] for step in steps(data, "normalizer")] == ["Replace", "NFC"]
    assert list(patterns(data)) == ["a"]


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run()


BACKTRACKS = "(a+)+$", "a" * 40 + "!"


def test_a_regular_expression_that_backtracks_without_end_is_named(run: Run, capfd: Any) -> None:
    pattern, text = BACKTRACKS
    data = json.loads((run.path / TOKENIZER).read_text())
    split(pattern)(data)
    tokenizer = Tokenizer.load(write(run.path / TOKENIZER, data))
    assert tokenizer.encode("The").tolist()  # on other texts it works
    for encode in (tokenizer.encode, tokenizer.encode_with_starts):
        with pytest.raises(
            TokenizerError, match=r"retry-limit.*its regular expression '\(a\+\)\+\$' is at fault"
        ):
            encode(text)
    assert capfd.readouterr().err == ""


def fill(run: Run, case: str) -> list[str]:
    """Make the tokenizer of a run hostile; returns what else `textgen sample` is given."""
    path = run.path / TOKENIZER
    data = json.loads(path.read_text())
    if case == "regex":
        split(BACKTRACKS[0])(data)
    elif case == "padding":
        data["padding"] = PADDING | {"strategy": {"Fixed": 10**9}}
    elif case == "added":
        add_tokens(1_000_000)(data)
    else:
        data["model"]["vocab"] |= {
            f"a long token, number {number}": 400 + number for number in range(1_500_000)
        }
    write(path, data)
    return ["--prompt", BACKTRACKS[1]] if case == "regex" else []


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a child as Linux gives it")
@pytest.mark.parametrize("case", ["regex", "padding", "added", "vocabulary"])
def test_sample_answers_soon_and_in_little_memory(run: Run, case: str) -> None:
    arguments = fill(run, case)
    # Of the process itself; getrusage would count what it was forked from.
    code = (
        "import textgen.cli\n"
        "try:\n    textgen.cli.main()\n"
        "finally:\n    status = open('/proc/self/status').read()\n"
        "    print(status.split('VmHWM:')[1].split()[0], file=textgen.cli.sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "sample", str(run.path), "--max-new-tokens", "5", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *lines, kilobytes = done.stderr.splitlines()
    assert len(lines) == (case != "padding"), done.stderr
    assert done.returncode == (case != "padding")
    assert int(kilobytes) * 1024 < 300 * MEGABYTE
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_a_file_that_is_too_long_is_not_read_to_its_end(run: Run, cli: Cli) -> None:
    with (run.path / TOKENIZER).open("ab") as file:
        file.truncate(100 * MAX_BYTES)  # sparse
    assert "larger than 41 MB" in cli("sample", run.path).only_error
