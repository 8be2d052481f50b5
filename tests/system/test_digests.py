import json
import random

import pytest

from textgen.system.digests import (
    CheckedBlocks,
    DamagedError,
    block_digests,
    file_digest,
    is_sealed,
    require_files,
    sealed,
    unsealed,
)


def test_a_sealed_object_survives_json_and_no_flipped_bit():
    content = {"step": 3, "loss": 0.1, "names": ["é", None], "nested": {"b": 1, "a": True}}
    text = json.dumps(sealed(content), indent=2).encode()
    assert unsealed(json.loads(text)) == content
    assert is_sealed(json.loads(text))
    rng = random.Random(0)
    for _ in range(300):
        place, bit = rng.randrange(len(text)), 1 << rng.randrange(8)
        flipped = text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :]
        try:
            found = unsealed(json.loads(flipped))
        except ValueError:
            continue
        assert found == content  # white space, or the same number written in another way


def test_an_object_without_a_digest_is_not_sealed():
    assert not is_sealed({"step": 3})
    with pytest.raises(DamagedError):
        unsealed({"step": 3})


def test_files_are_compared_with_their_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    digests = {"a": file_digest(tmp_path / "a")}
    require_files(tmp_path, digests)
    (tmp_path / "a").write_bytes(b"two")
    with pytest.raises(DamagedError, match="a has changed"):
        require_files(tmp_path, digests)
    with pytest.raises(FileNotFoundError):
        require_files(tmp_path, {"b": ""})


def test_blocks_are_checked_once(tmp_path):
    content = bytearray(b"abcdefghij")
    (tmp_path / "a").write_bytes(content)
    blocks = CheckedBlocks(memoryview(content), block_digests(tmp_path / "a", 4), 4)
    blocks.require([0])
    content[1] = content[9] = 0
    blocks.require([0, 1])
    assert not blocks.are_checked
    with pytest.raises(DamagedError, match="block 2"):
        blocks.require([2])
