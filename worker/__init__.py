"""The service: a streaming video moderation worker."""

__version__ = "0.1.0"
