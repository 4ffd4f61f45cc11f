from __future__ import annotations

import io
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from gallery import worker
from gallery.descriptions import Description
from gallery.importers.folder import Folder
from gallery.imports import engine, leases, ledger, starting
from gallery.models import Image, ImportItem, ImportRun, ItemState, RunState
from gallery.views import imports as views
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HTMX = {"HX-Request": "true"}
FIELDS = {"tags": "", "album": "", "visibility": "public", "urls": ""}


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


@pytest.fixture
def run(tmp_path) -> ImportRun:
    """An import of three images and a broken file, done."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(make_images.sound("PNG", width=30 + number))
    (folder / "broken.png").write_bytes(b"no image")
    run = ledger.start(Folder(path=str(folder)), make_user())
    engine.work(run)
    return run


def zipped(n: int = 2) -> SimpleUploadedFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(n):
            archive.writestr(f"{number}.png", make_images.sound("PNG", width=30 + number))
    return SimpleUploadedFile("holidays.zip", file.getvalue())


def many_items(n: int) -> ImportRun:
    run = ImportRun.objects.create(
        owner=make_user(), source="folder", place="x", title="/many", state=RunState.DONE
    )
    ImportItem.objects.bulk_create(
        ImportItem(
            run=run,
            key=f"{number:06}.jpg",
            name=f"{number:06}.jpg",
            state=ItemState.FAILED if number % 100 == 0 else ItemState.HELD,
            reason="It is broken." if number % 100 == 0 else "",
        )
        for number in range(n)
    )
    ImportRun.objects.update(tally=ledger.counts(run))
    run.refresh_from_db()
    return run


def test_all_of_it_needs_a_login(client, run):
    for address in ("/imports", f"/imports/{run.uuid}", f"/imports/{run.uuid}/progress"):
        assert client.get(address).url.startswith("/login?next=/imports")
    for doing in ("pause", "resume", "retry", "undo"):
        assert client.post(f"/imports/{run.uuid}/{doing}").status_code == 302
    assert client.post("/imports", {"file": zipped(), **FIELDS}).status_code == 302
    assert ImportRun.objects.count() == 1
    assert Image.objects.count() == 3


def test_another_s_import_is_not_there_and_a_superuser_s_is(run):
    ben, root = Client(), Client()
    ben.force_login(make_user("ben"))
    root.force_login(make_user("root", is_superuser=True))
    for address in (f"/imports/{run.uuid}", f"/imports/{run.uuid}/progress"):
        assert ben.get(address, headers=HTMX).status_code == 404
        assert root.get(address, headers=HTMX).status_code in (200, 286)
    for doing in ("pause", "resume", "retry", "undo"):
        assert ben.post(f"/imports/{run.uuid}/{doing}").status_code == 404
    assert run.title not in ben.get("/imports").text
    assert f"of {run.owner}" in root.get("/imports").text
    run.refresh_from_db()
    assert run.state == RunState.DONE


def test_changes_are_posted_with_a_token(run):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert client.post(f"/imports/{run.uuid}/undo").status_code == 403
    assert client.get(f"/imports/{run.uuid}/undo").status_code == 405
    assert client.post(f"/imports/{run.uuid}/destroy").status_code == 403


def test_the_page_shows_the_items_of_a_state_with_their_reasons(ann, run):
    page = ann.get(run.get_absolute_url()).text
    assert page.count('class="item ') == 4
    assert page.count("/images/") == 3
    failed = ann.get(run.get_absolute_url(), {"state": "failed"}).text
    assert failed.count('class="item ') == 1
    assert "broken.png" in failed
    assert "The file is not an image" in failed
    assert ann.get(run.get_absolute_url(), {"state": "none", "after": "x"}).status_code == 200


def test_the_empty_page_says_what_to_do(ann):
    page = ann.get("/imports").text
    assert "There is none yet" in page
    assert '<details class="panel start-import" open>' in page


def test_polling_ends_when_the_import_has(ann, run):
    ImportRun.objects.update(state=RunState.RUNNING, is_unattended=True)
    address = f"/imports/{run.uuid}/progress?phase=running&state="
    running = ann.get(address, headers=HTMX)
    assert running.status_code == 200
    assert "HX-Refresh" not in running.headers
    ImportRun.objects.update(state=RunState.DONE)
    over = ann.get(address, headers=HTMX)
    assert over.status_code == 286
    assert over.headers["HX-Refresh"] == "true"
    assert 'hx-get="/imports/' not in ann.get(run.get_absolute_url()).text
    assert ann.get(address).url == run.get_absolute_url()


def test_buttons_are_those_that_do_something(ann, run):
    def buttons():
        page = ann.get(run.get_absolute_url()).text
        return {doing for doing in ("pause", "resume", "retry", "undo") if f'/{doing}"' in page}

    assert buttons() == {"retry", "undo"}
    for state, there in (
        ("running", {"pause", "resume", "undo"}),  # its command is gone
        ("broken", {"resume", "undo"}),
        ("paused", {"resume", "undo"}),
        ("undoing", set()),
        ("undone", set()),
    ):
        ImportRun.objects.update(state=state)
        assert buttons() == there, state


def test_an_import_is_paused_resumed_retried_and_undone(ann, run):
    def press(doing):
        answer = ann.post(f"/imports/{run.uuid}/{doing}", follow=True)
        run.refresh_from_db()
        return answer

    assert "cannot be paused" in press("pause").text
    assert press("pause").status_code == 409
    assert "1 item will be tried again" in press("retry").text
    assert (run.state, run.is_unattended) == (RunState.WAITING, True)
    press("pause")
    assert run.state == RunState.PAUSED
    press("resume")
    assert run.state == RunState.WAITING
    press("undo")
    assert run.state == RunState.UNDOING
    engine.work(run)
    assert not Image.objects.exists()


def test_an_archive_is_sent_and_imported(ann, settings):
    answer = ann.post("/imports", {"file": zipped(), **FIELDS, "tags": "Sea", "album": "2026"})
    run = ImportRun.objects.get()
    assert answer.url == run.get_absolute_url()
    assert (run.title, run.source, run.is_unattended) == ("holidays.zip", "archive", True)
    kept = settings.IMPORT_DIR / run.upload
    assert [path.name for path in kept.iterdir()] == ["holidays.zip"]
    engine.work(run)
    assert run.failure == ""
    assert Image.objects.filter(tags__name="sea", album__name="2026").count() == 2

    ann.post("/imports", {"file": zipped(), **FIELDS})
    again = ImportRun.objects.latest("pk")
    engine.work(again)
    assert ledger.counts(again)["held"] == 2


def test_urls_are_sent_as_lines(ann):
    urls = "https://a.example/1.jpg\n\n  https://a.example/2.jpg \nhttps://a.example/1.jpg"
    ann.post("/imports", {**FIELDS, "urls": urls, "is_dry_run": "on"})
    run = ImportRun.objects.get()
    assert (run.title, run.source, run.is_dry_run) == ("2 URLs", "urls", True)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "Choose a file, or write a URL."),
        ({"urls": "file:///etc/passwd"}, "“file:///etc/passwd” is no http or https address."),
        ({"urls": "http://a.example/\x07"}, "holds spaces or control characters"),
        ({"urls": "http://a.example/1", "file": zipped()}, "not both at once"),
        ({"file": SimpleUploadedFile("a.exe", b"MZ")}, "must be an archive"),
        ({"file": SimpleUploadedFile("a.zip", b"")}, "empty"),
        ({"urls": "http://a.example/1", "tags": "x" * 200}, "The tag has 200 characters"),
    ],
)
def test_what_cannot_be_imported_is_said_in_a_sentence(ann, settings, sent, sentence):
    for file in sent.values():
        if hasattr(file, "seek"):
            file.seek(0)
    answer = ann.post("/imports", {**FIELDS, **sent})
    assert answer.status_code == 400
    assert sentence in answer.text
    assert not ImportRun.objects.exists()
    assert not Path(settings.IMPORT_DIR).exists() or not list(settings.IMPORT_DIR.iterdir())


def test_a_table_that_is_sent_reads_no_file_of_the_server(ann, tmp_path):
    (tmp_path / "secret.png").write_bytes(make_images.sound("PNG"))
    lines = f"path\n{tmp_path}/secret.png\n../../secret.png\n/etc/passwd\n"
    ann.post("/imports", {**FIELDS, "file": SimpleUploadedFile("list.csv", lines.encode())})
    run = ImportRun.objects.get()
    engine.work(run)
    assert run.state == RunState.DONE
    assert not Image.objects.exists()
    assert set(run.items.values_list("state", flat=True)) <= {"failed", "skipped"}


def test_thousands_of_items_are_paged_forth_and_back_in_few_queries(
    ann, django_assert_max_num_queries
):
    run = many_items(5000)
    seen, address = [], run.get_absolute_url()
    with django_assert_max_num_queries(6):  # session, user, run, items, messages
        page = ann.get(address)
    while address:
        rows = ann.get(address).context["items"]
        seen += [item.key for item in rows["rows"]]
        address = rows["next"]
    assert seen == [f"{number:06}.jpg" for number in range(5000)]

    failed = ann.get(run.get_absolute_url(), {"state": "failed"}).context["items"]
    assert len(failed["rows"]) == 50
    assert not failed["next"]
    second = ann.get(page.context["items"]["next"]).context["items"]
    first = ann.get(second["previous"]).context["items"]
    assert [item.key for item in first["rows"]] == seen[:100]
    assert not first["previous"]


def test_names_with_script_are_shown_as_text(ann):
    run = many_items(1)
    run.items.update(name="<script>alert(1)</script>.jpg", reason="<b>no</b>")
    page = ann.get(run.get_absolute_url()).text
    assert "<script>alert" not in page
    assert "<b>no</b>" not in page


def test_older_imports_are_on_another_page(ann):
    for number in range(35):
        ImportRun.objects.create(owner=make_user(), source="demo", place="", title=f"run {number}")
    first = ann.get("/imports")
    assert first.text.count('class="run"') == 30
    second = ann.get("/imports", {"before": first.context["older"]})
    assert second.text.count('class="run"') == 5


# The API


@pytest.fixture
def api(client):
    from gallery.models import ApiToken

    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {ApiToken.issue(make_user(), 'test')}"
    return client


def test_no_import_is_hidden_where_the_clock_was_set_back(ann, api, monkeypatch):
    monkeypatch.setattr(views, "RUNS_SHOWN", 2)
    ids = []
    for number in range(5):
        run = ImportRun.objects.create(owner=make_user(), source="demo", place="")
        earlier = timezone.now() - timezone.timedelta(days=number)
        ImportRun.objects.filter(pk=run.pk).update(created_at=earlier)
        ids.append(run.pk)
    on_page, in_api, before, next_ = [], [], None, None
    for _ in range(3):
        page = ann.get("/imports", {"before": before} if before else {}).context
        on_page += [run.pk for run, *_ in page["runs"]]
        before = page["older"]
        told = api.get("/api/v1/imports", {"k": 2} | ({"before": next_} if next_ else {})).json()
        in_api += [run["number"] for run in told["imports"]]
        next_ = told["next"]
    assert on_page == in_api == ids[::-1]


@pytest.mark.parametrize("end", ["zip", "tar", "tgz", "tbz2", "txz", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_known_by_any_of_its_endings(db, end):
    run = starting.from_file(zipped(), f"Trip.{end.upper()}", make_user(), defaults=Description())
    assert run.source == "archive"


def test_the_api_starts_an_import_of_urls(api):
    sent = {"urls": ["https://a.example/1.jpg"], "tags": ["sea"], "dry_run": True}
    answer = api.post("/api/v1/imports", sent, content_type="application/json")
    assert answer.status_code == 201
    told = answer.json()
    assert (told["title"], told["state"]) == ("https://a.example/1.jpg", "waiting")
    run = ImportRun.objects.get(uuid=told["id"])
    assert run.defaults == {"tags": ["sea"]}
    assert api.get("/api/v1/imports").json()["imports"][0]["id"] == told["id"]


def test_the_api_takes_an_archive_and_tells_its_items(api):
    answer = api.post("/api/v1/imports/file", {"file": zipped(3), "album": "Sea"})
    assert answer.status_code == 201, answer.text
    run = ImportRun.objects.get()
    engine.work(run)
    address = f"/api/v1/imports/{run.uuid}"
    told = api.get(address).json()
    assert (told["state"], told["counts"]["new"], told["total"]) == ("done", 3, 3)
    page = api.get(f"{address}/items", {"k": 2, "state": "new"}).json()
    assert [item["name"] for item in page["items"]] == ["0.png", "1.png"]
    rest = api.get(f"{address}/items", {"k": 2, "state": "new", "after": page["next"]}).json()
    assert [item["name"] for item in rest["items"]] == ["2.png"]
    assert rest["next"] is None
    assert Image.objects.filter(uuid=rest["items"][0]["image"], album__name="Sea").exists()


def test_the_api_steers_an_import(api, run):
    address = f"/api/v1/imports/{run.uuid}"
    refused = api.post(f"{address}/pause")
    assert refused.status_code == 409
    assert refused.json() == {"detail": "This import is done: it cannot be paused."}
    assert api.post(f"{address}/retry").json()["state"] == "waiting"
    assert api.post(f"{address}/pause").json()["state"] == "paused"
    assert api.post(f"{address}/resume").json()["state"] == "waiting"
    assert api.post(f"{address}/undo").json()["state"] == "undoing"


@pytest.mark.parametrize(
    ("sent", "status"),
    [({"urls": []}, 400), ({"urls": ["ftp://a.example"]}, 400), ({}, 400), ({"urls": [""]}, 400)],
)
def test_the_api_refuses_with_a_sentence(api, sent, status):
    answer = api.post("/api/v1/imports", sent, content_type="application/json")
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


def test_the_api_hides_what_is_another_s(run, client):
    from gallery.models import ApiToken

    token = {"Authorization": f"Bearer {ApiToken.issue(make_user('ben'), 'test')}"}
    for end in ("", "/items"):
        answer = client.get(f"/api/v1/imports/{run.uuid}{end}", headers=token)
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("There is no such import")
    assert client.post(f"/api/v1/imports/{run.uuid}/undo", headers=token).status_code == 404
    assert client.get("/api/v1/imports", headers=token).json() == {"imports": [], "next": None}
    assert client.get("/api/v1/imports").status_code == 401


def test_too_large_a_file_is_refused_before_it_is_read(api, settings):
    settings.IMPORT_UPLOAD_BYTES = 1000
    big = SimpleUploadedFile("a.zip", b"x" * 1_200_000)
    assert api.post("/api/v1/imports/file", {"file": big}).status_code == 413


# The admin


def test_the_admin_shows_imports_and_items_and_changes_none(run):
    root = Client()
    root.force_login(make_user("root", is_staff=True, is_superuser=True))
    table = root.get("/admin/gallery/importrun/")
    assert "3 new, 0 already there, 1 failed." in table.text
    one = root.get(f"/admin/gallery/importrun/{run.pk}/change/")
    assert run.get_absolute_url() in one.text
    assert 'name="_save"' not in one.text
    items = root.get("/admin/gallery/importitem/", {"run__id__exact": run.pk, "state": "failed"})
    assert items.text.count("broken.png") >= 1
    (item,) = items.context["cl"].result_list
    assert root.get(f"/admin/gallery/importitem/{item.pk}/change/").status_code == 200
    for value in ("x", "9" * 30):
        answer = root.get("/admin/gallery/importitem/", {"run__id__exact": value}, follow=True)
        assert answer.status_code == 200


# Without a worker


@pytest.fixture
def no_worker():
    cache.delete(worker.UPKEEP_ALIVE)


@pytest.fixture
def undoing(run: ImportRun, no_worker: None) -> ImportRun:
    ledger.undo(run)
    return run


def waiting_run() -> ImportRun:
    source = Folder(path="/nowhere")
    return ledger.start(source, make_user(), is_unattended=True)


def test_an_undo_that_no_worker_does_says_so_everywhere(ann, undoing):
    sentence = (
        "No worker that would do it was heard of lately: start one, or do it by "
        f"`bin/manage imports undo {undoing.pk}`."
    )
    assert sentence in ann.get(undoing.get_absolute_url()).text
    assert sentence in ann.get(f"/imports/{undoing.uuid}/progress", headers=HTMX).text
    assert sentence in ann.get("/imports").text
    assert ann.get(f"/api/v1/imports/{undoing.uuid}").json()["notice"] == sentence
    assert sentence in told("imports", "list")
    assert sentence in told("imports", "show", undoing.pk)


def test_what_waits_for_an_undo_names_it(ann, undoing):
    page = ann.get(waiting_run().get_absolute_url()).text
    assert f"It waits until import {undoing.pk} of the same owner is undone. No worker" in page
    assert f"bin/manage imports undo {undoing.pk}" in page


def test_with_a_worker_only_the_reason_is_told(ann, undoing):
    cache.set(worker.UPKEEP_ALIVE, 1, timeout=60)
    assert ann.get(f"/api/v1/imports/{undoing.uuid}").json()["notice"] == ""
    waits = ann.get(f"/api/v1/imports/{waiting_run().uuid}").json()["notice"]
    assert waits == f"It waits until import {undoing.pk} of the same owner is undone."
    cache.delete(worker.UPKEEP_ALIVE)


def test_a_run_that_somebody_works_on_or_that_is_over_needs_no_notice(ann, run, no_worker):
    assert ann.get(f"/api/v1/imports/{run.uuid}").json()["notice"] == ""
    ledger.undo(run)
    leases.take(run)
    assert ann.get(f"/api/v1/imports/{run.uuid}").json()["notice"] == ""


def told(*arguments: object, out: io.StringIO | None = None) -> str:
    """Return what a command says, on both ways."""
    out = out or io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=out)
    return out.getvalue()


def test_a_command_that_waits_for_an_undo_says_so_once(undoing, tmp_path, monkeypatch):
    monkeypatch.setattr("gallery.management.imports.LOOK_SECONDS", 0.05)
    folder = tmp_path / "others"
    folder.mkdir()
    out = io.StringIO()
    sentence = f"It waits until import {undoing.pk} of the same owner is undone."

    def undo() -> None:
        try:
            with suppress(AssertionError):  # told below
                wait_until(lambda: sentence in out.getvalue())
            time.sleep(0.3)  # in which it looks again
            engine.work(undoing)
        finally:
            connection.close()

    undoer = threading.Thread(target=undo)
    undoer.start()
    said = told("import_images", "folder", folder, "--owner", "ann", out=out)
    undoer.join()
    assert said.count(sentence) == 1
