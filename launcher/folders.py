"""Folders that only their owner may enter, and sockets whose path is short enough."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from launcher.accounts import Account
from launcher.errors import LauncherError

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 100


def make_private(folder: Path, owner: Account | None = None) -> Path:
    """Make the folder, and see that it is a real one, 0700, and the owner's (default: ours)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    uid = os.geteuid() if owner is None else owner.uid
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
        raise LauncherError(f"{folder} belongs to somebody else: it is not used for Semblance.")
    if owner is not None and found.st_uid != owner.uid:
        os.chown(folder, owner.uid, owner.gid)
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def make_passable(folder: Path) -> Path:
    """Make a folder that only we can list. As root, others can pass: Postgres' user must.

    A folder that exists keeps its mode.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


def make_socket_folder(link: Path, socket_name: str, owner: Account | None = None) -> Path:
    """Make the folder for a socket at `link`; under a too long path `link` points elsewhere.

    The link is what tells other processes where the socket is (`socket_folder`): they may see
    another temporary folder than the one chosen here.
    """
    if len(os.fsencode(link / socket_name)) <= LONGEST_SOCKET_PATH:
        if link.is_symlink():
            link.unlink()
        return make_private(link, owner)
    name = hashlib.sha256(os.fsencode(link)).hexdigest()[:16]
    folder = _short_parent() / f"semblance-{name}"
    if len(os.fsencode(folder / socket_name)) > LONGEST_SOCKET_PATH:
        raise LauncherError(f"Paths under {folder.parent} are too long for a unix socket.")
    make_private(folder, owner)
    if link.is_symlink():
        link.unlink()
    elif link.exists():  # the data folder was moved here from a shorter path
        shutil.rmtree(link)
    link.symlink_to(folder)
    return folder


def socket_folder(link: Path) -> Path:
    return link.readlink() if link.is_symlink() else link


def _short_parent() -> Path:
    # /run is root's own, so nobody can have taken a name there before us.
    run = Path("/run")
    if os.geteuid() == 0 and run.is_dir():
        return run
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime)
    return Path(tempfile.gettempdir())
