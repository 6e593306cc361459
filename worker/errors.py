"""Every error that Sluice raises on purpose.

    SluiceError
    │                          internal_error        a defect of ours that one upload met
    ├── SettingsError          settings_invalid      a setting is wrong; the process does not start
    ├── EventError
    │   ├── UnreadableEvent    unreadable_event      no upload id can be read: dead letter (a record that
    │   │                                            the client cannot unpack has unreadable_record there)
    │   ├── InvalidEvent       invalid_event         upload id known, something else is wrong
    │   └── ExpiredEvent       expired               read after its deadline
    ├── SourceError
    │   ├── SourceForbidden    source_forbidden      scheme, address, path or credentials not allowed
    │   ├── SourceMissing      source_missing        there is nothing at the URI
    │   ├── SourceTooLarge     source_too_large      more bytes than `fetch.max_bytes`
    │   ├── DigestMismatch     digest_mismatch       the bytes are not those that the event names
    │   └── SourceUnavailable  source_unavailable    retriable, systemic: the store did not answer
    │       └── HostUnavailable  host_unavailable    retriable: the web server that an uploader named did not
    ├── MediaError
    │   ├── Undecodable        undecodable           no frame could be decoded
    │   ├── PartlyUndecodable  partly_undecodable    some of the wanted clips could not be decoded: what can
    │   │                                            be seen is judged, and never allowed
    │   ├── NoVideo            no_video              readable, but without a video stream
    │   ├── MediaLimit         media_limit           over a limit on pixels, frames, streams or memory
    │   ├── DecodeTimeout      decode_timeout        over the time that one decode job may take
    │   └── DecoderCrashed     decoder_crashed       retriable: the decoder process died
    ├── InferenceError
    │   ├── ArtifactInvalid    artifact_invalid      spec or weights are wrong; the process does not start
    │   ├── ProviderMissing    provider_missing      the execution provider asked for does not run
    │   ├── ModelRunFailed     model_run_failed      this input made the model fail, others did not
    │   └── SessionBroken      session_broken        systemic: the model fails for every input
    ├── DecodersUnavailable    decoders_unavailable  systemic: no decoder process can be started
    ├── DeadlineExceeded       deadline_exceeded     the upload's time is used up
    ├── Quarantined            quarantined           begun several times without an end: it may kill workers
    ├── PolicyError
    │   ├── PolicyInvalid      policy_invalid        the policy file is wrong; the process does not start
    │   └── UnknownPolicy      unknown_policy        the event names a policy that does not exist
    ├── CacheUnavailable       cache_unavailable     counted as a miss, never shown to an upload
    └── StreamError
        ├── BrokerUnavailable  broker_unavailable    retriable, systemic
        ├── PublishFailed      publish_failed        systemic: a verdict was not acknowledged
        └── SystemicFailures   systemic_failures     systemic: most uploads fail through no fault of theirs

`reason` is stable: verdicts, dead letters, metrics and docs share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class SluiceError(Exception):
    """The root. ``str(error)`` names the thing, the value and what to do."""

    reason: ClassVar[str] = "internal_error"
    retriable: ClassVar[bool] = False
    systemic: ClassVar[bool] = False  # the service's fault rather than the upload's


class SettingsError(SluiceError):
    reason = "settings_invalid"


class EventError(SluiceError):
    pass


class UnreadableEvent(EventError):
    reason = "unreadable_event"


class InvalidEvent(EventError):
    reason = "invalid_event"

    def __init__(self, message: str, valid: Mapping[str, object]) -> None:
        """``valid``: those fields of the event that are, ``upload_id`` among them."""
        super().__init__(message)
        self.valid = valid


class ExpiredEvent(EventError):
    reason = "expired"


class SourceError(SluiceError):
    pass


class SourceForbidden(SourceError):
    reason = "source_forbidden"


class SourceMissing(SourceError):
    reason = "source_missing"


class SourceTooLarge(SourceError):
    reason = "source_too_large"


class DigestMismatch(SourceError):
    reason = "digest_mismatch"


class SourceUnavailable(SourceError):
    reason = "source_unavailable"
    retriable = True
    systemic = True


class HostUnavailable(SourceUnavailable):
    reason = "host_unavailable"
    systemic = False  # uploaders choose the host: theirs must not be able to stop the service


class MediaError(SluiceError):
    pass


class Undecodable(MediaError):
    reason = "undecodable"


class PartlyUndecodable(MediaError):
    reason = "partly_undecodable"


class NoVideo(MediaError):
    reason = "no_video"


class MediaLimit(MediaError):
    reason = "media_limit"


class DecodeTimeout(MediaError):
    reason = "decode_timeout"


class DecoderCrashed(MediaError):
    reason = "decoder_crashed"
    retriable = True


class InferenceError(SluiceError):
    pass


class ArtifactInvalid(InferenceError):
    reason = "artifact_invalid"


class ProviderMissing(InferenceError):
    reason = "provider_missing"


class ModelRunFailed(InferenceError):
    reason = "model_run_failed"


class SessionBroken(InferenceError):
    reason = "session_broken"
    systemic = True


class DecodersUnavailable(SluiceError):
    reason = "decoders_unavailable"
    systemic = True


class DeadlineExceeded(SluiceError):
    reason = "deadline_exceeded"


class Quarantined(SluiceError):
    reason = "quarantined"


class PolicyError(SluiceError):
    pass


class PolicyInvalid(PolicyError):
    reason = "policy_invalid"


class UnknownPolicy(PolicyError):
    reason = "unknown_policy"


class CacheUnavailable(SluiceError):
    reason = "cache_unavailable"


class StreamError(SluiceError):
    pass


class BrokerUnavailable(StreamError):
    reason = "broker_unavailable"
    retriable = True
    systemic = True


class PublishFailed(StreamError):
    reason = "publish_failed"
    systemic = True


class SystemicFailures(StreamError):
    reason = "systemic_failures"
    systemic = True
