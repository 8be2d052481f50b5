"""Errors that the user can fix. Each message is one line that says what is wrong, where, and what to do.

Any other exception is a bug and keeps its traceback.
"""


class TextgenError(Exception):
    """An error that the user can fix; the command line prints its message in one line, without a traceback.

    exit_code: the exit code of the command.
    """

    exit_code = 1


class ConfigError(TextgenError):
    """An option that is unknown, of the wrong type, out of range, or does not apply."""

    exit_code = 2


class CorpusError(TextgenError):
    """Text that cannot be read, or is too short to train on."""


class TokenizerError(TextgenError):
    """A tokenizer that cannot be read, built or used."""


class RunError(TextgenError):
    """A run directory that is missing, already exists, or is incomplete, damaged or inconsistent."""


def damaged_weights() -> RunError:
    """The error for a network whose output is not finite."""
    return RunError("the network's output contains NaN or infinity: its weights are damaged; train it again")


class TrainingError(TextgenError):
    """Training that cannot continue: out of memory, or a loss that is not finite."""


class LostProcessError(TrainingError):
    """Another process of the same training has ended, so that it cannot continue."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class Interrupted(TextgenError):
    """Stopped by a signal; the exit code is 128 plus the signal number, as shells expect."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
