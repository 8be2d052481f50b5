import numpy as np
import pytest

from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.encoding import encode_corpus
from textgen.text.tokenizer import Tokenizer


@pytest.fixture
def corpus(tmp_path):
    """Two sources of lines, some of them of the same text, one of them empty to a tokenizer of words."""
    rng = np.random.default_rng(0)
    for name in ("a.txt", "b.txt"):
        lines = [
            " ".join(rng.choice(["one", "two", "three", "é"], size=rng.integers(1, 9))) for _ in range(700)
        ]
        (tmp_path / name).write_text("\t\n" + "\n\n".join(lines), encoding="utf-8")
    paths = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    return Corpus(DataConfig(corpus=paths, documents="line", val_order="hash", val_characters=1000))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_parts_that_are_read_together_have_the_tokens_and_sizes_of_each_read_alone(kind, corpus, tmp_path):
    assert corpus.interleaved is not None
    tokenizer = Tokenizer.train(kind, corpus.stream("train"))
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    reported = []
    written = encode_corpus(tmp_path, corpus, tokenizer, counts, lambda *progress: reported.append(progress))
    for name, part in written.items():
        alone = np.concatenate([*tokenizer.encode_stream(corpus.stream(name))])
        assert np.fromfile(tmp_path / f"{name}.bin", part.dtype).tolist() == alone.tolist()
        assert part.meter.size == corpus.size(name)
        if name == "train":
            assert counts.tolist() == np.bincount(alone, minlength=len(counts)).tolist()
    read = corpus.characters("train") + corpus.characters("val")
    assert reported[-1] == ("encoding", read, read)


def test_a_text_in_order_is_read_part_by_part(tmp_path):
    (tmp_path / "a.txt").write_text("one two three " * 100)
    assert Corpus(DataConfig(corpus=(str(tmp_path / "a.txt"),))).interleaved is None


def test_many_documents_fill_several_blocks(tmp_path):
    """The last block of each source is not full."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(map(str, range(70_000))))
    paths = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    corpus = Corpus(DataConfig(corpus=paths, documents="line", val_order="hash"))
    tokenizer = Tokenizer.train("char", ["0123456789"])
    written = encode_corpus(tmp_path, corpus, tokenizer, np.zeros(tokenizer.vocab_size, np.int64), None)
    assert sum(part.meter.size.documents for part in written.values()) == 140_000
    for name, part in written.items():
        alone = np.concatenate([*tokenizer.encode_stream(corpus.stream(name))])
        assert np.array_equal(np.fromfile(tmp_path / f"{name}.bin", part.dtype), alone)
