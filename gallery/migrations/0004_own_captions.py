from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("gallery", "0003_captions_and_saved_searches")]
    operations = []
