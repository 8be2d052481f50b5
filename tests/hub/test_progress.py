"""The bars of huggingface_hub as one count of bytes."""

from __future__ import annotations

from textgen.hub.progress import byte_counter


def test_bytes_are_counted_once_and_files_are_not() -> None:
    told: list[tuple[int, int]] = []
    bar = byte_counter(lambda done, total: told.append((done, total)))
    network, disk, files = bar(total=0, unit="B"), bar(total=0, unit="B", name="disk"), bar(total=3)
    for each in (network, disk):
        each.total += 100
        each.refresh()
    network.update(60)
    disk.update(40)
    files.update(1)
    disk.update(60)
    assert told == [(0, 100), (0, 100), (60, 100), (100, 100)]


def test_a_bar_may_iterate_and_be_closed_and_shows_nothing(capsys) -> None:
    bar = byte_counter(lambda done, total: None)
    with bar(range(3), unit="B", desc="files") as several:
        assert [*several] == [0, 1, 2]
        several.set_description("done")
        several.set_postfix_str("fast")
    assert capsys.readouterr() == ("", "")
