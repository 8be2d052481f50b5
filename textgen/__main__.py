"""`textgen` and `python -m textgen`: the command line; from here on a signal gives no traceback."""

from textgen.system.exits import exit_at_signals


def main() -> None:
    """Run textgen."""
    exit_at_signals()
    from textgen.cli import main  # after that, because it takes long to load

    main()


if __name__ == "__main__":
    main()
