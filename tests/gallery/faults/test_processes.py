"""Our own processes are killed, and two of them do the same at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.gallery.faults.site import Site, kill, make_pictures
from tests.gallery.uploads import picture

pytestmark = pytest.mark.slow

PICTURES = 120


def test_a_worker_is_killed_in_the_middle_of_an_import(site: Site, tmp_path):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    first = site.worker()
    site.beat()
    site.start_unattended_import(folder)
    site.wait_until(lambda: site.count("gallery_image") > 20)
    kill(first)
    # As of one moment: its last commit may be under way.
    here, brought = site.one(
        "SELECT (SELECT count(*) FROM gallery_image),"
        " (SELECT count(*) FROM gallery_importitem WHERE state = 'new')"
    )
    assert brought == here < PICTURES  # no image without its row, and no row without its image
    site.worker()
    site.lease_has_run_out()
    site.wait_until(lambda: site.is_embedded(PICTURES))
    assert site.count("gallery_importrun WHERE state = 'done'") == 1
    site.assert_whole(PICTURES, failed=1, orphans=30)


def test_two_workers_and_two_imports_of_one_folder_at_once(site: Site, tmp_path):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    for _ in range(2):
        site.worker()
    site.beat()
    commands = [
        site.command("import_images", "folder", folder, "--tag", tag, "--no-wait")
        for tag in ("spring", "autumn", "autumn")
    ]
    said = [command.communicate(timeout=240) for command in commands]
    assert [command.returncode for command in commands] == [1, 1, 1], said
    # The third is the second's run: it looks on, or takes over.
    assert site.count("gallery_importrun") <= 3
    for state in ("new", "held"):
        items = site.one("SELECT count(*) FROM gallery_importitem WHERE state = %s", state)
        runs = site.count("gallery_importrun")
        assert items == (PICTURES if state == "new" else (runs - 1) * PICTURES)
    site.wait_until(lambda: site.is_embedded(PICTURES))
    site.assert_whole(PICTURES, failed=site.count("gallery_importrun"))


@dataclass
class Sender:
    """Sends a file in small parts by the tus protocol, and goes on after whatever went wrong."""

    site: Site
    url: str
    data: bytes
    location: str = ""

    def send(self) -> None:
        """Send what is missing. Raise httpx.TransportError when the server does not answer."""
        headers = {"Authorization": f"Bearer {self.site.token}", "Tus-Resumable": "1.0.0"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            if not self.location:
                begun = client.post(
                    "/api/v1/uploads", headers={"Upload-Length": str(len(self.data))}
                )
                assert begun.status_code == 201, begun.text
                self.location = begun.headers["Location"]
            said = client.head(self.location)
            while "Upload-State" not in said.headers:
                offset = int(said.headers["Upload-Offset"])
                said = client.patch(
                    self.location,
                    content=self.data[offset : offset + 400],
                    headers={
                        "Upload-Offset": str(offset),
                        "Content-Type": "application/offset+octet-stream",
                    },
                )
                if said.status_code not in (200, 204):
                    said = client.head(self.location)
                    if int(said.headers["Upload-Offset"]) == len(self.data):
                        return  # all of it is here: the server makes the image by itself

    def try_to_send(self) -> bool:
        try:
            self.send()
        except httpx.TransportError:
            return False
        return True


def test_a_web_server_is_killed_in_the_middle_of_uploads(site: Site):
    url = site.web()
    web = site.processes[-1]
    site.worker()
    site.beat()
    senders = [Sender(site, url, picture(seed)) for seed in range(40)]
    with ThreadPoolExecutor(6) as pool:
        tries = [pool.submit(sender.try_to_send) for sender in senders]
        site.wait_until(lambda: site.count("gallery_image") > 5)
        kill(web)
        arrived = [one.result(timeout=240) for one in tries]
    assert 0 < sum(arrived) < len(senders)
    assert site.count("gallery_image") <= len(senders)

    site.web(port=httpx.URL(url).port or 0)
    assert all(sender.try_to_send() for sender in senders)
    # What had arrived whole when the server died is made an image of two minutes later.
    site.execute("UPDATE gallery_upload SET changed_at = changed_at - interval '3 minutes'")
    site.wait_until(lambda: site.is_embedded(len(senders)))
    assert site.count("gallery_upload WHERE state = 'new'") == len(senders)
    # One for each thread that died after its image's commit; they go when they are a day old.
    assert len([*(site.data_dir / "uploads").glob("??/*")]) <= 8
    site.assert_whole(len(senders), orphans=30)
