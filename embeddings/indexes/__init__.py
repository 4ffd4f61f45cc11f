"""Structures searched for neighbours. They know ids and vectors, nothing of Django."""
