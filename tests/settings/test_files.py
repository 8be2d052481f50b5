"""Options from a file: a settings file in TOML, or the config.json of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textgen.errors import ConfigError
from textgen.settings.files import read_options
from textgen.settings.given import UserOptions


def test_a_settings_file_gives_options(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('corpus = ["a.txt", "b"]\nhidden_size = 32\nlearning_rate = 1\nearly_stopping = false\n')
    expected = {"corpus": ("a.txt", "b"), "hidden_size": 32, "learning_rate": 1, "early_stopping": False}
    assert read_options(path).names() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden_size = 3", "did you mean 'hidden_size'"),
        ("hidden_size = ", "not valid TOML"),
        ("hidden_size = 'wide'", "hidden_size must be"),
        ("hidden_size = 0", "hidden_size=0: must be at least 1"),
        ("run = ''", "--run '': not a valid value"),
        ('encoding = "a\\u0000"', "--encoding .*: not a valid value"),
        ("from = 'a'\nfrom_run = 'b'", "from and from_run are the same"),
    ],
)
def test_a_settings_file_with_a_mistake_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_options(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": []}, "data must be an object of names"),
        ({"data": {"val": "a.txt"}}, None),
        ({"training": {"early_stopping": False}}, None),
    ],
)
def test_a_runs_config_that_was_written_by_hand_is_read_or_refused(
    tmp_path: Path, sections: dict[str, object], message: str | None
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": {}, "model": {}, "training": {}} | sections))
    if message is None:
        in_file_order = {"shuffle": False} | ({} if "data" in sections else {"val_order": "end"})
        assert read_options(path).names() == in_file_order | next(iter(sections.values()))
        return
    with pytest.raises(ConfigError, match=message):
        read_options(path)


def test_a_settings_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_options(tmp_path / "none.toml")


def test_a_settings_file_may_have_the_sections_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('corpus = "a.txt"\n[model]\nhidden_size = 32\n[training]\nminutes = 3\n')
    options = read_options(path)
    assert options.names() == {"corpus": ("a.txt",), "hidden_size": 32, "minutes": 3}
    assert (dict(options.model), dict(options.training)) == ({"hidden_size": 32}, {"minutes": 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]\nhidden_size = 3", "unknown section 'modle'; did you mean 'model'"),
        ("[model]\nminutes = 3", "unknown option 'minutes'"),
        ("hidden_size = 3\n[model]\nhidden_size = 4", "hidden_size is given twice"),
        ("model_vocab_size = 3", "unknown option"),
    ],
)
def test_an_invalid_section_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_options(path)


def test_the_texts_of_a_run_are_not_those_of_the_user(tmp_path: Path) -> None:
    """Only what the user names may be fetched without --fetch, which a run cannot give itself."""
    url, val = "https://host/a.txt", "https://host/val.txt"
    content = {"data": {"corpus": [url], "val": val}, "model": {}, "training": {}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    repeated = read_options(tmp_path)
    assert repeated.files_of_runs == {url: str(tmp_path), val: str(tmp_path)}
    given = UserOptions.from_names({"corpus": (url,), "hidden_size": 8})
    assert repeated.overridden_by(given).files_of_runs == {val: str(tmp_path)}
    allowed = repeated.overridden_by(UserOptions.from_names({"fetch": True}))
    assert (allowed.fetch, allowed.files_of_runs) == (True, repeated.files_of_runs)
    content["data"]["fetch"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="unknown option 'fetch'"):
        read_options(tmp_path)


def test_the_tokenizer_and_the_run_that_a_run_names_are_not_those_of_the_user_either(tmp_path: Path) -> None:
    data = {"corpus": ["/a.txt"], "tokenizer": "/t.json"}
    content = {"data": data, "model": {}, "training": {}, "from_run": "/old"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    repeated, run = read_options(tmp_path), str(tmp_path)
    assert repeated.files_of_runs == {"/a.txt": run, "/t.json": run, "/old": run}
    given = UserOptions.from_names({"tokenizer": "byte", "from_run": "mine"})
    assert repeated.overridden_by(given).files_of_runs == {"/a.txt": run}
    data["tokenizer"] = "char"
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert "char" not in read_options(tmp_path).files_of_runs
