"""Decoding in processes of its own.

`decoders` is what the gallery calls, `processes` and `messages` are how it gets there. `child` and
`work` are the other side, and import neither Django's models nor an encoder.
"""
