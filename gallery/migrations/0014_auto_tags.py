import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("embeddings", "0005_always_watched"),
        ("gallery", "0013_attempts_and_ended_uploads"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AutoTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("prompts", models.JSONField(help_text="What an image shows that gets the tag: one of these.")),
                ("templates", models.JSONField(help_text="Sentences into which each prompt is put, at {}.")),
                ("wording", models.CharField(editable=False, help_text="sha256 of prompts and templates.", max_length=64)),
                ("mode", models.CharField(choices=[("suggest", "Suggest it"), ("apply", "Apply it where it is likely")], default="suggest", max_length=10)),
                ("wanted_precision", models.FloatField(default=0.9, help_text="Share of the images it is applied to that must show it.", validators=[django.core.validators.MinValueValidator(0.5), django.core.validators.MaxValueValidator(0.99)])),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("owner", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="auto_tags", to=settings.AUTH_USER_MODEL)),
                ("tag", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="auto_tags", to="gallery.tag")),
            ],
            options={
                "ordering": ["tag__name"],
                "constraints": [models.UniqueConstraint(fields=("owner", "tag"), name="auto_tag_once_per_owner")],
            },
        ),
        migrations.CreateModel(
            name="AutoTagCalibration",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("wording", models.CharField(help_text="Of which the vectors are.", max_length=64)),
                ("vectors", models.BinaryField(help_text="float32: a row of the space's width for each prompt.")),
                ("version", models.PositiveIntegerField(help_text="Of the auto tag, when all images were last compared with it.", null=True)),
                ("mean", models.FloatField(default=0, help_text="Median score on just any image.")),
                ("deviation", models.FloatField(default=0, help_text="By the median too.")),
                ("population", models.PositiveBigIntegerField(default=0, help_text="Vectors in the space.")),
                ("accepted", models.PositiveIntegerField(default=0, help_text="Answers it was made with.")),
                ("rejected", models.PositiveIntegerField(default=0)),
                ("suggest_at", models.FloatField(help_text="Least score to suggest; none: never.", null=True)),
                ("apply_at", models.FloatField(help_text="Least score to apply; none: never.", null=True)),
                ("border", models.FloatField(help_text="Where yes and no are about as likely.", null=True)),
                ("is_fitted", models.BooleanField(default=False, help_text="The limits follow the answers.")),
                ("note", models.TextField(blank=True, help_text="What its owner should know.")),
                ("calibrated_at", models.DateTimeField(auto_now=True)),
                ("auto_tag", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="calibrations", to="gallery.autotag")),
                ("space", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="embeddings.space")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("auto_tag", "space"), name="auto_tag_calibrated_once_per_space")],
            },
        ),
        migrations.CreateModel(
            name="AutoTagReader",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("identity", models.CharField(max_length=300)),
                ("snapshot", models.TextField()),
                ("read_at", models.DateTimeField(auto_now=True)),
                ("space", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="embeddings.space")),
            ],
        ),
        migrations.CreateModel(
            name="TagSuggestion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(choices=[("open", "Suggested"), ("applied", "Applied"), ("accepted", "Accepted"), ("rejected", "Rejected")], max_length=10)),
                ("score", models.FloatField(help_text="In the active space; none: not compared in it yet.", null=True)),
                ("is_linked", models.BooleanField(default=False, help_text="The image has the tag by this, and by nothing else.")),
                ("is_untagged", models.BooleanField(default=False, help_text="By this no the image lost a tag that a person had set.")),
                ("answered_at", models.DateTimeField(null=True)),
                ("answered_by", models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("auto_tag", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="suggestions", to="gallery.autotag")),
                ("image", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="tag_suggestions", to="gallery.image")),
            ],
            options={
                "indexes": [models.Index(fields=["auto_tag", "state"], name="tag_suggestion_state")],
                "constraints": [models.UniqueConstraint(fields=("auto_tag", "image"), name="tag_suggested_once")],
            },
        ),
    ]
