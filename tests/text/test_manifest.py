import json

import numpy as np
import pytest

from textgen.system.digests import DamagedError, sealed
from textgen.text.documents import TextSize
from textgen.text.manifest import (
    MANIFEST,
    Manifest,
    Shard,
    StoredPart,
    parse_manifest,
    read_manifest,
    require_shards,
    shard_of,
)
from textgen.text.records import RecordCount

DIGEST = 64 * "a"


def entry(name, length=3, blocks=1):
    return Shard(name, length, (DIGEST,) * blocks)


def manifest(**changes):
    part = StoredPart(TextSize(10, 11, 2, 5), (entry("train-0.bin"), entry("train-1.bin", 2000, 4)))
    labels = (entry("val-labels.bin", 5),)
    parts = {"train": part, "val": StoredPart(part.size, (entry("val-0.bin"),), labels)}
    content = {"tokenizer": DIGEST, "corpus": DIGEST, "dtype": np.dtype("<u2"), "parts": parts}
    content |= {"files": {"counts.npy": DIGEST}, "block_bytes": 1024, "labels": ("a", "ü")}
    return Manifest(**content | changes)


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    written = manifest(records=RecordCount(7, 1, 2), data={"documents": "line", "corpus": ["a"]})
    written.write(tmp_path)
    assert read_manifest(tmp_path) == written
    assert [shard.name for shard, _ in written.shards] == [
        "train-0.bin", "train-1.bin", "val-0.bin", "val-labels.bin"
    ]  # fmt: skip


def changed(path, value):
    """The JSON of a manifest with another value at a path, sealed again as whoever writes one can."""
    content = json.loads(manifest().to_json())
    del content["sha256"]
    *outer, last = path
    inner = content
    for key in outer:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(sealed(content))


SHARD = ("parts", "train", "tokens", 0)
HOSTILE = {
    "../escape": (*SHARD, "name"),
    "/etc/passwd": (*SHARD, "name"),
    "a/b.bin": (*SHARD, "name"),
    "a\\b.bin": (*SHARD, "name"),
    "..": (*SHARD, "name"),
    ".hidden": (*SHARD, "name"),
    "train-1.bin": (*SHARD, "name"),
    "counts.npy": (*SHARD, "name"),
    "manifest.json": (*SHARD, "name"),
    "x" * 200: (*SHARD, "name"),
    "a\nb": (*SHARD, "name"),
    "": (*SHARD, "name"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_no_plain_names_of_different_files_are_refused(name):
    with pytest.raises(DamagedError, match=r"plain name|named twice") as caught:
        parse_manifest(changed(HOSTILE[name], name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*SHARD, "length"), value)
        for value in (0, -1, 2**53 + 1, 10**400, 1.5, True, "3", None, 2000, KeyError)
    ]
    + [((*SHARD, "blocks"), value) for value in ([], ["a"], [DIGEST] * 2, [DIGEST[:-1] + "g"], [None], 5)]
    + [(("block_bytes",), value) for value in (0, -1024, 1, 2**40, 1025, "1024")]
    + [(("dtype",), value) for value in ("float64", "object", "O", "U8", 5, None)]
    + [(("parts",), value) for value in ({}, [], {"x": {}}, {"val": {}}, {"train": []}, 5)]
    + [(("parts", "train", "tokens"), value) for value in ([], {}, None, [5])]
    + [(("parts", "train", "size", "words"), value) for value in (-1, "many", 2**60)]
    + [(("parts", "val", "labels", 0, "length"), value) for value in (4, 6)]
    + [(("files",), value) for value in ({"../x": DIGEST}, {"x": 5}, [], None)]
    + [(("records",), value) for value in ({"read": -1, "absent": 0, "null": 0}, {"read": 1}, {}, 5)]
    + [(("labels",), value) for value in (["a", "a"], [5], None)]
    + [(("tokenizer",), 5), (("corpus",), "x"), (("format",), 99), (("format",), KeyError), (("data",), 5)],
)  # fmt: skip
def test_impossible_values_are_refused_in_one_line(path, value):
    with pytest.raises(DamagedError) as caught:
        parse_manifest(changed(path, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content", ["", "[]", "5", "{}", "{" * 5000, "[" * 10**5, b"\xff\xfe", '{"format": 1}']
)
def test_what_is_no_manifest_is_refused(content):
    with pytest.raises(DamagedError):
        parse_manifest(content)


def test_a_changed_manifest_is_refused(tmp_path):
    manifest().write(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text().replace("2000", "2001"))
    with pytest.raises(DamagedError, match="has changed"):
        read_manifest(tmp_path)


def test_shards_must_be_files_of_their_size(tmp_path):
    ids = np.arange(1000, dtype="<u2")
    ids.tofile(tmp_path / "train-0.bin")
    shard = shard_of(tmp_path / "train-0.bin", ids.dtype, 1024)
    assert shard.length == 1000
    assert len(shard.blocks) == 2
    part = StoredPart(TextSize(10, 11, 2, 5), (shard,))
    require_shards(tmp_path, manifest(parts={"train": part}))
    (tmp_path / "train-0.bin").write_bytes(b"short")
    with pytest.raises(DamagedError, match=r"train-0.bin has 5 bytes, not 2,000"):
        require_shards(tmp_path, manifest(parts={"train": part}))
    (tmp_path / "train-0.bin").unlink()
    (tmp_path / "train-0.bin").mkdir()
    with pytest.raises(DamagedError, match="not a regular file"):
        require_shards(tmp_path, manifest(parts={"train": part}))
