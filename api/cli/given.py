"""Options that were given although nothing would come of them."""

from __future__ import annotations

from collections.abc import Collection

import click
from click.core import ParameterSource


def refuse_given(idle: Collection[str], why: str) -> None:
    """Raise UsageError for the first option (by its parameter's name) among `idle` that stands on the command line."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in idle and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} would do nothing: {why}")
