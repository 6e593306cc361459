"""The service: a streaming video moderation worker."""
