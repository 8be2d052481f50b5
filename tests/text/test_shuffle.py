import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.system.digests import DamagedError
from textgen.text.shuffle import DocumentOrder, StoredOrder, document_blocks, require_blocks

END = 9
documents = st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=12).filter(any)


def stored(documents):
    """Documents as a store has them: end-of-text between two, none at the end."""
    tokens = [token for document in documents for token in [*document, END]]
    return np.array(tokens[:-1], np.uint8)


def as_read(source):
    return source.gather(np.zeros(1, np.int64), len(source)).tokens[0]


def split(tokens):
    assert tokens[0] == tokens[-1] == END
    ends = np.flatnonzero(tokens == END)
    return [tokens[start + 1 : stop].tolist() for start, stop in itertools.pairwise(ends)]


@given(documents, st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
def test_each_epoch_reads_every_document_once_between_two_end_of_texts(documents, block_tokens, seed, epoch):
    source = DocumentOrder(stored(documents), END, seed, block_tokens=block_tokens)
    source.start_epoch(epoch, 1)
    assert sorted(split(as_read(source))) == sorted(documents)


@given(documents, st.integers(1, 40), st.data())
def test_any_rows_equal_the_same_ranges_of_a_whole_reading(documents, block_tokens, data):
    source = DocumentOrder(stored(documents), END, 1, block_tokens=block_tokens)
    whole = as_read(source)
    length = data.draw(st.integers(1, len(source)))
    starts = data.draw(st.lists(st.integers(0, len(source) - length), min_size=1, max_size=4))
    rows = source.gather(np.array(starts), length).tokens
    assert rows.tolist() == [whole[start : start + length].tolist() for start in starts]


def test_documents_stay_in_blocks_that_are_read_in_a_new_order_each_epoch():
    texts = [[token] * 3 for token in range(8)]
    source = DocumentOrder(stored(texts), END, 1, block_tokens=8)
    orders = []
    for epoch in range(6):
        source.start_epoch(epoch, 1)
        orders.append([document[0] for document in split(as_read(source))])
    assert len({tuple(order) for order in orders}) == 6
    # Blocks of two or three documents: 0 1 2, 3 4 5, 6 7.
    for order in orders:
        blocks = [number // 3 for number in order]
        assert sum(a != b for a, b in itertools.pairwise(blocks)) == 2
    assert len({order[0] // 3 for order in orders}) > 1


def test_the_order_follows_from_seed_and_epoch_alone():
    tokens = stored([[token] for token in range(9)] * 3)

    def order(seed, epoch, before=()):
        source = DocumentOrder(tokens, END, seed, block_tokens=10)
        for other in before:
            source.start_epoch(other, 1)
            as_read(source)
        source.start_epoch(epoch, 1)
        return as_read(source).tolist()

    assert order(1, 2) == order(1, 2, before=(0, 1, 5))
    assert order(1, 2) != order(2, 2)
    assert order(1, 2) != order(1, 3)


def test_only_the_blocks_that_are_read_are_kept_in_memory():
    tokens = stored([[1] * 9] * 1000)
    source = DocumentOrder(tokens, END, 1, block_tokens=10)
    source.start_epoch(0, 2)
    for start in range(0, len(source) - 20, 10):
        source.gather(np.array([start, start]), 20)
    assert len(source._blocks) == 6


def test_the_stored_order_reads_the_tokens_themselves():
    source = StoredOrder(np.arange(10, dtype=np.uint16))
    source.start_epoch(3, 1)
    assert len(source) == 10
    assert source.gather(np.array([0, 6]), 4).tokens.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]


@pytest.mark.parametrize("block_tokens", [2, 1000])
def test_a_memory_mapped_file_is_read_as_an_array(tmp_path, block_tokens):
    tokens = stored([[1, 2], [3], [4, 5, 6]])
    tokens.tofile(tmp_path / "t.bin")
    mapped = np.memmap(tmp_path / "t.bin", np.uint8, "r")
    first = DocumentOrder(tokens, END, 1, block_tokens=block_tokens)
    second = DocumentOrder(mapped, END, 1, block_tokens=block_tokens)
    assert as_read(first).tolist() == as_read(second).tolist()


@given(documents, st.integers(1, 40), st.booleans())
def test_each_document_keeps_its_label_which_stands_at_the_end_of_text_before_it(
    documents, block_tokens, shuffle
):
    numbers = np.arange(1, len(documents) + 1, dtype=np.uint16)
    source = DocumentOrder(
        stored(documents), END, 1, labels=numbers, shuffle=shuffle, block_tokens=block_tokens
    )
    with_labels = set()
    for epoch in range(4):
        source.start_epoch(epoch, 1)
        tokens, labels = (rows[0] for rows in source.gather(np.zeros(1, np.int64), len(source)))
        assert (tokens[labels > 0] == END).all()
        begins = np.flatnonzero(tokens == END)[:-1]
        for label, document in zip(labels[begins].tolist(), split(tokens), strict=True):
            if label:
                with_labels.add(label)
                assert document == documents[label - 1]
        if not shuffle:
            assert split(tokens) == documents
        half = source.gather(np.array([0, len(source) // 2]), (len(source) + 1) // 2)
        assert half.labels.ravel()[: len(source) // 2].tolist() == labels[: len(source) // 2].tolist()
    assert with_labels


def test_a_tenth_of_the_documents_is_read_without_its_label():
    source = DocumentOrder(stored([[1, 2]] * 3000), END, 1, labels=np.ones(3000, np.uint16), block_tokens=500)
    labels = source.gather(np.zeros(1, np.int64), len(source)).labels
    assert 0.08 < 1 - labels.sum() / 3000 < 0.12


@pytest.mark.parametrize("labelled", [True, False])
def test_blocks_that_were_found_before_give_the_same_order(labelled):
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 9, 3000).astype(np.uint8)
    labels = rng.integers(0, 3, np.count_nonzero(tokens == 0) + 1) if labelled else None
    blocks = document_blocks(tokens, 0, 300, counted=labelled)
    require_blocks(blocks, len(tokens))
    orders = [
        DocumentOrder(tokens, 0, seed=1, labels=labels, block_tokens=300, blocks=found)
        for found in (None, blocks)
    ]
    starts = np.arange(0, 3000, 100)
    first, second = (order.gather(starts, 100) for order in orders)
    assert (first.tokens == second.tokens).all()
    assert first.labels is None if not labelled else (first.labels == second.labels).all()


@pytest.mark.parametrize(
    "blocks",
    [
        np.zeros((2, 3)),
        np.zeros((2, 2), np.int64),
        np.array([[0, 5, 5, 11], [0, 1, 2, 3]]),
        np.array([[0, 5, 11], [0, 4, 3]]),
        np.array([[0, 5, 12], [0, 1, 2]]),
        np.array([[0, 5, 11]]),
    ],
)
def test_what_cannot_be_blocks_is_refused(blocks):
    with pytest.raises(DamagedError, match="not blocks of"):
        require_blocks(blocks, 10)
    require_blocks(np.array([[0, 5, 11], [0, 1, 3]]), 10)
