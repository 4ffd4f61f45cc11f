"""Spoiled files for everything that reads strangers' files: `make fuzz`, or `python -m tests.fuzz`.

`seeds` are sound files, `mutations` spoil them with a knowledge of their format, `targets` read
them and judge what comes out: a value that fits, or a refusal with a sentence, and nothing else.
`corpus/` holds what once came out otherwise, and samples of what is refused in different ways; the
tests read it all.
"""
