"""Takes secrets out of texts that people will read: logs and the details of verdicts."""

from __future__ import annotations

import re
from functools import lru_cache

MASK = "***"

# Names whose values are nobody's business, also inside longer ones such as sasl_plain_password.
_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|credential|authorization|signature|api_?key|access_?key", re.I
)
_PATTERNS = (
    # scheme://user:password@host, where the password may hold slashes, and scheme://token@host
    re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://)(?:[^\s/@'\":]*:[^\s@'\"]+|[^\s/@'\":]+)(?=@)", re.I),
    # ?X-Amz-Signature=..., &sig=... of presigned URLs
    re.compile(
        r"(?P<head>[?&][^=&\s]*(?:signature|credential|token|secret|password|accesskeyid|\bsig)=)[^&\s\"']+",
        re.I,
    ),
    # Authorization: Bearer ...
    re.compile(r"(?P<head>\b(?:bearer|basic)\s+)[a-z0-9._~+/=-]{8,}", re.I),
    # password=..., 'secret_key': '...'
    re.compile(
        r"(?P<head>[\w-]*(?:password|passwd|secret|token)[\w-]*['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,)}]+", re.I
    ),
)


_TELLTALE = re.compile(r"[:=\s]")  # each pattern needs one: most of what is logged has none


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Whether what is called so must not be shown."""
    return _SECRET_NAME.search(name) is not None


def mask(text: str) -> str:
    if not _TELLTALE.search(text):
        return text
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<head>{MASK}", text)
    return text
