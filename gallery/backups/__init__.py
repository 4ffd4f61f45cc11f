"""A whole gallery in one file: made beside a running server, restored into an empty gallery.

The file is a plain tar that this room alone writes and reads: a start, the database, the files,
a manifest, an end. docs/backup.md says what lies where.
"""
