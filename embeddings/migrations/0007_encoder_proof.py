import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("embeddings", "0006_switching")]

    operations = [
        migrations.CreateModel(
            name="EncoderProof",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "tower",
                    models.CharField(
                        choices=[("text", "text"), ("image", "image")], max_length=10
                    ),
                ),
                ("precision", models.CharField(max_length=20)),
                (
                    "processor",
                    models.CharField(
                        help_text="Name, and what it is quick at.", max_length=250
                    ),
                ),
                (
                    "versions",
                    models.CharField(
                        help_text="Of what makes and runs the tower.", max_length=250
                    ),
                ),
                (
                    "calibration",
                    models.JSONField(
                        editable=False,
                        help_text="Value ranges that int8 of images was made with.",
                        null=True,
                    ),
                ),
                (
                    "calibration_id",
                    models.CharField(blank=True, editable=False, max_length=12),
                ),
                (
                    "images",
                    models.PositiveIntegerField(
                        default=0, help_text="Images that it was compared on."
                    ),
                ),
                (
                    "texts",
                    models.PositiveIntegerField(
                        default=0, help_text="Texts that it was compared on."
                    ),
                ),
                (
                    "vectors",
                    models.PositiveBigIntegerField(
                        default=0, help_text="What the space held then."
                    ),
                ),
                ("cosine_min", models.FloatField(null=True)),
                ("cosine_mean", models.FloatField(null=True)),
                (
                    "overlap",
                    models.FloatField(
                        help_text="Share of float32's ten nearest that it finds.", null=True
                    ),
                ),
                ("recall", models.FloatField(help_text="recall@10 of captions.", null=True)),
                (
                    "recall_float32",
                    models.FloatField(help_text="The same in float32.", null=True),
                ),
                (
                    "milliseconds",
                    models.FloatField(help_text="One text, or an image of a batch.", null=True),
                ),
                (
                    "milliseconds_float32",
                    models.FloatField(help_text="The same in float32.", null=True),
                ),
                (
                    "failure",
                    models.TextField(blank=True, help_text="Why it cannot be had at all."),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("begun_at", models.DateTimeField()),
                (
                    "made_at",
                    models.DateTimeField(help_text="When it was measured.", null=True),
                ),
                (
                    "space",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="proofs",
                        to="embeddings.space",
                    ),
                ),
            ],
            options={
                "ordering": ["-begun_at", "-pk"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("space", "tower", "precision", "processor", "versions"),
                        name="proof_once",
                    )
                ],
            },
        ),
    ]
