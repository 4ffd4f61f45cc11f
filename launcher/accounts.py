"""Which user runs Postgres when we are root: Postgres refuses to."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from launcher.errors import LauncherError

# No user is added to the machine for us. `postgres` exists for this very purpose where the
# machine has it; `nobody` is everywhere. Either owns only the Postgres folder (0700), so
# what it can reach there is the database and nothing else of Semblance.
NAMES = ("postgres", "nobody")


class Credentials(TypedDict, total=False):
    """Arguments of subprocess.Popen that change the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def credentials(self) -> Credentials:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, path: Path) -> bool:
        return path.stat().st_uid == self.uid

    def can_enter(self, folder: Path) -> bool:
        """Ask the kernel, as that user: permission bits alone would miss ACLs and mounts."""
        test = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
            cwd="/",
            stderr=subprocess.DEVNULL,
            check=False,
            **self.credentials,
        )
        return test.returncode == 0


def _from(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def for_postgres(folder: Path) -> Account:
    """Ourselves; if we are root, the owner of an existing folder or an unprivileged user."""
    uid = os.geteuid()
    if uid == 0 and folder.exists():
        uid = folder.stat().st_uid
    if uid != 0:
        try:
            return _from(pwd.getpwuid(uid))
        except KeyError:
            raise LauncherError(
                f"Postgres needs a user with a name, and user id {uid} has none in /etc/passwd."
            ) from None
    for name in NAMES:
        try:
            return _from(pwd.getpwnam(name))
        except KeyError:
            continue
    raise LauncherError(
        "Postgres refuses to run as root, and this machine has neither a user 'postgres' nor "
        "'nobody': start Semblance as an ordinary user."
    )
