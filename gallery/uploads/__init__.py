"""Files that arrive in parts, and what becomes of them; docs/uploads.md."""
