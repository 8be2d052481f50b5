"""The name of a run on the hub, and what can go wrong when the hub is asked for it.

huggingface_hub is loaded only inside of functions: it takes longer than a whole `textgen sample`.
"""

from __future__ import annotations

import importlib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from textgen.errors import ConfigError, RunError, TextgenError
from textgen.settings.option import shown

PREFIX = "hf:"
_PACKAGES = "huggingface_hub", "hf_xet"  # the second moves large files
_FORM = "hf:USER/NAME or hf:USER/NAME@REVISION"
_PART = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}", re.ASCII)
# Of a branch, a tag or a commit. It becomes part of a path in the cache, so no part of it begins with a dot.
_REVISION = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A repository of the hub. name: USER/NAME. revision: a branch, tag or commit; None: the main branch.

    Raises ConfigError for names that the hub does not allow.
    """

    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not _REPOSITORY.fullmatch(self.name) or "--" in self.name or ".." in self.name:
            raise ConfigError(f"{shown(self.name)}: not the name of a repository; write USER/NAME")
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise ConfigError(f"{shown(self.revision)}: not the name of a branch, a tag or a commit")

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}" + ("" if self.revision is None else f"@{self.revision}")

    @property
    def run_name(self) -> str:
        """The name of the run in it."""
        return self.name.partition("/")[2]

    @classmethod
    def parse(cls, name: str) -> Repository:
        """The repository of hf:USER/NAME[@REVISION]. Raises ConfigError."""
        repository, at, revision = name.removeprefix(PREFIX).partition("@")
        try:
            return cls(repository, revision if at else None)
        except ConfigError as error:
            raise ConfigError(f"{shown(name)}: a run on the hub is {_FORM}") from error


def is_on_hub(name: object) -> bool:
    """Whether the name of a run is that of one on the hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def hub_library() -> Any:
    """The module huggingface_hub. Raises TextgenError where it is not installed."""
    # Else it also sends what this machine is, and fetches lists that it compares it with.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise TextgenError("the hub needs huggingface-hub: pip install 'textgen[hub]'") from error
    return huggingface_hub


@contextmanager
def hub_errors(repository: Repository) -> Iterator[None]:
    """Report what huggingface_hub raises in one line, and keep it from writing to standard error.

    Raises RunError; errors of files stay OSErrors.
    """
    from huggingface_hub import errors

    try:
        with _quiet():
            yield
    except Exception as raised:
        # What stops the upload of a large file is the cause of a RuntimeError.
        wrapped = raised.__cause__ if isinstance(raised, RuntimeError) else None
        error = wrapped if isinstance(wrapped, Exception) else raised
        # Those of its HTTP library, which is another one in each major version, have this base.
        of_network = errors.HfHubHTTPError.__bases__[0]
        expected = of_network | ValueError | ConnectionError | TimeoutError | RuntimeError
        if not isinstance(error, expected) and _package(error) not in _PACKAGES:
            raise error  # noqa: B904  (as it was raised, or its cause)
        raise RunError(f"{repository}: {_reason(error)}") from error


def _package(error: Exception) -> str:
    """The package that an error is defined in."""
    return type(error).__module__.partition(".")[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without huggingface_hub's progress bars, log and warnings; afterwards they are as they were."""
    utils = importlib.import_module("huggingface_hub.utils")
    had_bars, verbosity = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        utils.logging.set_verbosity(verbosity)
        if had_bars:
            utils.enable_progress_bars()


def _reason(error: Exception) -> str:
    """What went wrong, and what to do."""
    from huggingface_hub import errors
    from huggingface_hub.constants import HF_HUB_OFFLINE

    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    cause = error.__cause__ or error
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(cause, errors.HfHubHTTPError):
        error = cause  # after which the cache was searched
    if isinstance(error, errors.GatedRepoError):
        return f"its owner grants access one by one; ask for it on its page, then {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"no such repository, or a private one; check the name, or {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision; check its name"
    if isinstance(error, errors.LocalEntryNotFoundError) and HF_HUB_OFFLINE:
        return "not in the cache, and HF_HUB_OFFLINE forbids asking the hub; unset it"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the hub; unset it"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"not logged in; {log_in}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"the hub refused (status {status}); {log_in}, with a token that may do this"
        said = " ".join((error.server_message or _line(error)).split())
        return f"the hub answered with status {status} ({said}); try again later"
    if isinstance(error, RuntimeError) or _package(error) == "hf_xet":
        return f"the transfer failed ({_line(error)}); try again later"
    if isinstance(error, ValueError):
        return f"refused: {_line(error)}"
    return f"the hub cannot be reached ({type(cause).__name__}); check your connection, or try again later"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
