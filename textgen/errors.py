"""What can go wrong that the user can mend: one line that says what, where and what to do.

Anything else that goes wrong is a bug and keeps its traceback.
"""


class TextgenError(Exception):
    """A mistake that the user can fix; the command line prints its message as one line and no traceback."""

    exit_code = 1


class ConfigError(TextgenError):
    """An option that is unknown, of the wrong type, out of range, or does not apply."""

    exit_code = 2


class CorpusError(TextgenError):
    """Text that cannot be read, or is not enough to train on."""


class TokenizerError(TextgenError):
    """A tokenizer that cannot be read, built or used."""


class RunError(TextgenError):
    """A run directory that is missing, taken, incomplete or not what its files say."""


def damaged_weights() -> RunError:
    """What to raise where a run's network says something that is no number."""
    return RunError("the network's output is no distribution (NaN): its weights are damaged; train anew")


class TrainingError(TextgenError):
    """Training that cannot go on: out of memory, or a loss that is no longer a number."""


class Interrupted(TextgenError):
    """Stopped by a signal; the exit code is 128 plus its number, as shells expect."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
