"""Names of repositories, and huggingface_hub where it is missing or talks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from textgen.errors import RunError, TextgenError
from textgen.hub.repository import Repository, hub_errors, hub_library, is_on_hub


@pytest.mark.parametrize(
    "name", ["hf:ada/tales", "hf:ada/tales@v1", "hf:a-b.c/d_e@refs/pr/1", "hf:1/2@0a1b2c"]
)
def test_a_name_is_printed_as_it_is_read(name: str) -> None:
    assert is_on_hub(name)
    assert str(Repository.parse(name)) == name
    assert not is_on_hub(name.removeprefix("hf:"))


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(TextgenError, match=r"pip install 'textgen\[hub\]'"):
        hub_library()


def test_progress_bars_are_as_they_were_afterwards() -> None:
    from huggingface_hub import utils

    repository = Repository("ada/tales")
    for arrange in (utils.disable_progress_bars, utils.enable_progress_bars):
        arrange()
        before = utils.are_progress_bars_disabled()
        with hub_errors(repository):
            assert utils.are_progress_bars_disabled()
        assert utils.are_progress_bars_disabled() == before


def test_what_cannot_be_sent_offline_is_one_line() -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    with (
        pytest.raises(RunError, match="hf:ada/tales: HF_HUB_OFFLINE forbids"),
        hub_errors(Repository("ada/tales")),
    ):
        raise OfflineModeIsEnabled


def test_errors_of_files_stay_what_they_are() -> None:
    for error in (PermissionError(13, "no", "cache"), KeyError("a bug")):
        with pytest.raises(type(error)), hub_errors(Repository("ada/tales")):
            raise error
    with (
        pytest.raises(RunError, match="hf:ada/tales: the hub cannot be reached"),
        hub_errors(Repository("ada/tales")),
    ):
        raise ConnectionResetError


def test_what_stops_a_large_file_is_one_line() -> None:
    from huggingface_hub.errors import XetDownloadError

    for error, words in (
        (RuntimeError("no route\nto the store"), r"the transfer failed \(no route to the store\); try again"),
        (XetDownloadError("gone"), "hf:ada/tales: "),
    ):
        with pytest.raises(RunError, match=words), hub_errors(Repository("ada/tales")):
            raise error
    with pytest.raises(PermissionError), hub_errors(Repository("ada/tales")):
        raise RuntimeError("while uploading") from PermissionError(13, "no", "file")


def test_a_run_in_a_directory_loads_no_library_of_the_hub() -> None:
    modules = "textgen.api, textgen.hub.fetch, textgen.hub.push, textgen.cli.push"
    code = f"import sys, {modules}; sys.exit('huggingface_hub' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
