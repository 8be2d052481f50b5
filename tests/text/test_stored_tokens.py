import hashlib
import os

import numpy as np
import pytest

from textgen.errors import CorpusError
from textgen.system.digests import block_digests
from textgen.text.batches import SequenceBatches
from textgen.text.manifest import Shard
from textgen.text.shuffle import DocumentOrder, StoredOrder
from textgen.text.stored_tokens import StoredTokens

BLOCK_BYTES = 512


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(0, 300, 3000).astype(np.uint16)


@pytest.fixture
def path(tmp_path, ids):
    path = tmp_path / "train.bin"
    path.write_bytes(ids.tobytes())
    return path


def damaged(path, error):
    return CorpusError(f"{path}: {error}; encode it again")


def stored(path, digests=None, length=3000):
    digests = block_digests(path, BLOCK_BYTES) if digests is None else digests
    shards = [Shard(path.name, length, tuple(digests))]
    return StoredTokens(path.parent.joinpath, shards, np.dtype(np.uint16), BLOCK_BYTES, damaged=damaged)


def sharded(folder, ids, lengths, **settings):
    """The ids in shards of these lengths."""
    shards = []
    for number, part in enumerate(np.split(ids, np.cumsum(lengths)[:-1])):
        path = folder / f"train-{number}.bin"
        path.write_bytes(part.tobytes())
        shards.append(Shard(path.name, len(part), tuple(block_digests(path, BLOCK_BYTES))))
    return StoredTokens(folder.joinpath, shards, ids.dtype, BLOCK_BYTES, damaged=damaged, **settings)


def flip(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def test_tokens_are_those_of_the_file(path, ids):
    tokens = stored(path)
    assert len(tokens) == 3000
    assert not tokens.are_checked
    assert np.array_equal(tokens[10:700], ids[10:700])
    places = np.array([[0, 2999], [5, 1000]])
    assert np.array_equal(tokens[places], ids[places])
    assert list(map(int, tokens)) == ids.tolist()
    assert np.array_equal(np.asarray(tokens), ids)
    assert tokens.are_checked


def test_the_order_of_an_epoch_is_the_same_as_from_an_array(path, ids):
    starts = np.array([0, 70, 2000])
    assert np.array_equal(
        StoredOrder(stored(path)).gather(starts, 40)[0], StoredOrder(ids).gather(starts, 40)[0]
    )
    orders = [DocumentOrder(tokens, 7, seed=1, block_tokens=500) for tokens in (stored(path), ids)]
    assert np.array_equal(*(order.gather(starts, 40)[0] for order in orders))


@pytest.mark.parametrize("index", [slice(1000, 1100), np.array([[1030]])])
def test_a_block_is_checked_when_it_is_first_read(path, index):
    digests = block_digests(path, BLOCK_BYTES)
    flip(path, 2060)
    tokens = stored(path, digests)
    assert len(tokens[0:1000]) == 1000
    with pytest.raises(CorpusError, match=r"train.bin: block 4 has changed .*; encode it again"):
        tokens[index]


def test_a_damaged_first_block_or_size_is_an_error_at_once(path):
    digests = block_digests(path, BLOCK_BYTES)
    with pytest.raises(ValueError, match="digests"):
        stored(path, digests[1:])
    with pytest.raises(ValueError, match="6,000 bytes, not 5,998"):
        stored(path, digests, length=2999)
    flip(path, 0)
    with pytest.raises(ValueError, match="block 0"):
        stored(path, digests)


LENGTHS = [700, 1, 299, 1000, 2, 998]


@pytest.mark.parametrize("most_open", [1, 2, 128])
def test_shards_are_indexed_as_the_array_of_all_ids(tmp_path, ids, most_open):
    tokens = sharded(tmp_path, ids, LENGTHS, most_open=most_open)
    assert len(tokens) == 3000
    rng = np.random.default_rng(1)
    for start, stop in [
        (0, 0),
        (0, 3000),
        (3000, 3000),
        (699, 702),
        (700, 700),
        *rng.integers(0, 3000, (50, 2)),
    ]:
        assert np.array_equal(tokens[start:stop], ids[start:stop])
        places = rng.integers(0, 3000, (4, 7))
        assert np.array_equal(tokens[places], ids[places])
        assert len(tokens._open) <= most_open
    assert np.array_equal(tokens[-10:], ids[-10:])
    assert np.array_equal(tokens[5:2000:7], ids[5:2000:7])
    assert np.array_equal(np.asarray(tokens), ids)
    assert list(map(int, tokens)) == ids.tolist()
    assert tokens.are_checked
    with pytest.raises(IndexError, match="positions 0 to 3000 of 3000"):
        tokens[np.array([0, 3000])]


def test_orders_and_batches_of_shards_are_those_of_the_array(tmp_path, ids):
    tokens = sharded(tmp_path, ids, LENGTHS, most_open=2)
    orders = [DocumentOrder(source, 7, seed=1, block_tokens=500) for source in (tokens, ids)]
    assert np.array_equal(*(order.gather(np.array([0, 70, 2000]), 40)[0] for order in orders))
    for seed in range(3):
        batches = [SequenceBatches(source, None, 5, 30, seed) for source in (tokens, ids)]
        for _ in range(45):
            one, other = map(next, batches)
            assert np.array_equal(one.inputs, other.inputs)
            assert np.array_equal(one.targets, other.targets)


def test_a_damaged_or_missing_shard_is_an_error_when_it_is_first_read(tmp_path, ids):
    tokens = sharded(tmp_path, ids, LENGTHS, most_open=1)
    flip(tmp_path / "train-3.bin", 700)
    (tmp_path / "train-5.bin").unlink()
    assert np.array_equal(tokens[:1200], ids[:1200])
    for _ in range(2):  # not only the first time
        with pytest.raises(CorpusError, match=r"train-3.bin: block 1 has changed .*; encode it again"):
            tokens[np.array([1, 1400])]
    with pytest.raises(CorpusError, match=r"train-5.bin: .*No such file"):
        tokens[2000:]


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_a_shard_that_is_a_link_is_refused(tmp_path, ids):
    tokens = sharded(tmp_path, ids, LENGTHS)
    (tmp_path / "train-3.bin").rename(tmp_path / "elsewhere")
    (tmp_path / "train-3.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"train-3.bin is not a regular file"):
        tokens[1000:1001]


@pytest.mark.skipif(os.name == "nt", reason="files of many zeros take their space there")
def test_positions_beyond_four_thousand_million_are_read(tmp_path):
    """Sparse files: 2**32 + 5000 tokens in all, which take no space."""
    lengths, block = [2**31, 2**31, 5000], 2**20
    zeros = hashlib.sha256(bytes(block)).hexdigest()
    shards = []
    for number, length in enumerate(lengths):
        path = tmp_path / f"train-{number}.bin"
        with path.open("wb") as file:
            file.truncate(length)
            file.seek(length - 100)
            file.write(bytes([number + 1]) * 100)
        digests = [zeros] * (length // block)
        with path.open("rb") as file:
            file.seek((len(digests) - 1) * block if length % block == 0 else len(digests) * block)
            last = hashlib.sha256(file.read()).hexdigest()
        digests = [*digests[:-1], last] if length % block == 0 else [*digests, last]
        shards.append(Shard(path.name, length, tuple(digests)))
    tokens = StoredTokens(tmp_path.joinpath, shards, np.dtype(np.uint8), block, damaged=damaged)
    total = 2**32 + 5000
    assert len(tokens) == total
    assert tokens[np.array([2**31 - 1, 2**31, 2**32 - 1, 2**32, total - 1])].tolist() == [1, 0, 2, 0, 3]
    assert tokens[2**32 - 2 : 2**32 + 1].tolist() == [2, 2, 0]
    assert tokens[total - 1 :].tolist() == [3]
    batches = SequenceBatches(tokens, None, 4, 16, seed=0)
    batch = next(batches)
    assert batch.inputs.shape == (4, 16)
    assert batches.tokens_per_epoch == (total - 1) // 4 * 4
