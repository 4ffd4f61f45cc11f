from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EmbeddingsConfig(AppConfig):
    name = "embeddings"

    def ready(self) -> None:
        from embeddings import checks, conf, feed  # noqa: F401  (registers the checks)

        conf.set_defaults()
        # Tables are vector tables because a model says so, not because somebody remembered a
        # migration step: their triggers are put right after every migrate.
        post_migrate.connect(feed.install_all, sender=self, dispatch_uid="embeddings.feed")
