import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator
from textgen.text.split import hashed_documents, spread


def corpus_of(*paths, **settings):
    settings = {"documents": "line", "val_order": "hash"} | settings
    return Corpus(DataConfig(corpus=tuple(map(str, paths)), **settings))


def documents_of(corpus, part):
    text = "".join("\n" if isinstance(item, Separator) else item for item in corpus.stream(part))
    return text.split("\n")


def names(count, seed=1):
    letters = random.Random(seed)
    return ["".join(letters.choices("abcdefgh", k=letters.randint(3, 9))) for _ in range(count)]


def write_lines(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_about_a_tenth_of_the_documents_is_held_out_whatever_their_order(tmp_path):
    lines = sorted(set(names(4000)))
    sorted_lines = corpus_of(write_lines(tmp_path / "a.txt", lines))
    random.Random(2).shuffle(lines)
    shuffled = corpus_of(write_lines(tmp_path / "b.txt", lines))
    held_out = documents_of(sorted_lines, "val")
    assert 0.08 * len(lines) < len(held_out) < 0.12 * len(lines)
    assert set(held_out) == set(documents_of(shuffled, "val"))
    assert sorted(held_out + documents_of(sorted_lines, "train")) == sorted(lines)
    assert documents_of(shuffled, "train") == [line for line in lines if line not in set(held_out)]
    # A sorted list: both sides have names from its beginning to its end.
    assert {line[0] for line in held_out} == {line[0] for line in lines}


def test_documents_that_are_added_move_no_other_one_across(tmp_path):
    lines = sorted(set(names(2000)))
    few = corpus_of(write_lines(tmp_path / "a.txt", lines[::2]))
    all_of_them = corpus_of(write_lines(tmp_path / "b.txt", lines))
    assert set(documents_of(few, "val")) == set(documents_of(all_of_them, "val")) & set(lines[::2])


def test_equal_documents_stay_on_one_side_also_in_other_files_and_formats(tmp_path):
    lines = names(300)
    write_lines(tmp_path / "a.txt", lines)
    write_lines(tmp_path / "b.txt", lines[::-1])
    records = [json.dumps({"text": line}) for line in lines]
    write_lines(tmp_path / "c.jsonl", records)
    corpus = corpus_of(tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.jsonl", field="text")
    train, val = documents_of(corpus, "train"), documents_of(corpus, "val")
    assert not set(train) & set(val)
    assert len(train) + len(val) == 900
    assert set(val) == set(documents_of(corpus_of(tmp_path / "a.txt"), "val"))


def test_blocks_and_whole_files_are_documents_too(tmp_path):
    stories = [f"{name}\nand {name}" for name in sorted(set(names(200)))]
    (tmp_path / "a.txt").write_text("\n\n".join(stories))
    for number, story in enumerate(stories):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / f"{number}.txt").write_text(story)
    blocks = corpus_of(tmp_path / "a.txt", documents="block")
    files = corpus_of(tmp_path / "folder", documents="file")
    texts = [
        "".join("|" if isinstance(i, Separator) else i for i in c.stream("val")) for c in (blocks, files)
    ]
    assert set(texts[0].split("|")) == set(texts[1].split("|")) < set(stories)


@given(st.sets(st.text("abc", min_size=2, max_size=5), min_size=2, max_size=12), st.floats(0.001, 0.999))
def test_each_side_has_at_least_one_document(tmp_path_factory, lines, fraction):
    path = write_lines(tmp_path_factory.mktemp("few") / "a.txt", sorted(lines) * 2)
    corpus = corpus_of(path, val_fraction=fraction)
    train, val = set(documents_of(corpus, "train")), set(documents_of(corpus, "val"))
    assert train
    assert val
    assert train | val == lines
    assert not train & val


def test_a_single_document_is_cut_near_its_end(tmp_path):
    corpus = corpus_of(write_lines(tmp_path / "a.txt", ["abcdefghijklmnopqrst"]))
    assert documents_of(corpus, "val") == ["st"]
    equal = corpus_of(write_lines(tmp_path / "b.txt", ["abcd"] * 40))
    assert len(documents_of(equal, "val")) == 4


def test_records_are_counted_once_where_the_end_is_cut_after_all(tmp_path):
    record = {"text": "abcdefghijklmnopqrst"}
    write_lines(tmp_path / "a.jsonl", [json.dumps(record), json.dumps({"text": None})])
    corpus = corpus_of(tmp_path / "a.jsonl", documents="file", field="text")
    assert (corpus.record_count.read, corpus.record_count.null) == (2, 1)


def test_validation_of_a_large_text_has_about_so_many_characters_spread_over_it(tmp_path):
    lines = sorted(set(names(20_000)))
    path = write_lines(tmp_path / "a.txt", lines)
    whole, part = corpus_of(path), corpus_of(path, val_characters=5000)
    assert documents_of(whole, "train") == documents_of(part, "train")
    read = documents_of(part, "val")
    assert 4500 < sum(map(len, read)) <= 5000
    assert set(read) < set(documents_of(whole, "val"))
    assert {line[0] for line in read} == set("abcdefgh")
    assert part.held_out_characters == sum(map(len, documents_of(whole, "val")))


def test_validation_at_the_end_is_read_in_slices_spread_over_it(tmp_path):
    text = "".join(f"{number:07}\n" for number in range(100_000))
    (tmp_path / "a.txt").write_text(text)
    corpus = corpus_of(
        tmp_path / "a.txt", documents="file", val_order="end", val_fraction=0.5, val_characters=60_000
    )
    assert "".join(corpus.stream("train")) == text[:400_000]
    read = "".join(corpus.stream("val"))
    assert len(read) == 60_000
    assert read.startswith(text[400_000:420_000])
    assert read.endswith(text[-20_000:])
    assert corpus.held_out_characters == 400_000


def test_a_large_validation_file_is_read_in_part_too(tmp_path):
    lines = sorted(set(names(3000)))
    write_lines(tmp_path / "train.txt", ["one", "two"])
    val = write_lines(tmp_path / "val.txt", lines)
    by_line = corpus_of(tmp_path / "train.txt", val=str(val), val_characters=2000, val_order="end")
    read = documents_of(by_line, "val")
    assert sum(map(len, read)) <= 2000
    assert set(read) < set(lines)
    as_text = corpus_of(
        tmp_path / "train.txt", val=str(val), val_characters=2000, documents="file", val_order="end"
    )
    assert len("".join(as_text.stream("val"))) == 2000


def test_without_validation_all_text_is_for_training(tmp_path):
    lines = names(50)
    corpus = corpus_of(write_lines(tmp_path / "a.txt", lines), val_fraction=0.0)
    assert corpus.parts == ("train",)
    assert documents_of(corpus, "train") == lines


def test_another_run_with_the_same_held_out_documents_did_not_train_on_them(tmp_path):
    path = write_lines(tmp_path / "a.txt", sorted(set(names(500))))
    other = write_lines(tmp_path / "b.txt", sorted(set(names(500, seed=2))))
    run = corpus_of(path)
    assert not corpus_of(path, other).validates_on_training_text_of(run)
    assert not corpus_of(path, val_fraction=0.05).validates_on_training_text_of(run)
    assert corpus_of(path, val_fraction=0.2).validates_on_training_text_of(run)
    assert corpus_of(path, val_order="end").validates_on_training_text_of(run)
    assert corpus_of(path, documents="file").validates_on_training_text_of(run)


def test_the_split_is_part_of_the_fingerprint(tmp_path):
    path = write_lines(tmp_path / "a.txt", names(50))
    variants = [
        {},
        {"val_order": "end"},
        {"val_characters": 100},
        {"val_fraction": 0.2},
        {"val_fraction": 0.0},
    ]
    assert len({corpus_of(path, **settings).fingerprint for settings in variants}) == len(variants)


@pytest.mark.slow
def test_a_very_long_document_and_many_short_ones_need_little_memory(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("w") as file:
        file.write("x" * 3_000_000 + "\n")
        for number in range(4_000):
            file.write(f"{number}\n")
    corpus = corpus_of(path)
    assert corpus.fingerprint
    tracemalloc.start()
    for part in corpus.parts:
        for _ in corpus.stream(part):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


def test_a_document_has_the_hash_of_its_content_however_it_arrives_in_pieces():
    whole = list(hashed_documents(["one", Separator(1, 1), "two"]))
    pieces = list(hashed_documents(["o", "ne", Separator(2, 2, 2), "t", "w", "o"]))
    assert whole == pieces
    assert [characters for _, characters in whole] == [3, 3]
    assert whole[0] != whole[1]
    assert list(hashed_documents([])) == []


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_slices_lie_in_order_within_the_range_and_hold_about_the_characters(start, length, characters):
    slices = spread(start, start + length, characters)
    flat = np.array(slices).ravel()
    assert flat[0] == start or len(slices) == 1
    assert (np.diff(flat) >= 0).all()
    assert start <= flat[0]
    assert flat[-1] <= start + length
    held = sum(stop - begin for begin, stop in slices)
    assert min(length, characters) - len(slices) < held <= min(length, characters)


def test_too_little_text_on_a_side_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"too little (train|val) text, 1 character"):
        corpus_of(write_lines(tmp_path / "a.txt", ["a", "b"])).size("train")
