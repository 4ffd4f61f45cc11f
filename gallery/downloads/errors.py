"""Why something was not fetched: sentences for the ledger, a page or an API answer."""

from __future__ import annotations

from gallery.errors import GalleryError


class DownloadFailed(GalleryError):
    """Nothing was fetched. `may_pass`: asking again later may help, as it will not for a 404.

    `wait_seconds`: how long the server asked us to stay away, if it did.
    """

    def __init__(
        self, sentence: str, *, may_pass: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.may_pass = may_pass
        self.wait_seconds = wait_seconds


class NameUnanswered(DownloadFailed):
    """No name server has said where the host is; its silence is the host's."""


class HostLeftAlone(DownloadFailed):
    """Nobody was asked: the host failed or wanted quiet a moment ago."""


class DownloadRefused(DownloadFailed):
    """An address that is never asked: not of the web, with credentials, or not public."""
