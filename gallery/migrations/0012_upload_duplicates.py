from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gallery", "0011_videos")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="duplicates",
            field=models.CharField(
                choices=[
                    ("note", "It is stored, with a note"),
                    ("refuse", "Of the same pixels nothing is stored"),
                    ("refuse-near", "Of the same pixels, or nearly so, nothing is stored"),
                ],
                db_default="note",
                default="note",
                editable=False,
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="upload",
            name="like",
            field=models.ForeignKey(
                editable=False,
                help_text="What it is like, by the note in `reason`.",
                null=True,
                on_delete=models.deletion.SET_NULL,
                related_name="+",
                to="gallery.image",
            ),
        ),
    ]
