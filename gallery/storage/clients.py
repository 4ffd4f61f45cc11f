"""A client of S3 with its patience bounded, and its failures in sentences."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from s3transfer.exceptions import RetriesExceededError
from urllib3.exceptions import HTTPError

from gallery.storage.addresses import BucketAddress, region_of_environment
from gallery.storage.originals import OriginalReplaced

# From 16 MB on a file is sent and fetched in parts, eight at a time.
TRANSFER = TransferConfig(
    multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=8
)
_GONE = {"404", "NoSuchKey", "NotFound"}
_REGION = "it is in another region: name that in its address (region=...)"
_ADVICE = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "the keys may not do that",
    "403": "the keys may not do that",
    "InvalidAccessKeyId": "it does not know the access key",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the keys have expired",
    "RequestTimeTooSkewed": "the clocks differ",
    "301": _REGION,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
}
# What no repetition mends: an administrator has to.
SETTLED = frozenset(_ADVICE)
# What may be said of one file while others are given.
_OF_ONE_FILE = {"AccessDenied", "403"}
# Answers of 4xx that are another one a moment later.
_PASSING_STATUSES = {408, 409, 425, 429}
_PASSING_CODES = {
    "RequestTimeout",
    "RequestTimeoutException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


class BucketUnavailable(OSError):
    """A bucket does not do what is asked: half a sentence that holds no key and no address.

    `is_settled`: it is the settings' fault, and waiting does not help. `is_refused`: the bucket has
    refused this one request, and will do so again; others it may grant. Neither: it is away.
    """

    def __init__(
        self, sentence: str, *, is_settled: bool = False, is_refused: bool = False
    ) -> None:
        super().__init__(errno.EIO, sentence)
        self.is_settled = is_settled
        self.is_refused = is_refused

    @property
    def is_away(self) -> bool:
        """Whether waiting helps."""
        return not (self.is_settled or self.is_refused)

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def told_as_os_errors(doing: str) -> Iterator[None]:
    """Turn whatever S3 and its libraries raise in the block into OSErrors.

    `doing` is a verb with its object: "store a file". Raise FileNotFoundError for a missing
    object, BucketUnavailable for all else.
    """
    try:
        yield
    except ClientError as error:
        raise _of_answer(error, doing) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        sentence = f"the bucket cannot {doing}: there are no keys for it"
        raise BucketUnavailable(sentence, is_settled=True) from error
    except (ConnectTimeoutError, ReadTimeoutError, TimeoutError) as error:
        raise BucketUnavailable(f"the bucket did not {doing} in time") from error
    except (BotoCoreError, Boto3Error, RetriesExceededError, HTTPError) as error:
        raise BucketUnavailable(f"the bucket cannot be reached to {doing}") from error


def _of_answer(error: ClientError, doing: str) -> OSError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _GONE:
        return FileNotFoundError(errno.ENOENT, "the bucket has no such file")
    if status == 412:  # the parts of a file are asked for in the version of the first one
        return OriginalReplaced()
    # Codes are words of a server that may be anybody's.
    known = code if code.isalnum() and len(code) <= 60 else ""
    advice = _ADVICE.get(code, f"it answered {status} {known}".strip())
    return BucketUnavailable(
        f"the bucket did not {doing}: {advice}",
        is_settled=code in SETTLED,
        is_refused=code in _OF_ONE_FILE or _is_refusal(code, status),
    )


def _is_refusal(code: str, status: int) -> bool:
    is_passing = status in _PASSING_STATUSES or code in _PASSING_CODES
    is_told = 400 <= status < 500 or status == 501  # what it never learned, it will not know later
    return is_told and code not in SETTLED and not is_passing


def session(address: BucketAddress) -> boto3.session.Session:
    """Return a session with the keys of the environment, of a profile, or of the machine's role."""
    # Not boto3's default one, which several threads must not use. Nor Django's settings, which
    # would not notice that the keys of a role are renewed.
    return boto3.session.Session(profile_name=address.profile or None)


def config(address: BucketAddress, *, is_anonymous: bool = False) -> Config:
    """Return how often and how long a request is tried, and how it is signed."""
    # Servers that speak S3 know the older of Amazon's checks of a body; Amazon wants the newer.
    checks = "when_required" if address.endpoint else "when_supported"
    return Config(
        signature_version=UNSIGNED if is_anonymous else "s3v4",
        s3={"addressing_style": address.style},
        # While a body is sent, the time of connecting is what bounds it.
        connect_timeout=address.timeout,
        read_timeout=address.timeout,
        retries={"mode": "standard", "total_max_attempts": address.attempts},
        max_pool_connections=32,
        request_checksum_calculation=checks,
        response_checksum_validation=checks,
        user_agent_extra="semblance",
    )


def region(address: BucketAddress, opened: boto3.session.Session) -> str:
    # boto3 looks at AWS_DEFAULT_REGION and the configuration files, other libraries at AWS_REGION.
    return address.region or opened.region_name or region_of_environment() or "us-east-1"


def connect(address: BucketAddress, *, endpoint: str = "", is_anonymous: bool = False) -> Any:
    """Return a client for the bucket; at another endpoint where one is given.

    It may be used by many threads. Making it asks no server. Raise BucketUnavailable.
    """
    with told_as_os_errors("be opened"):
        opened = session(address)
        return opened.client(
            "s3",
            region_name=region(address, opened),
            endpoint_url=endpoint or address.endpoint or None,
            config=config(address, is_anonymous=is_anonymous),
        )
