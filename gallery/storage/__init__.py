"""Where the files of images are: a folder or a bucket that speaks S3.

Everything else goes through Django's `default_storage` and meets one kind of failure, OSError.
"""
