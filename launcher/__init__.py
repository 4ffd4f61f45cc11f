"""Starts Semblance on one machine: embedded Postgres and Redis, worker, beat and web server.

It knows the site only by its commands, so the site can also run without it (docs/deployment.md).
"""
