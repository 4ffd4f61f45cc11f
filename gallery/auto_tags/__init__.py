"""Auto tags: images get tags by what they show, suggested or applied, and people answer.

`wording` is what is written, `calibration` what scores mean, `passes` compares images with it,
`answers` is what people say, and `review` and `preview` are what they see.
"""
