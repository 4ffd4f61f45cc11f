"""Videos: frames of each become images that know their video and their time in it.

`intake` decides by the bytes what a file is, `adding` stores a video with its frames. What opens a
video is in `gallery.decoding`. This room's `containers` is read by the processes that decode, so
nothing here may import a model when the package is imported.
"""
