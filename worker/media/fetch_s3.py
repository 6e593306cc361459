"""``s3://bucket/key`` from AWS or any store that speaks its protocol."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from worker.errors import SourceError, SourceForbidden, SourceMissing, SourceUnavailable
from worker.masking import mask
from worker.media.spool import CHUNK_BYTES, Spool
from worker.settings import FetchSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_HELD_CONNECTIONS = 64
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

# By error code of the answer. What is not listed goes by its HTTP status. Wrong credentials are the
# service's fault and will be for every upload: unavailable. A denied object is this upload's.
_CODES: dict[str, type[SourceError]] = {
    "NoSuchKey": SourceMissing,
    "NoSuchBucket": SourceMissing,
    "NoSuchVersion": SourceMissing,
    "404": SourceMissing,
    "InvalidObjectState": SourceMissing,  # archived
    "InvalidBucketName": SourceForbidden,
    "AccessDenied": SourceForbidden,
    "AllAccessDisabled": SourceForbidden,
    "PermanentRedirect": SourceForbidden,  # a bucket of another region
    "InvalidAccessKeyId": SourceUnavailable,
    "SignatureDoesNotMatch": SourceUnavailable,
    "ExpiredToken": SourceUnavailable,
    "InvalidToken": SourceUnavailable,
    "RequestTimeTooSkewed": SourceUnavailable,
    "SlowDown": SourceUnavailable,
}


class S3Fetcher:
    """boto3 takes half a second to import, so it is imported with the first fetch."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: S3Client | None = None

    def fetch(self, uri: str, spool: Spool) -> None:
        bucket, key = _parse(uri)
        # Uploaders name the bucket, and the service's credentials may reach more than uploads. It is also
        # what makes a store's failure the service's own: nobody can name one that is bound to fail.
        if not any(fnmatchcase(bucket, pattern) for pattern in self._settings.s3_buckets):
            raise SourceForbidden(f"fetch.s3_buckets names no bucket {bucket!r}")
        client = self._connected()
        with _foreign_errors(bucket, key):
            answer = client.get_object(Bucket=bucket, Key=key)
            stream: Any = answer["Body"]
            with (
                stream as body
            ):  # urllib3's response; read1 takes what is there, so that no byte is waited for
                spool.expect(answer.get("ContentLength"))
                while chunk := body.read1(CHUNK_BYTES):
                    spool.write(chunk)
            if spool.size_bytes != answer.get("ContentLength", spool.size_bytes):
                raise SourceUnavailable(f"s3://{bucket}/{key} broke off after {spool.size_bytes} bytes")

    def keys_below(self, uri: str) -> list[str]:
        """What is in the folder ``s3://bucket/folder``, by key without the folder's own."""
        bucket, folder = _parse(uri)
        with _foreign_errors(bucket, folder):
            pages = self._connected().get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=bucket, Prefix=f"{folder}/")
            keys = [each["Key"] for page in found for each in page.get("Contents", ())]
        return [key[len(folder) + 1 :] for key in keys]

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self) -> S3Client:
        """One client for all threads: making one is not thread-safe, using it is."""
        with self._lock:
            if self._client is None:
                self._client = _make_client(self._settings)
            return self._client


def _make_client(settings: FetchSettings) -> S3Client:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": 1},  # the moderator retries, within the upload's deadline
        max_pool_connections=_HELD_CONNECTIONS,
        # Stores that are reached by an address of their own rarely have a host name for each bucket.
        s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.s3_access_key.get_secret_value() or None,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value() or None,
        region_name=settings.s3_region,
    )
    return session.client("s3", endpoint_url=settings.s3_endpoint_url, config=config)


def _parse(uri: str) -> tuple[str, str]:
    """Keys are taken as they stand: not percent-decoded, and ? and # belong to them."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    if uri[:5].lower() != "s3://" or not _BUCKET.fullmatch(bucket) or not key or ".." in key.split("/"):
        raise SourceForbidden("expected s3://bucket/key, without credentials, port or .. in it")
    return bucket, key


@contextmanager
def _foreign_errors(bucket: str, key: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from urllib3.exceptions import HTTPError

    where = f"s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise _by_code(code, status)(f"the object store answered {code or status} for {where}") from error
    except ParamValidationError as error:
        raise SourceForbidden(f"{where} is not a valid bucket and key") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise SourceUnavailable(
            f"{where} cannot be fetched: {mask(f'{type(error).__name__}: {error}')}"
        ) from error


def _by_code(code: str, status: int) -> type[SourceError]:
    if code in _CODES:
        return _CODES[code]
    if status == 404:
        return SourceMissing
    if status in (400, 401, 403):
        return SourceForbidden
    return SourceUnavailable
