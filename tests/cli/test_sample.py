"""`textgen sample`, mostly as a real process: what it prints, writes and refuses."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import click
import numpy as np
import pytest

from textgen.api import load
from textgen.cli.sample import command, read_escapes
from textgen.cli.support.output import as_text, show
from textgen.errors import ConfigError, TextgenError
from textgen.generation.generator import Generator
from textgen.generation.sample import Sample
from textgen.run import Run
from textgen.settings.config import SampleConfig
from textgen.system.threads import available_processors

SHORT = ("--max-new-tokens", "30", "--seed", "1")


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
ENDLESS = ("--max-new-tokens", str(10**9))
posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals as POSIX has them")


def textgen(*arguments, input=None, cwd=None, program=("-m", "textgen"), **environment):
    """Run `textgen sample` as a process of its own and return it finished, its output as bytes."""
    return subprocess.run(
        [sys.executable, *program, "sample", *map(str, arguments)],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        cwd=cwd,
        env=ENVIRONMENT | environment,
        timeout=60,
        check=False,
    )


def started(*arguments, **streams):
    """`textgen sample` as a running process."""
    return subprocess.Popen(
        [sys.executable, "-m", "textgen", "sample", *map(str, arguments)], env=ENVIRONMENT, **streams
    )


@pytest.fixture
def sample(invoke):
    """Run `textgen sample` in this process: its standard output. Errors are raised."""
    return lambda *arguments, input=None: invoke("sample", *arguments, input=input).stdout


@pytest.fixture
def run(make_run):
    return make_run()


# ---- what is printed


def test_the_output_is_prompt_text_and_a_newline(run):
    expected = "".join(Generator.from_run(run).stream("The ", seed=1, config=SampleConfig(max_new_tokens=30)))
    process = textgen(run.path, "--prompt", "The ", *SHORT)
    assert process.returncode == 0, process.stderr
    assert process.stdout.decode() == f"The {expected}\n"
    assert process.stderr == b""


def test_no_prompt_leaves_the_prompt_out(sample, run):
    with_prompt = sample(run.path, "--prompt", "The ", *SHORT)
    assert "The " + sample(run.path, "--prompt", "The ", "--no-prompt", *SHORT) == with_prompt


def test_a_text_that_ends_with_a_newline_gets_no_second_one(sample, run):
    generator = Generator.from_run(run)
    text = "".join(generator.stream("The ", seed=1, config=SampleConfig(max_new_tokens=500)))
    newline = text.index("\n") + 1
    assert (
        sample(run.path, "--prompt", "The ", "--seed", 1, "--max-new-tokens", newline)
        == f"The {text[:newline]}"
    )


def test_the_same_seed_gives_the_same_text_and_without_one_it_differs(sample, run):
    texts = [sample(run.path, *seed) for seed in (["--seed", 3], ["--seed", 3], ["--seed", 4], [], [])]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


@pytest.mark.parametrize(
    "option",
    [
        ("--max-new-tokens", 7),
        ("--temperature", 0.1),
        ("--top-k", 2),
        ("--top-p", 0.1),
        ("--min-p", 0.9),
        ("--repetition-penalty", 5),
        ("--prompt", "The"),
        ("--stop", "e"),
        ("--num-samples", 2),
    ],
    ids=str,
)
def test_every_option_changes_the_output(sample, run, option):
    assert sample(run.path, "--seed", 1, *option) != sample(run.path, "--seed", 1)


def test_several_samples_have_headings_between_them(sample, run):
    output = sample(run.path, "--prompt", "The ", "--num-samples", 3, *SHORT)
    config = SampleConfig(max_new_tokens=30)
    texts = [s.text for s in Generator.from_run(run).generate("The ", num_samples=3, seed=1, config=config)]
    rule = "-" * 12
    expected = [f"The {text}\n" for text in texts]
    assert not any(text.endswith("\n") for text in texts)
    assert output == (
        f"{expected[0]}{rule} sample 2 of 3 {rule}\n{expected[1]}{rule} sample 3 of 3 {rule}\n{expected[2]}"
    )


def test_no_prompt_also_applies_to_several_samples_and_to_files(sample, run, tmp_path):
    for more in (("--num-samples", 2), ("--output", tmp_path / "text.txt")):
        shown = sample(run.path, "--prompt", "<<", "--no-prompt", *SHORT, *more)
        assert "<<" not in shown
    assert "<<" not in (tmp_path / "text.txt").read_text()


def test_newlines_are_written_untranslated(run, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", newline="\r\n"))
    command.main([str(run.path), "--prompt", "a\r\nb\n", *SHORT], standalone_mode=False)
    assert written.getvalue().startswith(b"a\r\nb\n")


def test_stop_strings_end_the_text_and_are_not_printed(sample, run):
    text = sample(run.path, "--no-prompt", "--seed", 1, "--max-new-tokens", 500)
    first_line = text[: text.index("\n")]
    stopped = sample(run.path, "--no-prompt", "--seed", 1, "--stop", "never written", "--stop", r"\n")
    assert stopped == first_line + "\n"


def test_prompt_and_stop_have_four_escapes():
    assert read_escapes(r"a\nb\tc\\n\d\x41\\") == "a\nb\tc\\n\\d\\x41\\"


def test_escapes_in_a_prompt_are_replaced(sample, run):
    assert sample(run.path, "--prompt", r"The\n\tdog", *SHORT).startswith("The\n\tdog")


def test_a_prompt_file_is_read_as_it_is(run, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"The\r\n\\n 42\n")
    content = textgen(run.path, "--prompt-file", file, *SHORT).stdout
    assert content.startswith(b"The\r\n\\n 42\n")
    assert textgen(run.path, "--prompt-file", "-", *SHORT, input=file.read_bytes()).stdout == content


def test_a_byte_order_mark_is_not_part_of_a_prompt_file(sample, run, tmp_path):
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_bytes(b"The ")
    marked.write_bytes(b"\xef\xbb\xbfThe ")
    assert sample(run.path, "--prompt-file", marked, *SHORT) == sample(
        run.path, "--prompt-file", plain, *SHORT
    )


def test_unseen_characters_in_a_prompt_are_printed_and_do_no_harm(run):
    process = textgen(run.path, "--prompt", "日本 🙂 שלום", *SHORT)
    assert process.returncode == 0, process.stderr
    assert process.stdout.decode().startswith("日本 🙂 שלום")


@pytest.mark.parametrize(
    ("encoding", "expected", "count"),
    [
        ("latin-1", "naïve ? ??", 3),
        ("cp1252", "naïve ? ??", 3),
        ("ascii", "na?ve ? ??", 4),
        ("utf-8", "naïve 🙂 日本", 0),
    ],
)
def test_characters_that_the_output_cannot_encode_become_question_marks_which_is_said(
    run, encoding, expected, count
):
    arguments = (run.path, "--prompt", "naïve 🙂 日本", "--max-new-tokens", "1", "--seed", "1")
    process = textgen(*arguments, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(expected.encode(encoding))
    said = [line for line in process.stderr.decode().splitlines() if "--output" in line]
    assert len(said) == (count > 0)
    if said:
        assert said[0].startswith(f"{count} of the characters are not in ")


# ---- which run


def test_without_a_run_the_newest_one_with_weights_is_used(sample, make_run, tmp_path):
    make_run("old")
    newer = make_run("newer", seed=9)
    unfinished = make_run("unfinished")
    for age, directory in enumerate(["unfinished", "newer", "old"]):
        weights = tmp_path / "runs" / directory / "model.safetensors"
        os.utime(weights, (1_000_000 - age, 1_000_000 - age))
    (unfinished.path / "model.safetensors").unlink()
    process = textgen(*SHORT, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.decode() == sample(newer.path, *SHORT)
    assert process.stderr.decode() == f"run: {Path('runs/newer')}\n"


def test_without_any_run_one_line_says_what_to_do(tmp_path):
    process = textgen(cwd=tmp_path)
    assert process.returncode == 1
    assert process.stdout == b""
    assert "textgen train" in process.stderr.decode()
    assert process.stderr.count(b"\n") == 1


# ---- files and JSON


def test_output_is_written_to_a_file_and_nothing_to_standard_output(sample, run, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("old")
    assert sample(run.path, "--prompt", "é\r\n", "--output", file, *SHORT) == ""
    assert file.read_bytes().decode() == sample(run.path, "--prompt", "é\r\n", *SHORT)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["text.txt"]


@posix
def test_an_output_file_keeps_its_permissions(sample, run, tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o600)
    sample(run.path, "--output", path, *SHORT)
    assert path.read_text() != "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_json_can_be_written_to_the_file(sample, run, tmp_path):
    file = tmp_path / "text.json"
    sample(run.path, "--json", "--output", file, *SHORT)
    assert json.loads(file.read_text()) == json.loads(sample(run.path, "--json", *SHORT))


def test_a_link_is_kept_and_its_target_written(sample, run, tmp_path):
    file, link = tmp_path / "text.txt", tmp_path / "link.txt"
    file.write_text("old")
    link.symlink_to(file)
    sample(run.path, "--output", link, *SHORT)
    assert link.is_symlink()
    assert file.read_text() == sample(run.path, *SHORT)


@pytest.mark.parametrize("place", [".", "missing/text.txt"])
def test_an_output_that_cannot_be_written_is_refused_before_sampling(sample, run, tmp_path, place):
    with pytest.raises(ConfigError, match="--output"):
        sample(run.path, "--output", tmp_path / place)


@posix
def test_a_loop_of_links_is_refused(sample, run, tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="--output"):
        sample(run.path, "--output", tmp_path / "a")


@posix
def test_a_device_or_pipe_is_never_replaced_by_a_file(sample, run, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="not a file"):
        sample(run.path, "--output", pipe)
    assert pipe.is_fifo()


def test_a_failed_write_leaves_the_old_file(sample, run, tmp_path, monkeypatch):
    file = tmp_path / "text.txt"
    file.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TextgenError, match="No space left"):
        sample(run.path, "--output", file, *SHORT)
    assert file.read_text() == "old"


def test_json_has_run_seed_settings_and_samples(sample, run):
    arguments = ("--prompt", "Ü\\n", "--num-samples", 2, "--top-k", 5, "--stop", "!", *SHORT)
    report = json.loads(sample(run.path, "--json", *arguments))
    assert report.keys() == {"run", "seed", "settings", "samples"}
    assert report["run"] == str(run.path)
    assert report["seed"] == 1
    settings = {"temperature": 0.8, "top_k": 5, "top_p": None, "max_new_tokens": 30, "stop": ["!"]}
    assert settings.items() <= report["settings"].items()
    config = SampleConfig(max_new_tokens=30, top_k=5)
    expected = Generator.from_run(run).generate("Ü\n", num_samples=2, seed=1, stop=["!"], config=config)
    for found, one in zip(report["samples"], expected, strict=True):
        assert found == json.loads(json.dumps(one.__dict__))
        assert found.keys() == {"prompt", "text", "tokens", "token_ids", "log_probabilities", "finish_reason"}


def test_the_seed_that_json_reports_gives_the_text_again(sample, run):
    report = json.loads(sample(run.path, "--json"))
    again = json.loads(sample(run.path, "--json", "--seed", report["seed"]))
    assert again["samples"] == report["samples"]


def test_json_is_one_object_and_everything_else_goes_to_standard_error(make_run, tmp_path):
    make_run()
    process = textgen("--json", *SHORT, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert json.loads(process.stdout)["run"] == str(Path("runs/tiny"))
    assert process.stdout.count(b"\n") == 1
    assert process.stderr.startswith(b"run: ")


# ---- interactive


def test_in_interactive_mode_every_line_is_a_prompt_until_end_of_file(sample, run):
    output = textgen(run.path, "--interactive", *SHORT, input=b"The \nWhy\\n\n")
    assert output.returncode == 0, output.stderr
    first = sample(run.path, "--prompt", "The ", "--max-new-tokens", 30, "--seed", 1)
    second = sample(run.path, "--prompt", "Why\\n", "--max-new-tokens", 30, "--seed", 2)
    assert output.stdout.decode() == first + second
    assert b">" not in output.stderr  # standard input is no terminal


def test_prompts_from_windows_are_read_without_line_ends_and_byte_order_mark(sample, run):
    expected = sample(run.path, "--interactive", *SHORT, input="The \nWhy\n")
    assert sample(run.path, "--interactive", *SHORT, input="\ufeffThe \r\nWhy\r\n") == expected


@posix
def test_closed_standard_input_is_empty(run):
    command = f"{sys.executable} -m textgen sample {run.path} --prompt-file - --max-new-tokens 5 <&-"
    done = subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_same_prompt_again_gives_another_text_and_the_same_session_the_same(sample, run):
    session = sample(run.path, "--interactive", *SHORT, input="The \nThe \n")
    first, second = session.split("The ")[1:]
    assert first != second
    assert sample(run.path, "--interactive", *SHORT, input="The \nThe \n") == session


def test_each_answer_is_there_before_the_next_prompt_is_read(run):
    arguments = (run.path, "--interactive", "--stop", "\\n")
    with started(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for prompt in (b"The \n", b"Why\n"):
            process.stdin.write(prompt)
            process.stdin.flush()
            assert process.stdout.readline().startswith(prompt[:3])
        process.stdin.close()
        assert process.wait(20) == 0


# ---- refusals, each in one line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "a", "--prompt-file", "b"], "--prompt-file does not go with --prompt"),
        (["--interactive", "--prompt", "a"], "--interactive does not go with --prompt"),
        (["--interactive", "--prompt-file", "-"], "--interactive does not go with --prompt-file"),
        (["--interactive", "--json"], "--interactive does not go with --json"),
        (["--interactive", "--output", "a"], "--interactive does not go with --output"),
        (["--json", "--no-prompt"], "--json does not go with --no-prompt"),
        (["--temperature", "-1"], "'--temperature': -1.0 must be 0 or more"),
        (["--temperature", "nan"], "--temperature"),
        (["--top-k", "0"], "--top-k"),
        (["--top-p", "1.5"], "--top-p"),
        (["--num-samples", "0"], "num-samples"),
        (["--seed", "-1"], "seed"),
        (["--stop", ""], "stop"),
        (["--prompt-file", "missing.txt"], "missing.txt"),
    ],
    ids=" ".join,
)
def test_options_that_contradict_or_are_out_of_range_are_refused(sample, run, arguments, message):
    with pytest.raises((ConfigError, click.ClickException)) as refused:
        sample(run.path, *arguments)
    error = refused.value
    assert message in (str(error) if isinstance(error, ConfigError) else error.format_message())
    assert error.exit_code == 2


def test_a_missing_device_is_refused(sample, run, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda"):
        sample(run.path, "--device", "cuda")


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("cpu", MemoryError()),
        ("auto", MemoryError()),
        ("auto", RuntimeError("DefaultCPUAllocator: not enough memory")),
    ],
    ids=str,
)
def test_too_many_texts_for_memory_is_a_one_line_error_that_names_the_option(
    sample, run, monkeypatch, device, error
):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Generator, "complete", refuse)
    advice = "fewer --max-new-tokens" if device == "cpu" else "--device cpu"
    with pytest.raises(
        TextgenError, match=f"^out of memory: .* use fewer --num-samples than 1,000, or {advice}$"
    ):
        sample(run.path, "--num-samples", 1000, "--device", device)


@pytest.mark.parametrize("where", ["from_run", "stream_request"])
def test_a_gpu_without_enough_memory_is_a_one_line_error(sample, run, monkeypatch, where):
    import torch

    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(
        Generator, where, (lambda *_, **__: next(refuse())) if where == "from_run" else refuse
    )
    with pytest.raises(TextgenError, match=r"^out of memory: .* use --device cpu$"):
        sample(run.path, "--device", "auto")


def test_a_prompt_file_that_is_not_utf_8_names_the_byte(sample, run, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"abc\xff")
    with pytest.raises(ConfigError, match="byte 3"):
        sample(run.path, "--prompt-file", file)


def test_an_error_is_one_line_without_a_traceback(run):
    process = textgen(run.path, "--temperature", "-1")
    assert process.returncode == 2
    assert process.stdout == b""
    assert process.stderr.startswith(b"textgen: Invalid value for '--temperature'")
    assert process.stderr.count(b"\n") == 1


@posix
def test_a_prompt_that_is_not_valid_text_is_a_one_line_error(run):
    process = textgen(run.path, "--prompt", os.fsdecode(b"a\xffb"), PYTHONUTF8="1")
    assert process.returncode == 1
    assert process.stderr.count(b"\n") == 1
    assert b"Traceback" not in process.stderr


# ---- processes


def test_sampling_on_a_cpu_loads_no_torch(run):
    program = (
        "import sys\nfrom textgen.cli import main\nmain()\nsys.exit(3 if 'torch' in sys.modules else 0)\n"
    )
    process = textgen(run.path, *SHORT, program=("-c", program))
    assert process.returncode == 0, process.stderr.decode()
    assert process.stdout


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, str(min(2, available_processors()))),
        ({"OMP_NUM_THREADS": "5"}, "5"),
        ({"OPENBLAS_NUM_THREADS": "2"}, "None"),
    ],
    ids=str,
)
def test_numpy_uses_at_most_two_threads_unless_the_user_sets_more(run, variables, threads):
    program = (
        "import os, sys\nfrom textgen.cli import main\nmain()\n"
        "assert 'numpy' in sys.modules\nprint(os.environ.get('OMP_NUM_THREADS'), file=sys.stderr)\n"
    )
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.endswith("_NUM_THREADS")}
    process = subprocess.run(
        [sys.executable, "-c", program, "sample", run.path, *SHORT],
        capture_output=True,
        env=environment | variables,
        timeout=60,
        check=True,
    )
    assert process.stderr.decode().strip() == threads


@posix
def test_after_ctrl_c_the_text_so_far_is_kept_and_the_exit_code_is_130(run):
    with started(run.path, *ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen = process.stdout.read(1)  # sampling has begun
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(seen + rest) > 100
    assert rest.endswith(b"\n")
    assert errors.strip() == b"textgen: interrupted"


@posix
def test_a_closed_pipe_ends_the_command_silently(run):
    with started(run.path, *ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        process.wait(20)
        assert process.stderr.read() == b""


class Screen(io.StringIO):
    """A terminal, or a pipe, that counts how often it is flushed."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal, self.flushes = terminal, 0

    def isatty(self):
        return self.terminal

    def flush(self):
        self.flushes += 1


@pytest.mark.parametrize(("terminal", "expected"), [(True, 30), (False, 1)])
def test_output_is_flushed_thirty_times_a_second_to_a_terminal_and_once_to_a_pipe(
    terminal, expected, monkeypatch
):
    clock = iter(range(10**6))
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr("time.monotonic", lambda: next(clock) / 3000)
    show("x" for _ in range(2990))  # in a second, or what the command takes for one
    assert screen.getvalue() == "x" * 2990 + "\n"
    assert 0.9 * expected <= screen.flushes <= expected + 1


@posix
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["", "PYTHONUNBUFFERED"])
def test_a_pipe_gets_text_in_blocks(run, unbuffered, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "PYTHONUNBUFFERED", unbuffered)
    with started(run.path, *ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pieces = [os.read(process.stdout.fileno(), 1 << 16) for _ in range(6)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
    sizes = sorted(map(len, pieces))
    assert sizes[1] >= 50  # the first character may be a block of its own
    assert unbuffered or sizes[0] >= 4096


@posix
def test_a_terminal_gets_text_as_it_is_generated(run):
    import pty

    controller, terminal = pty.openpty()
    with started(run.path, *ENDLESS, stdout=terminal, stderr=subprocess.PIPE) as process:
        os.close(terminal)
        pieces = [os.read(controller, 1 << 16) for _ in range(5)]
        process.send_signal(signal.SIGINT)
        while True:
            try:
                if not os.read(controller, 1 << 16):
                    break
            except OSError:  # Linux: the other end is closed
                break
        assert process.wait(20) == 130
    os.close(controller)
    assert 0 < len(pieces[0]) < 2000  # not a block of kilobytes, also when the reader was slow


# ---- remarks


def test_prompt_tokens_that_training_never_saw_are_reported(cli):
    sizes = "--hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()
    cli("train", "corpus.txt", "--steps", 12, "--evaluations", 3, *sizes)
    known = cli("sample", "runs/corpus", "--prompt", "Line 7", "--max-new-tokens", 3)
    assert (known.exit_code, known.stderr) == (0, "")
    strange = cli("sample", "runs/corpus", "--prompt", "Line \u03a9!", "--max-new-tokens", 3)
    assert strange.exit_code == 0
    assert strange.stderr == "3 of the prompt's 8 tokens were never seen in training\n", (
        "two bytes and a mark"
    )
    assert strange.stdout.startswith("Line \u03a9!")


@pytest.fixture
def accented(tmp_path, invoke):
    """Runs on a text with accents, decomposed: `nfd` as it is, `nfc` with --normalize nfc."""
    text = unicodedata.normalize("NFD", "Le café près du château était fermé. " * 60)
    (tmp_path / "text.txt").write_text(text)
    sizes = ["--steps", 3, "--hidden-size", 8, "--embedding-dim", 4, "--batch-size", 4, "--seq-len", 16]
    for form, options in (("nfd", []), ("nfc", ["--normalize", "nfc"])):
        cache = ("--cache-dir", tmp_path / "cache")
        invoke("train", tmp_path / "text.txt", *sizes, *options, "--run", tmp_path / form, *cache)
    return tmp_path


def test_a_prompt_in_another_unicode_form_than_the_training_text_is_said(accented, invoke):
    composed, decomposed = "café", unicodedata.normalize("NFD", "café")
    said = invoke("sample", accented / "nfd", "--prompt", composed, *SHORT).stderr
    assert said.splitlines()[0] == (
        "the prompt is in Unicode form NFC, the training text in NFD: "
        "their accented letters differ; train with --normalize nfc to use either"
    )
    for prompt in (decomposed, "cafe"):
        assert invoke("sample", accented / "nfd", "--prompt", prompt, *SHORT).stderr == ""


def test_prompts_stop_strings_and_scored_texts_are_normalized_as_the_training_text(accented, invoke):
    run = Run(accented / "nfc")
    assert (run.data.normalize, run.config.measured["unicode_form"]) == ("nfc", "nfc")
    texts = ["café é", unicodedata.normalize("NFD", "café é")]
    results = [invoke("sample", run.path, "--prompt", text, *SHORT) for text in texts]
    assert results[0].stderr == results[1].stderr == ""
    assert results[0].stdout.removeprefix(texts[0]) == results[1].stdout.removeprefix(texts[1])
    model = load(run.path)
    assert np.array_equal(*map(model.encode, texts))
    assert len({model.score(text).bits_per_character for text in texts}) == 1
    assert len({invoke("score", run.path, "-", "--lines", input=text).stdout for text in texts}) == 1
    long = model.generate("café", max_new_tokens=400, temperature=2.0, seed=1).text
    accent = next(character for character in long if character in "éèêâ")
    stops = [unicodedata.normalize(form, accent) for form in ("NFC", "NFD")]
    ended = [model.generate("café", max_new_tokens=400, temperature=2.0, seed=1, stop=stop) for stop in stops]
    assert ended[0].text == ended[1].text == long[: long.index(accent)]


# ---- documents, several prompts, distinct texts


@pytest.fixture
def names(tmp_path, invoke):
    """A run that was trained for a moment on a list of names."""
    listed = ["ana", "ben", "cleo", "dan", "ella", "finn", "gus", "ida"]
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in listed * 40))
    run = tmp_path / "names"
    options = ["--documents", "line", "--steps", 60, "--hidden-size", 16, "--embedding-dim", 8]
    invoke("train", tmp_path / "names.txt", *options, "--run", run, "--cache-dir", tmp_path / "cache")
    return run


@pytest.mark.parametrize("target", ["stdout", "file"])
def test_line_documents_are_written_a_line_each_and_nothing_else(invoke, names, tmp_path, target):
    output = ["--output", tmp_path / "out.txt"] if target == "file" else []
    result = invoke("sample", names, "--num-samples", 20, "--seed", 1, *output)
    text = (tmp_path / "out.txt").read_text() if output else result.stdout
    assert len(text.splitlines()) == 20
    assert "sample" not in text


def test_block_documents_have_a_blank_line_between_them():
    samples = [Sample("", text, (), (), (), "length") for text in ("one\ntwo", "three\n")]
    assert as_text(samples, with_prompt=False, documents="block") == "one\ntwo\n\nthree\n"
    assert "sample 2 of 2" in as_text(samples, with_prompt=False, documents="file")


def test_every_line_of_a_prompts_file_is_continued(invoke, names, tmp_path):
    (tmp_path / "prompts.txt").write_text("a\nb\\n\r\nfi\n")
    result = invoke(
        "sample", names, "--prompts", tmp_path / "prompts.txt", "--seed", 3, "--max-new-tokens", 4
    )
    assert result.stdout.startswith("a")
    found = json.loads(
        invoke("sample", names, "--prompts", tmp_path / "prompts.txt", "--num-samples", 2, "--json").stdout
    )
    assert [each["prompt"] for each in found["samples"]] == ["a", "a", "b\n", "b\n", "fi", "fi"]
    typed = invoke(
        "sample", names, "--prompts", "-", "--seed", 3, "--max-new-tokens", 4, input="a\nb\\n\nfi\n"
    )
    assert typed.stdout == result.stdout


def test_the_first_of_several_prompts_is_continued_as_it_is_alone(invoke, names, tmp_path):
    (tmp_path / "prompts.txt").write_text("a\nel\n")
    several = invoke("sample", names, "--prompts", tmp_path / "prompts.txt", "--seed", 3).stdout
    assert several.startswith(invoke("sample", names, "--prompt", "a", "--seed", 3).stdout)


def test_unique_texts_differ_and_novel_ones_are_not_in_the_list(invoke, names, tmp_path):
    listed = set((tmp_path / "names.txt").read_text().split())
    lines = invoke("sample", names, "--num-samples", 12, "--unique", "--seed", 1).stdout.splitlines()
    assert len(set(lines)) == 12
    novel = invoke("sample", names, "--num-samples", 12, "--novel", "--seed", 1).stdout.splitlines()
    assert len(set(novel)) == 12
    assert not set(novel) & listed


def test_too_few_different_texts_are_said(invoke, names):
    result = invoke("sample", names, "--num-samples", 3, "--unique", "--temperature", 0)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.startswith("only 1 of 3 different texts were found in 300 draws")


def test_novel_needs_documents(invoke, run):
    with pytest.raises(ConfigError, match="--novel compares with documents"):
        invoke("sample", run.path, "--novel")


def test_the_middle_of_a_text_and_a_kept_stop_string(invoke, names):
    plain = invoke("sample", names, "--prompt", "e", "--seed", 1).stdout
    assert invoke("sample", names, "--prompt", "e", "--seed", 1, "--mid-text").stdout != plain
    whole = invoke("sample", names, "--seed", 1, "--stop", "a", "--temperature", 1, "--keep-stop").stdout
    assert whole.endswith("a\n")
    with pytest.raises(ConfigError, match="--keep-stop does nothing without --stop"):
        invoke("sample", names, "--keep-stop")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_word_that_the_prompt_cuts_off_goes_on_unless_it_is_switched_off(make_run, sample, streamed):
    """Words that the tokenizer knows are whole tokens, and training saw no letter "q" alone."""
    path = make_run("words", text="The quick brown fox.\n" * 9, kind="word").path
    some = ("--prompt", "The qu", "--seed", 1, "--max-new-tokens", 2)
    several = () if streamed else ("--num-samples", 3)
    assert sample(path, *some, *several).count("The quick") == (1 if streamed else 3)
    assert "The quick" not in sample(path, *some, *several, "--no-heal")
    settings = json.loads(sample(path, *some, "--json", "--no-heal"))["settings"]
    assert settings["heal"] is False


def test_each_line_of_a_prompts_file_is_healed(make_run, sample, tmp_path):
    path = make_run("words", text="The quick brown fox.\n" * 9, kind="word").path
    (tmp_path / "prompts.txt").write_text("The qu\nThe quick bro\nThe quick f\n")
    found = json.loads(sample(path, "--prompts", tmp_path / "prompts.txt", "--json"))["samples"]
    assert [each["tokens"][0] for each in found] == ["quick", "brown", "fox"]
    assert [each["text"][: len(rest)] for each, rest in zip(found, ("ick", "wn", "ox"), strict=True)] == [
        "ick",
        "wn",
        "ox",
    ]
