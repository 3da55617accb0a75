"""The `lode` command. Nothing heavy is imported until a command needs it: `lode --help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

COMMANDS = {
    "init": ("api.cli.server", "init", "Start the embedded PostgreSQL and bring its schema up to date."),
    "up": ("api.cli.server", "up", "Start the embedded PostgreSQL."),
    "down": ("api.cli.server", "down", "Stop the embedded PostgreSQL."),
    "status": ("api.cli.server", "status", "What runs, what waits, what the registry holds."),
    "url": ("api.cli.server", "url", "The address of the database, for psql and notebooks."),
    "backup": ("api.cli.backup", "backup", "Write the whole registry into one file."),
    "restore": ("api.cli.backup", "restore", "Fill an empty registry from a backup."),
    "upgrade": ("api.cli.upgrade", "upgrade", "Bring the embedded PostgreSQL to a newer major version."),
    "doctor": ("api.cli.doctor", "doctor", "Check what this machine has and say what is missing."),
    "import": ("api.cli.importing", "import_", "Bring crystals in from files and providers."),
    "export": ("api.cli.exporting", "export", "Write materials to files."),
    "merge": ("api.cli.merging", "merge", "Take another registry into this one."),
    "generate": ("api.cli.generate", "generate", "Propose candidates from the crystals in the registry."),
    "compositions": ("api.cli.compositions", "compositions", "Enumerate compositions whose oxidation states balance."),
    "search": ("api.cli.search", "search", "Look for the structures of compositions."),
    "score": ("api.cli.work", "score", "Score what has no prediction yet."),
    "label": ("api.cli.work", "label", "Label what was selected."),
    "place": ("api.cli.work", "place", "Place new labels on the hull."),
    "worker": ("api.cli.work", "worker", "Daemons that do the work."),
    "work": ("api.cli.work", "work", "The work that waits, runs or is dead."),
    "lineage": ("api.cli.lineage", "lineage", "From which crystals a candidate came, over all rounds."),
    "query": ("api.cli.query", "query", "Find materials with a filter."),
    "hull": ("api.cli.hull", "hull", "Convex hulls of chemical systems."),
    "polymorphs": ("api.cli.polymorphs", "polymorphs", "Structures of a composition, ranked, and which are one."),
    "level": ("api.cli.level", "level", "Levels of theory: references, corrections, what they hold."),
    "model": ("api.cli.model", "model", "Train, list and promote models."),
    "potential": ("api.cli.potential", "potential", "Potentials of your own, as engines of levels."),
    "predict": ("api.cli.predict", "predict", "Predict energies and stability of crystals in files."),
    "campaign": ("api.cli.campaign", "campaign", "Discovery campaigns."),
    "validate": ("api.cli.validate", "validate", "Hold the registry against what is known, or a higher level."),
    "demo": ("api.cli.demo", "demo", "A real discovery round on an own database, in one command."),
    "serve": ("api.cli.serve", "serve", "Answer GraphQL over HTTP."),
}


# Libraries that write into the home folder, or /tmp, unless they are told where.
CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "DGLDEFAULTDIR": "dgl",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, _, help_text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="motherlode", prog_name="lode")
def cli() -> None:
    """Motherlode: a registry and discovery engine for inorganic materials."""


def main() -> None:
    """Run the command. Exit code 1 and one line for every error that its user can mend, 2 for a wrong call."""
    _quiet_libraries()
    from predictors.errors import PredictorError
    from registry.errors import LodeError

    try:
        cli.main(prog_name="lode", standalone_mode=True)
    except (LodeError, PredictorError) as error:
        _give_up(str(error))
    except Exception as error:
        if (reason := _said_by_the_database(error)) is None:
            raise
        _give_up(reason)


def _give_up(reason: str) -> NoReturn:
    click.echo(f"lode: {reason}", err=True)
    sys.exit(1)


def _said_by_the_database(error: Exception) -> str | None:
    """What can't be sent to it, what this account may not do, or why the server ended a command; None for what is a
    mistake of ours."""
    import psycopg

    cause = getattr(error, "orig", error)
    if isinstance(cause, UnicodeEncodeError) and any(not _is_text(word) for word in sys.argv):
        return "an argument isn't text in UTF-8"
    said = str(cause).partition("\n")[0]
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return f"{said}: use an account of the role lode_owner, or of lode_worker for daemons and campaigns"
    gone = isinstance(cause, psycopg.OperationalError)
    return f"PostgreSQL says: {said}; what was stored before stays" if gone else None


def _is_text(word: str) -> bool:
    """Bytes of a command line that aren't UTF-8 stand in sys.argv as surrogates, which nothing can be sent as."""
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


def _quiet_libraries() -> None:
    """Threads, folders and warnings of libraries that read them from the environment when they are imported."""
    from registry.threads import one_thread_each

    one_thread_each()
    home = Path(os.environ.get("LODE_HOME") or "~/.local/share/motherlode").expanduser()
    for variable, folder in CACHES.items():
        os.environ.setdefault(variable, str(home / "cache" / folder))
    os.environ.setdefault("DGLBACKEND", "pytorch")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    import warnings

    warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
