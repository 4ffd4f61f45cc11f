"""Errors of the system that say nothing of the one file that was asked for: no file is at fault."""

from __future__ import annotations

import errno

# The machine's own lack, whatever is opened next.
LACK = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS),
    }
)
# A folder on a network that does not answer.
AWAY = frozenset(
    {
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
    }
)
