"""moto's server: S3's protocol over a real socket, and a client to put things there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from worker.settings import FetchSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

KEYS = {"s3_access_key": "planted-key", "s3_secret_key": "planted-secret"}


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """One bucket."""

    endpoint: str
    bucket: str
    client: S3Client

    def settings(self) -> FetchSettings:
        keys = {name: SecretStr(value) for name, value in KEYS.items()}
        return FetchSettings(s3_endpoint_url=self.endpoint, s3_buckets=("*",), **keys)

    def upload(self, folder: Path, prefix: str) -> str:
        """Put the files of a folder below ``prefix``; returns the URI of that."""
        for file in sorted(folder.iterdir()):
            self.client.put_object(Bucket=self.bucket, Key=f"{prefix}/{file.name}", Body=file.read_bytes())
        return f"s3://{self.bucket}/{prefix}"

    def delete(self, below: str = "") -> None:
        """What has a key that begins so; everything, if it is empty."""
        for each in self.client.list_objects_v2(Bucket=self.bucket, Prefix=below).get("Contents", ()):
            self.client.delete_object(Bucket=self.bucket, Key=each["Key"])


@contextmanager
def object_store(bucket: str, host: str = "127.0.0.1") -> Iterator[ObjectStore]:
    server = ThreadedMotoServer(host, 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=bucket)
    store = ObjectStore(endpoint, bucket, client)
    try:
        yield store
    finally:
        store.delete()  # it outlives the server: all servers of a process have it in common
        client.close()
        server.stop()
