import numpy as np
import pytest

from textgen.errors import CorpusError
from textgen.system.digests import block_digests
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
    (tmp_path / "meta.json").write_text("{}")
    return path


def stored(path, digests=None):
    digests = block_digests(path, BLOCK_BYTES) if digests is None else digests
    return StoredTokens(path, np.dtype(np.uint16), digests, BLOCK_BYTES)


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
    with pytest.raises(CorpusError, match=r"train.bin: block 4 has changed .*; start the command again"):
        tokens[index]
    assert not (path.parent / "meta.json").exists()  # so that it is built again


def test_a_damaged_first_block_or_size_is_an_error_at_once(path):
    digests = block_digests(path, BLOCK_BYTES)
    with pytest.raises(ValueError, match="digests"):
        stored(path, digests[1:])
    flip(path, 0)
    with pytest.raises(ValueError, match="block 0"):
        stored(path, digests)
