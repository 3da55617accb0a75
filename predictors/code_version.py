"""Which code this is, for what it leaves behind."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

SECONDS = 10.0
"""That git may take: a checkout on a slow network drive isn't worth waiting for."""


@cache
def code_version() -> str:
    """ "0.1.0" of an installed package; in a git checkout with its commit, "0.1.0+g3bc151e0", and ".changed" after it
    where files differ from that. Whatever keeps git from telling (none here, another user's folder) leaves the first.
    """
    released = version("motherlode")
    commit = commit_of(Path(__file__).parents[1])
    return released if commit is None else f"{released}+g{commit}"


def commit_of(checkout: Path) -> str | None:
    """The commit that a folder is the top of; None where it is none, or git can't say."""
    if not (checkout / ".git").exists():  # or git would look in the folders above, and find some other project
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--exclude=*", "--abbrev=8", "--dirty=.changed"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
