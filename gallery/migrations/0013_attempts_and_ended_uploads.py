from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gallery", "0012_upload_duplicates")]

    operations = [
        migrations.AddField(
            model_name="importrun",
            name="attempts",
            field=models.PositiveSmallIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="upload",
            name="metadata",
            field=models.TextField(
                blank=True, db_default="", editable=False, help_text="Upload-Metadata as it came."
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("state", "arriving"), _negated=True),
                fields=["changed_at"],
                name="upload_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="duplicateverdict",
            index=models.Index(
                fields=["owner", "second_sha256"], name="duplicate_verdict_second"
            ),
        ),
        migrations.AddIndex(
            model_name="duplicateverdict",
            index=models.Index(
                condition=models.Q(("verdict__in", ("linked", "replaced"))),
                fields=["owner", "kept_sha256"],
                name="duplicate_verdict_kept",
            ),
        ),
    ]
