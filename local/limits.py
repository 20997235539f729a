"""Stores the limits of AWS that the local cloud enforces, and lets tests change them. No I/O.

    GET /_tandem/limits
    PUT /_tandem/limits  {"limit": "in_flight_messages", "of": "my-queue", "value": 5}

Without "of" the value applies to everything that has no value of its own. A value of null restores AWS's value.
"""

import json
import threading

PATH = "/_tandem/limits"

# What each limit applies to (the field "of" of a request), and its value on AWS.
AWS = {
    # An account, or an account and a region ("000000000000", "000000000000:us-east-1"). Lambda developer guide,
    # "Lambda quotas": concurrent executions. New accounts often have 10.
    "account_concurrency": 1_000,
    # A queue's name. SQS developer guide, "Amazon SQS standard queue quotas": messages in flight, approximately.
    "in_flight_messages": 120_000,
    # A bucket. S3 user guide, "Working with object metadata": user-defined metadata of a PUT request.
    "metadata_bytes": 2_048,
    # A bucket. S3 user guide, "Amazon S3 multipart upload limits": every part but the last has at least this size.
    "part_bytes": 5 << 20,
    # A bucket. S3 promises neither order nor time: each notification is delayed by a random time of at most this value.
    "notification_delay_ms": 0,
}


class Limits:
    """Safe to use from several threads."""

    def __init__(self, values: dict[str, int] | None = None):
        self._lock = threading.Lock()
        self._general = dict(AWS)
        self._special = {limit: {} for limit in AWS}
        for limit, value in (values or {}).items():
            self.set(limit, value)

    def get(self, limit: str, *names: str) -> int:
        """Returns the value of the first of the names that has one of its own, or the general value."""
        with self._lock:
            special = self._special[limit]
            return next((special[name] for name in names if name in special), self._general[limit])

    def set(self, limit: str, value: int | None, of: str | None = None) -> None:
        check(limit, value, of)
        with self._lock:
            if of is None:
                self._general[limit] = AWS[limit] if value is None else value
            elif value is None:
                self._special[limit].pop(of, None)
            else:
                self._special[limit][of] = value

    def describe(self) -> dict:
        with self._lock:
            return {limit: {"value": self._general[limit], "of": dict(self._special[limit])} for limit in AWS}

    def answer(self, method: str, body: bytes) -> tuple[int, dict]:
        """Returns the status and the document of the answer to a request."""
        if method == "GET":
            return 200, self.describe()
        if method != "PUT":
            return 405, {"message": f"{PATH} takes GET and PUT, not {method}"}
        try:
            request = json.loads(body)
            if not isinstance(request, dict) or "limit" not in request or request.keys() - {"limit", "value", "of"}:
                raise ValueError('send {"limit": ..., "value": ...}, and "of" for one account, queue or bucket only')
            self.set(request["limit"], request.get("value"), request.get("of"))
        except ValueError as error:
            return 400, {"message": str(error)}
        return 200, self.describe()


def check(limit, value, of) -> None:
    if not isinstance(limit, str) or limit not in AWS:
        raise ValueError(f"there is no limit {limit!r}; there are: {', '.join(AWS)}")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"{limit} cannot be {value!r}: give a whole number, or null for AWS's own")
    if of is not None and (not isinstance(of, str) or not of):
        raise ValueError(f'"of" cannot be {of!r}: name an account, a queue or a bucket')


def parse(text: str) -> tuple[str, int]:
    """Parses NAME=VALUE of the command line."""
    limit, _, value = text.partition("=")
    if not value.isascii() or not value.isdigit():
        raise ValueError(f"{text} is not of the form LIMIT=NUMBER, such as part_bytes=1")
    check(limit, int(value), None)
    return limit, int(value)
