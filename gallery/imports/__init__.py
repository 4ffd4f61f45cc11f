"""The import ledger at work: any source becomes a run with a row an item, and nothing is lost.

`ledger` is what people do to a run, `engine` what a process does with it. A process may die at any
line: an item's row is written in the transaction that makes its image, so that each item either
still waits or is done.
"""
