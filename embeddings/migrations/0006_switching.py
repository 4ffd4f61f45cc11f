from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0005_always_watched")]

    operations = [
        migrations.AlterModelOptions("space", options={"verbose_name_plural": "encoders"}),
        migrations.AddField(
            "space",
            "is_paused",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="No worker embeds for it until it is resumed.",
            ),
        ),
        migrations.AddField(
            "space", "filling_since", models.DateTimeField(editable=False, null=True)
        ),
        migrations.AddField(
            "space",
            "filled_at",
            models.DateTimeField(
                editable=False,
                help_text="When it had a vector of all that the active one has.",
                null=True,
            ),
        ),
        migrations.AddField(
            "space",
            "active_until",
            models.DateTimeField(
                editable=False, help_text="When another one took its place.", null=True
            ),
        ),
        migrations.AddField(
            "space",
            "retired_at",
            models.DateTimeField(
                editable=False, help_text="Since when its vectors are being removed.", null=True
            ),
        ),
        migrations.AddField(
            "space",
            "is_shown",
            models.BooleanField(
                db_default=True,
                default=True,
                help_text="All subjects say of their vector what is so here.",
            ),
        ),
        migrations.AddField(
            "space",
            "trouble",
            models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Why no worker can embed for it.",
            ),
        ),
        migrations.AddConstraint(
            "space",
            models.CheckConstraint(
                condition=models.Q(("is_paused", True), ("state", "active"), _negated=True),
                name="space_active_goes_on",
            ),
        ),
    ]
