"""The script that measures a server under load: its table on a tiny run, and that it finds wrong texts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from textgen.generation.generator import Generator

if TYPE_CHECKING:
    from tests.conftest import MakeRun


def test_the_table_has_all_measurements_and_nothing_is_lost_or_wrong(
    run_script: Callable[..., subprocess.CompletedProcess[str]], make_run: MakeRun
) -> None:
    few = ["--rounds", "1", "--characters", "50", "--requests", "40"]
    done = run_script("serve_load.py", "--run", str(make_run().path), *few)
    assert done.returncode == 0, done.stderr
    assert "mixed: 36 answered in " in done.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    found = {(row[0], row[1]): row for row in rows if len(row) > 1}
    for case in ("lost", "wrong"):
        assert found["mixed, 40 requests", case][3] == "0"
    assert {"one stream", "first token", "64 streams", "slowest of them"} <= {case for case, _ in found}


@pytest.mark.parametrize("place", [0, 10])
def test_a_text_that_differs_anywhere_is_found_and_is_wrong(
    place: int, import_script: Callable[[str], ModuleType], make_run: MakeRun
) -> None:
    script = import_script("load.mixed")
    generator = Generator.from_run(make_run())
    ask = script._Ask(seed=1, length=20, stream=False, leaves_after=None)
    (alone,) = generator.complete([script._request(ask)])
    changed = "xy"[alone.text[place] == "x"]
    wrong = alone.text[:place] + changed + alone.text[place + 1 :]
    assert script._different(generator, [(ask, alone.text), (ask, wrong)]) == [(ask, wrong)]
    assert not script._at_boundary(generator, ask, wrong)
    assert not script._at_boundary(generator, ask, alone.text[:-1])


def test_a_text_that_differs_at_the_boundary_of_two_tokens_is_not_wrong(
    import_script: Callable[[str], ModuleType], make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = import_script("load.mixed")
    generator = Generator.from_run(make_run())
    ask = script._Ask(seed=1, length=5, stream=False, leaves_after=None)
    (alone,) = generator.complete([script._request(ask)])
    first = int(generator.encode(alone.text[0])[0])
    other = generator.tokenizer.decode(
        [int(generator.vocab.token_ids[first + 1 if first == 0 else first - 1])]
    )
    monkeypatch.setattr(script, "MARGIN", 1.0)  # every uniform number is that near
    assert script._at_boundary(generator, ask, other + alone.text[1:])
