"""What of a run's settings may leave the machine."""

from __future__ import annotations

import pytest

from textgen.hub.public import public_config, public_name
from textgen.run import FORMAT, config_json
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig

SHA = "0" * 64


def config_of(**about: object) -> RunConfig:
    settings = {
        "format": FORMAT, "textgen_version": "0", "data": DataConfig(corpus=("a.txt",)),
        "model": ModelConfig(model_vocab_size=3), "training": TrainingConfig(steps=1),
    }  # fmt: skip
    return RunConfig(**(settings | about))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/ada/poems/spring.txt", "spring.txt"),
        ("/home/ada/poems/", "poems"),
        ("/home/ada/**/*.txt", "*.txt"),
        (r"C:\Users\ada\spring.txt", "spring.txt"),
        ("../ada/spring.txt", "spring.txt"),
        ("s3://secret-bucket/ada/spring.txt", "spring.txt"),
        ("sftp://host/home/ada/spring.txt", "spring.txt"),
        ("file:///home/ada/spring.txt", "spring.txt"),
        ("https://example.org/poems/spring.txt", "https://example.org/poems/spring.txt"),
        ("-", "-"),
        ("/", "/"),
    ],
)
def test_of_a_path_its_last_part_is_public(path: str, name: str) -> None:
    assert public_name(path) == name


def test_no_setting_keeps_a_folder() -> None:
    data = DataConfig(
        corpus=("/home/ada/one.txt", "s3://ada/two.txt", "https://example.org/three.txt"),
        val="/home/ada/val.txt", test=r"D:\ada\test.txt", include=("/home/ada/*.py", "src/**"),
        tokenizer="/home/ada/tokenizer.json",
    )  # fmt: skip
    remote = tuple({"url": url, "sha256": SHA, "shortened": False} for url in data.corpus[1:])
    config = config_of(
        data=data, remote=remote, from_run="/home/ada/runs/first", directory="/home/ada/runs/second",
        measured={"parameters": 3, "corpus_fingerprint": SHA, "from_a_later_version": "/home/ada"},
    )  # fmt: skip
    public = public_config(config)
    assert "ada" not in config_json(public)
    assert public.data.corpus == ("one.txt", "two.txt", "https://example.org/three.txt")
    assert public.data.include == ("*.py", "src/**")
    assert public.data.uses_tokenizer_file
    assert public.remote == remote[1:]
    assert (public.from_run, public.directory) == ("first", None)
    assert public.measured == {"parameters": 3, "corpus_fingerprint": SHA}


def test_nothing_else_changes() -> None:
    config = config_of(measured={"parameters": 3})
    assert public_config(config) == config
    assert public_config(public_config(config)) == config


def test_a_run_that_started_from_one_of_the_hub_says_which() -> None:
    path = "/home/ada/.cache/huggingface/hub/models--bob--poems/snapshots/0a1b2c"
    public = public_config(config_of(from_run=path))
    assert public.from_run == "hf:bob/poems@0a1b2c"
    assert public_config(public) == public
