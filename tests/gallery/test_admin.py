from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from embeddings.models import Snapshot
from gallery.models import Album, ApiToken, Image, ImageEmbeddingJob, State, Tag
from tests.gallery.uploads import stored
from tests.rows import make_images, make_space, make_user

pytestmark = pytest.mark.django_db

TABLE = "/admin/gallery/image/"


@pytest.fixture
def root():
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


def staff(name, *permissions):
    user = make_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def shown(answer):
    return {image.original_name for image in answer.context["cl"].result_list}


def act(client, action, images, **fields):
    form = {"action": action, "_selected_action": [image.pk for image in images], **fields}
    answer = client.post(TABLE, form, follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


# The table of images


def test_a_hundred_images_cost_few_queries(root, django_assert_max_num_queries):
    tag, album = Tag.objects.create(name="sea"), Album.objects.create(owner=make_user(), name="A")
    for image in Image.objects.filter(pk__in=make_images(100, album=album)):
        image.tags.add(tag)
    with django_assert_max_num_queries(6):  # session, user, count, two for the page, its tags
        answer = root.get(TABLE)
    assert answer.content.count(b"/thumbnail/256.webp") == answer.context["cl"].list_per_page


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("lighthouse", {"1.png"}),
        ("lighthouses", {"1.png"}),
        ("boat -sea", {"2.png", "Boat_3.png"}),
        ('"red boat"', {"2.png"}),
        ("harbour", {"Boat_3.png"}),
        ("1.png", {"1.png"}),
        ("cat or dog", set()),
        ("Boat_3.PNG", {"Boat_3.png"}),
        ("b' & | ! :* \\", set()),
    ],
)
def test_full_text_search_finds_captions_tags_and_names(root, term, names):
    stored(1, caption="A lighthouse by the sea, a boat")
    stored(2, caption="A red boat")
    stored(3, tags=("harbour",), original_name="Boat_3.png")
    assert shown(root.get(TABLE, {"q": term})) == names


def test_a_search_that_is_no_text_finds_nothing_amiss(root):
    assert root.get(TABLE, {"q": "a\x00b"}).status_code == 200


def test_an_id_or_a_sha256_finds_its_image(root):
    image, _ = stored(1), stored(2)
    assert shown(root.get(TABLE, {"q": str(image.uuid)})) == {"1.png"}
    assert shown(root.get(TABLE, {"q": image.sha256.upper()})) == {"1.png"}


@pytest.mark.parametrize(
    "condition",
    [
        {"state__exact": "failed"},
        {"visibility__exact": "private"},
        {"tag": "Sea"},
        {"album": "harbour"},
        {"category": "ships"},
        {"mime_type": "image/png", "tag": "sea"},
    ],
)
def test_the_table_is_filtered(root, condition):
    stored(1, tags=("sea",), album="Harbour", category="ships", visibility="private")
    Image.objects.update(state=State.FAILED)
    stored(2, tags=("land",), album="Meadow", category="cows")
    assert shown(root.get(TABLE, condition)) == {"1.png"}


def test_a_typed_filter_keeps_the_others(root):
    page = root.get(TABLE, {"tag": "sea", "album": "A", "q": "boat"}).content.decode()
    assert '<input type="hidden" name="tag" value="sea">' in page
    assert '<input type="hidden" name="q" value="boat">' in page
    assert 'href="?album=A&amp;q=boat"' in page  # all tags


def test_a_failed_image_shows_its_reason(root):
    stored(1)
    Image.objects.update(state=State.FAILED, failure="The encoder failed: <b>")
    assert "Failed: The encoder failed: &lt;b&gt;" in root.get(TABLE).content.decode()


def test_images_come_in_by_the_upload_page(root):
    assert reverse("upload") in root.get(TABLE).content.decode()
    assert root.get(f"{TABLE}add/").status_code == 403


def test_staff_see_what_they_may_see(root):
    stored(1, visibility="private")
    stored(2)
    client = staff("bob", "view_image")
    assert shown(client.get(TABLE)) == {"2.png"}
    assert shown(root.get(TABLE)) == {"1.png", "2.png"}


# Actions


def test_images_are_tagged_and_untagged(root):
    images = [stored(1), stored(2, tags=("night",))]
    assert act(root, "add_tag", images, name=" Night ") == ["2 images are tagged “night”."]
    assert Tag.objects.get(name="night").images.count() == 2
    assert Image.objects.filter(full_text="night").count() == 2
    said = act(root, "remove_tag", images[:1], name="night")
    assert said == ["1 image is no longer tagged “night”."]
    assert Tag.objects.get(name="night").images.get() == images[1]


@pytest.mark.parametrize("name", ["", "a" * 101, "a\x00b"])
@pytest.mark.parametrize("action", ["add_tag", "remove_tag"])
def test_a_tag_that_cannot_be_is_refused(root, action, name):
    image = stored(1, tags=("sea",))
    act(root, action, [image], name=name)
    assert [tag.name for tag in image.tags.all()] == ["sea"]


def test_images_move_to_the_album_of_their_own_owner(root):
    ann, bob = stored(1), stored(2, owner="bob", album="Old")
    assert act(root, "move_to_album", [ann, bob], name="Harbour") == [
        "2 images are in the album “Harbour”."
    ]
    for image in Image.objects.select_related("album"):
        assert image.album.name == "Harbour"
        assert image.album.owner_id == image.owner_id


def test_images_move_out_of_the_album_they_are_filtered_by(root):
    images = [stored(1, album="Old"), stored(2, album="Old")]
    form = {"action": "move_to_album", "_selected_action": [image.pk for image in images]}
    root.post(f"{TABLE}?album=Old", form)
    assert not Image.objects.exclude(album=None).exists()


def test_images_are_made_private_and_public(root):
    image = stored(1)
    assert act(root, "make_private", [image]) == ["1 image is private now."]
    assert Image.objects.get().visibility == "private"
    act(root, "make_public", [image])
    assert Image.objects.get().visibility == "public"


def test_a_failed_image_is_embedded_again(root):
    make_space()
    image = stored(1)
    Image.objects.update(state=State.FAILED, failure="bad luck")
    ImageEmbeddingJob.objects.update(attempts=3, failed_at=timezone.now())
    assert act(root, "embed_again", [image]) == ["1 image is waiting to be embedded again."]
    job = ImageEmbeddingJob.objects.get()
    assert (job.attempts, job.failed_at) == (0, None)
    assert Image.objects.get().state == State.WAITING


def test_images_are_deleted_with_their_files(root, django_capture_on_commit_callbacks):
    make_space()
    images = [stored(1, tags=("sea",), captions=(("coco", "A ship"),)), stored(2)]
    files = [image.file for image in images] + [image.thumbnail_large for image in images]
    with django_capture_on_commit_callbacks(execute=True):
        act(root, "delete_selected", images, post="yes")
    assert not Image.objects.exists()
    assert not ImageEmbeddingJob.objects.exists()
    assert not any(file.storage.exists(file.name) for file in files)


def test_one_image_is_deleted_from_its_page(root, django_capture_on_commit_callbacks):
    image = stored(1)
    with django_capture_on_commit_callbacks(execute=True):
        root.post(f"{TABLE}{image.pk}/delete/", {"post": "yes"})
    assert not Image.objects.exists()
    assert not image.file.storage.exists(image.file.name)


def test_those_who_may_only_look_have_no_actions():
    image = stored(1)
    client = staff("bob", "view_image")
    act(client, "make_private", [image])
    assert Image.objects.get().visibility == "public"
    assert client.post(f"{TABLE}{image.pk}/delete/", {"post": "yes"}).status_code == 403


# The page of an image


def form_of(client, image, **changes):
    page = client.get(f"{TABLE}{image.pk}/change/")
    form = page.context["adminform"].form
    fields = {name: form[name].value() for name in form.fields}
    fields["tags"] = [tag.pk for tag in image.tags.all()]
    for prefix in ("captions",):
        fields |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    return {name: "" if value is None else value for name, value in (fields | changes).items()}


def test_a_record_is_changed_and_gets_a_further_caption(root):
    image = stored(1, caption="old", tags=("sea",))
    form = form_of(root, image, caption="new") | {
        "captions-TOTAL_FORMS": 1,
        "captions-0-text": "A lighthouse",
        "captions-0-source": "admin",
    }
    answer = root.post(f"{TABLE}{image.pk}/change/", form)
    assert answer.status_code == 302, answer.context["errors"]
    image = Image.objects.get()
    assert image.caption == "new"
    assert [tag.name for tag in image.tags.all()] == ["sea"]
    assert Image.objects.filter(full_text="lighthouse").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", '{"a": "\\u0000"}'),
        ("metadata", "[1]"),
        ("latitude", "91"),
        ("caption", "\x00"),
    ],
)
def test_what_cannot_be_stored_is_told_in_the_form(root, name, value):
    image = stored(1)
    answer = root.post(f"{TABLE}{image.pk}/change/", form_of(root, image, **{name: value}))
    assert answer.status_code == 200
    assert name in answer.context["adminform"].form.errors


def test_an_image_cannot_lie_in_anothers_album(root):
    image, album = stored(1), Album.objects.create(owner=make_user("bob"), name="Bob's")
    answer = root.post(f"{TABLE}{image.pk}/change/", form_of(root, image, album=album.pk))
    assert "album" in answer.context["adminform"].form.errors


def test_the_page_of_an_image_shows_its_file(root):
    image = stored(1)
    page = root.get(f"{TABLE}{image.pk}/change/").content.decode()
    assert f"/images/{image.uuid}/thumbnail/1024.webp" in page
    assert image.sha256 in page
    assert f'title="{image.colours[0]["hex"]}, ' in page
    assert "32 x 24 pixels" in page


# Jobs


@pytest.fixture
def jobs():
    space = make_space()
    first, second, third = make_images(3)
    soon = timezone.now() + timezone.timedelta(minutes=1)
    return ImageEmbeddingJob.objects.bulk_create(
        [
            ImageEmbeddingJob(image_id=first, space=space),
            ImageEmbeddingJob(image_id=second, space=space, lease_until=soon, attempts=1),
            ImageEmbeddingJob(
                image_id=third, space=space, attempts=3, failed_at=timezone.now(),
                last_error="Traceback\nThe encoder failed: too dark",
            ),
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("status", "which"), [("waiting", 0), ("leased", 1), ("parked", 2)])
def test_jobs_are_filtered_by_where_they_stand(root, jobs, status, which):
    answer = root.get("/admin/gallery/imageembeddingjob/", {"status": status})
    assert list(answer.context["cl"].result_list) == [jobs[which]]


def test_a_parked_job_shows_its_reason_and_is_tried_again(root, jobs):
    table = "/admin/gallery/imageembeddingjob/"
    assert "The encoder failed: too dark" in root.get(table).content.decode()
    form = {"action": "retry", "_selected_action": [jobs[2].pk]}
    answer = root.post(table, form, follow=True)
    assert [str(m) for m in answer.context["messages"]] == ["1 of them will be tried again."]
    assert ImageEmbeddingJob.objects.get(pk=jobs[2].pk).failed_at is None


def test_many_jobs_cost_few_queries(root, django_assert_max_num_queries):
    space = make_space()
    ids = make_images(100)
    ImageEmbeddingJob.objects.bulk_create(
        [ImageEmbeddingJob(image_id=id_, space=space) for id_ in ids.tolist()]
    )
    with django_assert_max_num_queries(7):
        root.get("/admin/gallery/imageembeddingjob/")


# The rest


def test_snapshots_are_only_looked_at(root):
    space = make_space()
    snapshot = Snapshot.objects.create(
        table="gallery_imageembedding", space=space, folder="a", kind="Flat", vectors=3,
        bytes=2048, recall=1, build_seconds=1,
    )  # fmt: skip
    table = "/admin/embeddings/snapshot/"
    assert root.get(table).status_code == 200
    assert root.get(f"{table}{snapshot.pk}/change/").status_code == 200
    assert root.get(f"{table}add/").status_code == 403
    assert root.post(f"{table}{snapshot.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Snapshot.objects.exists()


def test_a_token_is_shown_once_when_it_is_issued(root):
    bob = make_user("bob")
    table = "/admin/gallery/apitoken/"
    answer = root.post(f"{table}add/", {"user": bob.pk, "name": "camera"}, follow=True)
    token = ApiToken.objects.get(user=bob)
    (message, *_) = [str(m) for m in answer.context["messages"]]
    shown_token = message.partition("<code>")[2].partition("</code>")[0]
    assert ApiToken.sha256_of(shown_token) == token.sha256
    assert shown_token not in root.get(table).content.decode()


def test_staff_issue_tokens_for_themselves_only():
    other = make_user("ann")
    client = staff("bob", "add_apitoken", "view_apitoken", "delete_apitoken")
    client.post("/admin/gallery/apitoken/add/", {"user": other.pk, "name": "camera"})
    assert ApiToken.objects.get().user.username == "bob"


def test_staff_see_and_revoke_their_own_tokens_only():
    ApiToken.issue(make_user("ann"), "secret one")
    client = staff("bob", "view_apitoken", "delete_apitoken")
    table = "/admin/gallery/apitoken/"
    assert "secret one" not in client.get(table).content.decode()
    client.post(f"{table}{ApiToken.objects.get().pk}/delete/", {"post": "yes"})
    assert ApiToken.objects.exists()


def test_tag_names_are_kept_in_lower_case(root):
    root.post("/admin/gallery/tag/add/", {"name": "  Night   Sky "})
    assert Tag.objects.get().name == "night sky"


@pytest.mark.parametrize("name", ["album", "tag"])
def test_albums_and_tags_lead_to_their_images(root, name):
    image = stored(1, tags=("sea",), album="Harbour")
    page = root.get(f"/admin/gallery/{name}/").content.decode()
    value = {"album": "Harbour", "tag": "sea"}[name]
    assert f"{TABLE}?{name}={value}" in page
    assert shown(root.get(TABLE, {name: value})) == {image.original_name}


def test_the_admin_bears_our_name(root):
    assert "Semblance" in root.get("/admin/").content.decode()
