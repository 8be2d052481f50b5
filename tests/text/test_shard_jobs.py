"""Shards that several processes make, and processes that are killed."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.shard_encoding import encode_shard, is_complete, remove_unfinished
from textgen.text.shard_jobs import encode_shards
from textgen.text.shard_planner import make_plan
from textgen.text.tokenizer import Tokenizer


def plan_of(folder, words, shard_characters):
    (folder / "a.txt").write_text("some words and a line\n" * words)
    corpus = Corpus(DataConfig(corpus=(str(folder / "a.txt"),)))
    tokenizer = Tokenizer.train("bpe", corpus.stream("train"), vocab_size=270)
    return make_plan(corpus, tokenizer, {}, shard_characters=shard_characters)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_processes_make_the_same_files(tmp_path):
    plan = plan_of(tmp_path, 2000, 5000)
    indices = range(len(plan.shards))
    reported = []
    for index in indices:
        encode_shard(plan, index, tmp_path / "one")
    (tmp_path / "two").mkdir()
    encode_shards(plan, indices, tmp_path / "two", 2, lambda *progress: reported.append(progress))
    encode_shards(plan, [], tmp_path / "two", 2)  # all are there already
    assert content(tmp_path / "two") == content(tmp_path / "one")
    total = sum(shard.characters for shard in plan.shards)
    assert reported[-1] == ("encoding", total, total)


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
def test_a_killed_process_is_one_line_and_what_is_complete_stays(tmp_path):
    plan = plan_of(tmp_path, 20000, 4000)
    folder = tmp_path / "made"
    folder.mkdir()

    others = set(multiprocessing.active_children())  # of other tests

    def kill():
        while not any(folder.glob("shard-*.json")):
            time.sleep(0.01)
        os.kill(next(iter(set(multiprocessing.active_children()) - others)).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(CorpusError, match="was killed, perhaps for lack of memory; repeat the command"):
        encode_shards(plan, range(len(plan.shards)), folder, 2)
    killer.join()
    assert set(multiprocessing.active_children()) <= others
    complete = [index for index in range(len(plan.shards)) if is_complete(plan, index, folder)]
    assert 0 < len(complete) < len(plan.shards)
    remove_unfinished(folder)
    assert not list(folder.glob(".*"))


def test_an_error_in_a_process_is_that_error(tmp_path):
    plan = plan_of(tmp_path, 2000, 5000)
    text = (tmp_path / "a.txt").read_text()
    (tmp_path / "a.txt").write_text(text.replace("words", "wordy"))
    with pytest.raises(CorpusError, match=r"a\.txt: has changed since the shards were planned"):
        encode_shards(plan, range(len(plan.shards)), tmp_path, 2)
    assert not list(tmp_path.glob("*.bin"))
