from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("gallery", "0004_own_captions")]
    operations = []
