"""The account that the embedded PostgreSQL runs as: the caller, or for root, whom `postgres` refuses, somebody else.

Nobody's folders are opened up for it. Where that account can't reach the checkout or LODE_HOME (below /root, say),
the server keeps one capability, to search and read, through `setpriv`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from registry.errors import DatabaseUnavailable

UNPRIVILEGED = "nobody"
CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}  # the narrower first; containers often hold only the second


@dataclass(frozen=True)
class Account:
    """Runs programs as (uid, gid), or as the caller where those are None; `prefix` is put before every command."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    def own(self, *paths: Path) -> None:
        """Hand over paths that we have just made."""
        if self.uid is not None and self.gid is not None:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, keep_open: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; both outputs in `stdout`. The program inherits the descriptors in `keep_open`."""
        return subprocess.run(
            [*self.prefix, *command],
            env=environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            pass_fds=keep_open,
            user=self._user,
            group=self._group,
            extra_groups=self._extra_groups,
        )

    def spawn(
        self, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a daemon in a session of its own, which no Ctrl-C of ours reaches."""
        return subprocess.Popen(
            [*self.prefix, *command],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=self._user,
            group=self._group,
            extra_groups=self._extra_groups,
        )

    @property
    def _user(self) -> int | None:
        return None if self.prefix else self.uid

    @property
    def _group(self) -> int | None:
        return None if self.prefix else self.gid

    @property
    def _extra_groups(self) -> list[int] | None:
        return None if self.prefix or self.uid is None else []


def account_for(data: Path, home: Path, *, needs: Sequence[Path]) -> Account:
    """The account to serve `data` as: for root the owner of `data` or `home`, or `nobody` where root owns both.

    `needs` are paths that the account must reach. Raises DatabaseUnavailable when it can't.
    """
    if os.geteuid() != 0:
        return Account()
    user = _unprivileged(data, home)
    account = Account(user.pw_uid, user.pw_gid)
    return account if _reaches(account, needs) else _with_capability(user)


def _unprivileged(data: Path, home: Path) -> pwd.struct_passwd:
    owners = [path.stat().st_uid for path in (data, home) if path.exists()]
    uid = next((owner for owner in owners if owner != 0), None)
    try:
        return pwd.getpwnam(UNPRIVILEGED) if uid is None else pwd.getpwuid(uid)
    except KeyError as error:
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root and there is no account {uid or UNPRIVILEGED}: use a normal user"
        ) from error


def _reaches(account: Account, needs: Sequence[Path]) -> bool:
    tests = [part for path in needs for part in ("-a", "-x", str(path), "-a", "-r", str(path))][1:]
    return account.run(["test", *tests], environment=dict(os.environ), cwd=Path("/")).returncode == 0


def _with_capability(user: pwd.struct_passwd) -> Account:
    """initdb asks access(2), which ignores capabilities of a normal uid unless no_setuid_fixup is set."""
    capability = next((name for name, bit in CAPABILITIES.items() if _effective_capabilities() >> bit & 1), None)
    if capability is None or shutil.which("setpriv") is None:
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root, and the account {user.pw_name} can't reach LODE_HOME or this "
            f"installation: run lode as a normal user, or move both out of {Path.home()}"
        )
    prefix = (
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--securebits=+no_setuid_fixup",
        f"--inh-caps=-all,+{capability}",
        f"--ambient-caps=+{capability}",
        f"--bounding-set=-all,+{capability}",
    )
    return Account(user.pw_uid, user.pw_gid, prefix)


def _effective_capabilities() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
