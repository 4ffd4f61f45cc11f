from __future__ import annotations

from django.db import models

from embeddings.models import AbstractEmbedding


class Product(models.Model):
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return self.name


class ProductEmbedding(AbstractEmbedding):
    product = models.ForeignKey(Product, models.CASCADE, related_name="embeddings")

    class Meta(AbstractEmbedding.Meta):
        constraints = [
            models.UniqueConstraint(fields=["product", "space"], name="product_once_per_space")
        ]
