"""Command lines of the scripts."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click


class Script(click.Command):
    """A command whose help is a module's docstring as it is: @click.command(cls=Script, help=__doc__)."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the docstring with its own line breaks."""
        formatter.write(f"\n{inspect.cleandoc(self.help or '')}\n")


class OutputFile(click.Path):
    """A file to write to. That its folder exists is checked before anything is measured."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The file as a Path."""
        path = Path(super().convert(value, param, ctx))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        return path
