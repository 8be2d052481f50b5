"""What is read with a run on records: a line of plain text, or a record of a table, is a document.

Each command that reads another text gives the figures of the validation documents that `textgen eval` gives.
"""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import textgen
from textgen.text.documents import Separator

if TYPE_CHECKING:
    from tests.conftest import Cli

SYLLABLES = "ka lo mi ren sha tor vel na du bri".split()
TINY = "--steps 30 --evaluations 2 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16".split()


def write_names(path: Path, names: list[str]) -> None:
    """The names as a file of its format, each with an id where it has fields."""
    records = [{"id": number, "name": name} for number, name in enumerate(names)]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, ["id", "name"], delimiter="\t" if path.suffix == ".tsv" else ",")
            rows.writeheader()
            rows.writerows(records)
    elif path.suffix == ".txt":
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    else:
        path.write_text(json.dumps(records), encoding="utf-8")


@pytest.fixture
def validation(cli: Cli, tmp_path: Path) -> list[str]:
    """The documents that the run `names`, on a .csv file, validates on; they are also in val.* files."""
    rng = random.Random(7)
    names = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))).capitalize() for _ in range(300)]
    write_names(tmp_path / "names.csv", names)
    assert cli("train", "names.csv", "--field", "name", *TINY, "--run", "names").exit_code == 0
    part = textgen.load("names").run.open_corpus().stream("val")
    found = [item for item in part if not isinstance(item, Separator)]
    assert 10 < len(found) < 100
    for ending in ("csv", "tsv", "jsonl", "json", "txt"):
        write_names(tmp_path / f"val.{ending}", found)
    return found


def figures(cli: Cli, *arguments: object) -> dict[str, Any]:
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("nats_per_token", "bits_per_character", "tokens", "unseen_tokens", "characters"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    assert expected["unseen_tokens"] == 0


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "txt"])
def test_score_and_eval_of_the_validation_documents_are_those_of_the_run(
    cli: Cli, validation: list[str], ending: str
) -> None:
    expected = figures(cli, "eval", "names")
    assert expected["nats_per_token"] < expected["network"]["nats_per_token"]  # with n-grams
    scored = figures(cli, "score", "names", f"val.{ending}")
    assert_same(scored, expected)
    assert scored["network_weight"] == expected["network_weight"]
    network = figures(cli, "eval", "names", "--no-ngram")
    assert_same(figures(cli, "score", "names", f"val.{ending}", "--no-ngram"), network)
    assert_same(expected["network"], network)
    assert scored["lines" if ending == "txt" else "records"] == len(validation)
    assert_same(figures(cli, "eval", "names", f"val.{ending}"), expected)
    tokens = cli("score", "names", f"val.{ending}", "--tokens", "--json").stdout.splitlines()
    bits = sum(json.loads(token)["bits"] for token in tokens)
    assert len(tokens) == expected["tokens"]
    assert bits * math.log(2) == pytest.approx(expected["nats_per_token"] * len(tokens), rel=1e-5)
    looked_into = figures(cli, "inspect", "names", f"val.{ending}", "--npz", "all.npz")
    assert looked_into["bits_per_character"] == pytest.approx(network["bits_per_character"], rel=1e-4)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt"])
def test_each_document_is_scored_alone_with_its_number_and_end_of_text(
    cli: Cli, validation: list[str], ending: str
) -> None:
    out = cli("score", "names", f"val.{ending}", "--lines", "--json").stdout
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["text"] for line in found] == validation
    key = "line" if ending == "txt" else "record"
    assert [line[key] for line in found] == [*range(1, len(validation) + 1)]
    assert [line["tokens"] for line in found] == [len(name) + 1 for name in validation]
    assert not any(line["unseen_tokens"] for line in found)


def test_python_scores_documents_as_the_command_does(cli: Cli, validation: list[str]) -> None:
    expected = figures(cli, "eval", "names")
    model = textgen.load("names")
    assert_same(model.score(Path("val.txt").read_text()).as_dict(), expected)
    assert_same(model.score(validation).as_dict(), expected)
    assert model.score(["Kalo\nMi"]).loss.unseen_tokens == 1  # one document, with a line end in it
    with pytest.raises(textgen.TextgenError, match="there is no text to score"):
        model.score([])


def test_what_a_document_of_another_text_is_can_be_given(cli: Cli, validation: list[str]) -> None:
    line_ends = len(validation)
    assert figures(cli, "score", "names", "val.txt", "--documents", "file")["unseen_tokens"] == line_ends
    assert figures(cli, "eval", "names", "val.txt", "--documents", "file")["unseen_tokens"] == line_ends
    Path("bars.csv").write_text("".join(f"{n}|{name}\n" for n, name in [("id", "name"), (1, "Kalo, Mi")]))
    Path("odd.csv").write_text("id~name\n" + "".join(f"1~{name}\n" for name in validation))
    assert "found: id~name" in cli("score", "names", "odd.csv").only_error
    expected = figures(cli, "eval", "names")
    for command in ("score", "eval"):
        assert_same(figures(cli, command, "names", "odd.csv", "--delimiter", "~"), expected)
    assert figures(cli, "score", "names", "bars.csv")["records"] == 1


@pytest.mark.usefixtures("validation")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["val.csv", "--documents", "line"], "--documents line: there is no plain text"),
        (["val.txt", "--field", "name"], "--field name: there is no .jsonl"),
        (["val.jsonl", "--delimiter", "tab"], "--delimiter tab: there is no .csv"),
        (["val.csv", "--field", "title"], "no field 'title'; found: id, name"),
    ],
)
def test_an_option_that_does_not_apply_to_the_text_is_refused(
    cli: Cli, arguments: list[str], words: str
) -> None:
    for command in ("score", "eval", "inspect"):
        assert words in cli(command, "names", *arguments).only_error


@pytest.mark.usefixtures("validation")
def test_records_are_printed_a_line_each_and_those_without_text_are_reported(cli: Cli) -> None:
    records = [{"name": "Kalo\nMi\r\n"}, {"id": 1}, {"name": ""}, {"name": "Duna"}]
    Path("odd.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = cli("score", "names", "odd.jsonl", "--lines")
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == [r"Kalo\nMi\r\n", "Duna"]
    assert result.stderr == "Skipped 1 of 4 records: 1 without the field 'name'.\n"
    context = cli("score", "names", "odd.jsonl", "--lines", "--context", "--json").stdout.splitlines()
    assert [(json.loads(line)["record"], json.loads(line)["text"]) for line in context] == [
        (1, "Kalo\nMi\r\n"),
        (4, "Duna"),
    ]
    assert "no record has text" in cli("score", "names", "val.jsonl", "--field", "none").stderr


def test_samples_are_a_line_each_and_novel_ones_are_not_in_the_table(
    cli: Cli, validation: list[str], tmp_path: Path
) -> None:
    result = cli("sample", "names", "--num-samples", 8, "--seed", 1, "--novel", "--max-new-tokens", 12)
    lines = result.stdout.splitlines()
    assert len(lines) == 8
    with (tmp_path / "names.csv").open(newline="") as file:
        trained_on = {row["name"] for row in csv.DictReader(file)} - {*validation}
    assert not trained_on & {*lines}
