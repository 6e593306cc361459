"""Every setting of the worker, with its default, its unit and what it accepts.

Sources, strongest first: ``SLUICE_<GROUP>__<NAME>`` in the environment, ``.env``, the YAML file named
by ``SLUICE_CONFIG``, the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

PREFIX = "SLUICE_"
CONFIG_VARIABLE = "SLUICE_CONFIG"
NESTING = "__"
DOTENV = ".env"

MiB = 1024 * 1024
Seconds = Annotated[float, Field(gt=0)]


def _split_at_colons(value: Any) -> Any:
    """`/a:/b` from the environment, as in PATH; a list from YAML stays one."""
    return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value


def _none_if_empty(value: Any) -> Any:
    """An empty variable takes back what a file has set."""
    return None if value == "" else value


OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_colons)]
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_at_colons)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Group):
    bootstrap_servers: str = Field("localhost:9092", description="host:port, comma separated")
    group_id: str = Field("sluice", min_length=1, description="consumer group shared by all workers")
    uploads_topic: str = Field("uploads", min_length=1, description="upload events come from here")
    verdicts_topic: str = Field("verdicts", min_length=1, description="verdicts go here; compacted")
    dead_letters_topic: str = Field(
        "uploads.dlq", min_length=1, description="records without a readable upload id go here"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the brokers are talked to"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="with SASL_PLAINTEXT and SASL_SSL"
    )
    sasl_username: str = Field("", description="with SASL_PLAINTEXT and SASL_SSL")
    sasl_password: SecretStr = Field(SecretStr(""), description="of sasl_username")
    ssl_ca_file: OptionalPath = Field(None, description="PEM; None: the system's authorities")
    ssl_cert_file: OptionalPath = Field(None, description="PEM of the client certificate")
    ssl_key_file: OptionalPath = Field(None, description="PEM of the client key")
    ssl_key_password: SecretStr = Field(SecretStr(""), description="of an encrypted ssl_key_file")
    assignment: Literal["cooperative-sticky", "range"] = Field(
        "cooperative-sticky", description="all workers of a group must use the same"
    )
    session_timeout_s: Seconds = Field(10.0, description="a silent worker loses its partitions after this")
    max_poll_interval_s: Seconds = Field(300.0, description="a worker that does not poll leaves after this")
    request_timeout_s: Seconds = Field(30.0, description="for one answer of a broker")
    max_message_bytes: int = Field(
        32 * MiB, ge=1024, description="largest record written; topics should allow it"
    )
    dead_letter_max_bytes: int = Field(
        900 * 1024, ge=1024, description="a larger dead letter is replaced by its coordinates and digest"
    )
    fetch_max_bytes: int = Field(64 * MiB, ge=1024, description="largest answer to one fetch")
    delivery_timeout_s: Seconds = Field(
        60.0, description="a verdict not acknowledged by then stops the worker"
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="exactly_once: verdicts and offsets in one transaction, for read_committed consumers",
    )
    transaction_interval_s: Seconds = Field(
        0.1, description="exactly_once: verdicts are collected for this long"
    )
    transaction_timeout_s: Seconds = Field(
        15.0, description="exactly_once: the broker aborts what a dead worker left open after this"
    )


class WorkerSettings(_Group):
    concurrency: int = Field(8, ge=1, le=256, description="uploads moderated at the same time")
    max_pending: int = Field(16, ge=1, description="uploads admitted and not yet answered; above: paused")
    max_pending_bytes: int = Field(
        256 * MiB, ge=1, description="bytes of records admitted and not yet answered; above: paused"
    )
    upload_timeout_s: Seconds = Field(120.0, description="time for one upload once it is taken up")
    drain_timeout_s: Seconds = Field(30.0, description="on SIGTERM, time to finish what was admitted")
    failure_window: int = Field(50, ge=2, description="outcomes looked at by the systemic failure limit")
    failure_share: float = Field(
        0.8, gt=0, le=1, description="the worker stops when this share of the window failed systemically"
    )
    quarantine_after: int = Field(
        3,
        ge=1,
        description="times that an upload is begun without an end before it gets review, `quarantined`",
    )
    state_dir: OptionalPath = Field(
        None, description="where begun uploads are counted without a shared cache; None: they are not"
    )
    retries: int = Field(3, ge=0, le=20, description="further tries of what is retriable")
    retry_backoff_s: Seconds = Field(0.25, description="first pause, doubled each time, with jitter")


class FetchSettings(_Group):
    file_roots: Folders = Field((), description="folders that file:// may read, colon separated; empty: none")
    s3_buckets: Names = Field(
        (), description="buckets that s3:// may read, colon separated, * for any letters; empty: none"
    )
    max_bytes: int = Field(512 * MiB, ge=1, description="largest upload")
    connect_timeout_s: Seconds = Field(5.0, description="for reaching the store or web server")
    read_timeout_s: Seconds = Field(15.0, description="longest silence while reading")
    total_timeout_s: Seconds = Field(60.0, description="longest fetch")
    max_redirects: int = Field(
        5, ge=0, le=20, description="followed in a row; each is checked like a first URL"
    )
    allow_private_addresses: bool = Field(False, description="https:// and http:// to private addresses")
    allow_http: bool = Field(False, description="plain http:// beside https://")
    s3_endpoint_url: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="an S3-compatible store; None: AWS"
    )
    s3_region: str = Field("us-east-1", description="region that requests are signed for")
    s3_access_key: SecretStr = Field(SecretStr(""), description="empty: boto3's own credential chain")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="of s3_access_key")
    trust_producer_digest: bool = Field(
        False, description="look the event's sha256 up in the cache without fetching the bytes"
    )


class DecodeSettings(_Group):
    processes: int = Field(2, ge=1, le=64, description="decoder processes")
    long_after_s: Seconds = Field(
        3.0,
        description="a decode job that takes longer lets the next one begin beside it; at most as many do as "
        "there are processes",
    )
    job_timeout_s: Seconds = Field(
        30.0, description="wall time of one decode job; once more after it has let another begin"
    )
    job_cpu_s: Seconds = Field(30.0, description="CPU time of one decode job")
    cpu_s_per_media_s: Seconds = Field(
        5.0, description="CPU time of one decode job for each second of video; a shorter one counts as 1 s"
    )
    memory_bytes: int = Field(768 * MiB, ge=128 * MiB, description="address space that a job may add")
    max_pixels: int = Field(4096 * 2304, ge=1, description="width x height of the coded picture")
    max_frames: int = Field(20_000, ge=1, description="frames decoded in one job")
    max_packets: int = Field(2_000_000, ge=1, description="packets of video in one file")
    max_streams: int = Field(32, ge=1, description="streams in one file")
    max_duration_s: Seconds = Field(4 * 3600.0, description="longest video")
    probe_bytes: int = Field(
        5_000_000, ge=32, description="read to find out what the tracks are, where the container does not say"
    )
    jobs_per_process: int = Field(500, ge=1, description="a decoder process is replaced after this many")
    sandbox: Literal["auto", "require", "off"] = Field(
        "auto",
        description="decoders confined by Landlock and seccomp; auto: a warning where one is missing, "
        "require: an error",
    )


class SamplingSettings(_Group):
    strategy: Literal["auto", "uniform", "sliding", "dense", "random"] = Field(
        "auto", description="auto: uniform up to short_video_s, sliding above"
    )
    short_video_s: Seconds = Field(30.0, description="auto: a longer video is a long one")
    uniform_clips: int = Field(8, ge=1, le=256, description="clips of a short video")
    sliding_hop_s: Seconds = Field(4.0, description="distance of clips in a long video, before the budget")
    clip_budget: int = Field(32, ge=1, le=1024, description="most clips of one video")
    snap_s: float = Field(
        0.0, ge=0, le=60, description="clips may move this far to start at a keyframe; 0: exact positions"
    )
    jitter_secret: SecretStr = Field(
        SecretStr(""), description="key of the positions' jitter; empty: positions are predictable"
    )


class InferenceSettings(_Group):
    provider: Literal["auto", "openvino", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="auto: the best that is installed and runs"
    )
    models_dir: OptionalPath = Field(
        None, description="models looked for here before those that ship with Sluice; None: only those"
    )
    watch_s: float = Field(
        10.0,
        ge=0,
        description="how often models_dir is looked at for other versions to serve; 0: only at the start",
    )
    filter: str = Field("violence-filter", description="name or name@version")
    escalation: str = Field("violence-escalation", description="name or name@version; empty: no escalation")
    additional: Names = Field(
        (), description="further models that look at every upload, name or name@version, colon separated"
    )
    variant: str = Field("", description="of filter and escalation; empty: the best for the provider")
    embeddings: bool = Field(False, description="verdicts carry the filter's embedding of the video")
    max_batch_clips: int = Field(8, ge=1, le=1024, description="most clips of one run of a model")
    max_batch_delay_s: float = Field(0.005, ge=0, description="how long a batch waits to fill")
    queue_clips: int = Field(256, ge=1, description="clips waiting for a model before threads block")
    threads: int = Field(0, ge=0, description="CPU threads of a session; 0: all cores")
    sessions: int = Field(
        1, ge=1, le=16, description="of each model; with 2, a GPU copies one batch while it computes another"
    )
    cuda_graphs: bool = Field(
        True, description="on cuda: the work of each batch size is recorded once and replayed"
    )
    engine_cache_dir: OptionalPath = Field(
        None, description="where TensorRT keeps its engines; None: built again at each start, in minutes"
    )
    engine_timeout_s: Seconds = Field(30.0, description="a batch that takes longer breaks the session")


class CacheSettings(_Group):
    url: Annotated[SecretStr | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="redis://, rediss:// or unix://; None: no shared cache"
    )
    ttl_s: Seconds = Field(7 * 86400.0, description="how long scores are kept")
    timeout_s: Seconds = Field(0.2, description="for connecting and for each answer")
    lease_s: Seconds = Field(
        3.0, description="how long the right to compute one content outlives the worker that had it"
    )
    poll_s: Seconds = Field(0.05, description="how often a waiting worker looks again")
    breaker_failures: int = Field(3, ge=1, description="failures in a row that open the circuit")
    breaker_reset_s: Seconds = Field(5.0, description="time before an open circuit is tried again")
    memory_entries: int = Field(1024, ge=1, description="size of the cache used without a server")


class PolicySettings(_Group):
    file: OptionalPath = Field(None, description="YAML policy file; None: the models' own defaults")
    default: str = Field("default", min_length=1, description="policy of events that name none")
    max_escalated_clips: int = Field(
        16, ge=1, description="clips of one upload that go up to the escalation model at most"
    )


class ShadowSettings(_Group):
    filter: str = Field(
        "", description="a model on trial in the place of inference.filter, name or name@version; empty: none"
    )
    escalation: str = Field(
        "", description="a model on trial in the place of inference.escalation; empty: none"
    )
    share: float = Field(
        0.05, gt=0, le=1, description="of the uploads that the models judge: those that a trial sees as well"
    )
    max_busy: float = Field(
        0.1, gt=0, le=1, description="most of the time that a trial may work; what comes beyond is left out"
    )
    threads: int = Field(1, ge=1, description="CPU threads of a model on trial")
    topic: str = Field("verdicts.shadow", min_length=1, description="what both said goes here")

    @property
    def models(self) -> dict[str, str]:
        """Role -> reference of what is on trial."""
        return {
            role: name for role, name in (("filter", self.filter), ("escalation", self.escalation)) if name
        }


class TelemetrySettings(_Group):
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal")
    host: str = Field("0.0.0.0", description="address of /metrics, /livez and /readyz")  # noqa: S104
    port: int = Field(9464, ge=0, le=65535, description="0: any free port")
    max_poll_age_s: Seconds = Field(30.0, description="/livez fails when the last poll is older")
    max_unacknowledged_s: Seconds = Field(45.0, description="/livez fails when a verdict waits longer")
    traces_url: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="OTLP over HTTP, such as http://collector:4318/v1/traces; None: no traces"
    )
    traces_share: float = Field(
        1.0, ge=0, le=1, description="of the uploads whose event does not say whether they are traced"
    )


class Settings(BaseSettings):
    """The whole tree. Frozen: what the process started with is what it runs with."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTING,
        frozen=True,
        extra="forbid",
    )

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    sampling: SamplingSettings = SamplingSettings()
    inference: InferenceSettings = InferenceSettings()
    cache: CacheSettings = CacheSettings()
    policy: PolicySettings = PolicySettings()
    shadow: ShadowSettings = ShadowSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def shadow_topic(self) -> str:
        """Empty while no models are on trial."""
        return self.shadow.topic if self.shadow.models else ""

    @property
    def topics(self) -> tuple[str, ...]:
        """Those that a worker reads or writes."""
        always = (self.kafka.uploads_topic, self.kafka.verdicts_topic, self.kafka.dead_letters_topic)
        return (*always, self.shadow_topic) if self.shadow_topic else always

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        variables = environment()
        sources: list[PydanticBaseSettingsSource] = [init_settings, _Variables(settings_cls, variables)]
        if config := variables.get(CONFIG_VARIABLE):
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=config))
        return tuple(sources)


def environment() -> dict[str, str]:
    """Our variables: those of ``.env``, and above them those of the process. Others are not looked at."""
    found = {**dotenv_values(DOTENV), **os.environ}
    return {name: value or "" for name, value in found.items() if name.upper().startswith(PREFIX)}


class _Variables(EnvSettingsSource):
    """The environment as ``environment()`` sees it: in a shared ``.env``, other lines do not disturb."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = {name.lower(): value for name, value in variables.items()}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variables
