"""Real S3 servers on the loopback: moto knows much of S3, rclone looks at signatures and clocks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gallery.storage import clients
from gallery.storage.addresses import BucketAddress, parse_bucket
from gallery.storage.bucket import BucketStorage

KEYS = {"AWS_ACCESS_KEY_ID": "semblance", "AWS_SECRET_ACCESS_KEY": "not-to-be-told-9f2c"}
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Run a server for the life of the block; give its address when it answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | KEYS)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port, folder / "moto.log") as endpoint:
        yield endpoint


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    port = free_port()
    served = folder / "rclone"
    served.mkdir()
    keys = ",".join(KEYS.values())
    command = [
        *(str(BIN / "rclone"), "serve", "s3", f"--addr=127.0.0.1:{port}", f"--auth-key={keys}"),
        *("--config=", "--no-modtime", str(served)),
    ]
    with serving(command, port, folder / "rclone.log") as endpoint:
        yield endpoint


def address(endpoint: str, bucket: str, *, prefix: str = "library", timeout: int = 30) -> str:
    """Return a STORAGE_URL."""
    patience = f"timeout={timeout}&attempts=2"
    return f"s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1&{patience}"


def made(url: str) -> BucketStorage:
    """Return the storage of an address, in a bucket that is made for it."""
    at: BucketAddress = parse_bucket(url)
    clients.connect(at).create_bucket(Bucket=at.bucket)
    return BucketStorage(address=at)


def opened(url: str) -> BucketStorage:
    return BucketStorage(address=parse_bucket(url))
