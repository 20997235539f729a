"""Interprets filters and bucket names as S3 does; the emulator differs. No I/O.

Sources: S3 user guide, "Configuring event notifications using object key name filtering" and "General purpose bucket
naming rules"; github.com/aws/aws-cdk, pull request 28012, where a filter with an unencoded "=" matched nothing.
"""

import re
from urllib.parse import unquote_to_bytes

# Letters, digits, the characters that S3 calls safe, and those that encode all others.
WRITTEN_FILTER = re.compile(r"(?:[A-Za-z0-9/._!*'()+-]|%[0-9A-Fa-f]{2})*")
NAME_FROM_BEFORE_2018 = re.compile(r"[A-Za-z0-9._-]{3,255}")


def key_matches_filter(key: str, prefix: str | None, suffix: str | None) -> bool:
    """Returns whether S3 sends a notification of a key to an entry with these filters."""
    encoded = key.encode("utf-8", "surrogatepass")
    return encoded.startswith(meant(prefix)) and encoded.endswith(meant(suffix))


def meant(written: str | None) -> bytes | tuple:
    """Returns the decoded bytes of a filter. A filter with a special character that is not encoded matches no key."""
    if not WRITTEN_FILTER.fullmatch(written or ""):
        return ()  # startswith and endswith are False for an empty tuple
    return unquote_to_bytes((written or "").replace("+", " "))


def is_old_bucket_name(name: str) -> bool:
    """Returns whether a bucket of us-east-1 from before March 2018 may have the name."""
    return NAME_FROM_BEFORE_2018.fullmatch(name or "") is not None
