"""Counts the invocations in a chain of events, as Lambda does to detect recursive loops. No I/O.

Lambda counts in the field `Lineage` of X-Ray's trace header:

    Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:a87bd80c:0|68fd508a:5

An entry names a function and the number of its invocations before the latest one in this chain. The SDKs copy the
header to every request that a function sends, and SQS, SNS and S3 copy it to the messages that they deliver.

Sources: Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops"; X-Ray developer
guide, "Tracing header"; `recursion_detection.rs` of the crate `aws-runtime`. AWS does not document how Lambda
identifies a function in the header, nor how it counts a batch of several chains. Here a batch continues all of its
chains, each function with its highest count.
"""

import secrets
import time
import zlib

# "If your function is invoked approximately 16 times in the same chain of requests, then Lambda automatically stops
# the next function invocation in that request chain." Here it is exactly 16.
INVOCATIONS_MAX = 16


def invocations(header: str | None, function_arn: str) -> int:
    """Returns how often the function was invoked in the chain of this header."""
    return counts(header).get(name(function_arn), -1) + 1


def continued(header: str | None, function_arn: str, sampled: bool = False) -> str:
    """Returns the header of an invocation that continues the chain of this header, or begins a new chain."""
    before = fields(header)
    root = before.get("Root") or f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    is_sampled = before.get("Sampled") or str(int(sampled))
    counted = counts(header)
    counted[name(function_arn)] = invocations(header, function_arn)
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled={is_sampled};Lineage={written(counted)}"


def joined(headers: list[str | None]) -> str | None:
    """Returns the header of a batch: the first message's, with each function's highest count in all messages."""
    present = [header for header in headers if header]
    highest = {}
    for header in present:
        for function, count in counts(header).items():
            highest[function] = max(count, highest.get(function, 0))
    if not highest:
        return present[0] if present else None
    kept = [f"{key}={value}" for key, value in fields(present[0]).items() if key != "Lineage"]
    return ";".join([*kept, f"Lineage={written(highest)}"])


def fields(header: str | None) -> dict[str, str]:
    return dict(field.strip().split("=", 1) for field in (header or "").split(";") if "=" in field)


def counts(header: str | None) -> dict[str, int]:
    """Returns the count of each function. Ignores damaged entries, because any client can send one."""
    counted = {}
    for entry in fields(header).get("Lineage", "").split("|"):
        function, _, count = entry.rpartition(":")
        if count.isascii() and count.isdigit():
            counted[function.rpartition(":")[2]] = int(count)
    return counted


def written(counted: dict[str, int]) -> str:
    return "1:" + "|".join(f"{function}:{count}" for function, count in counted.items())


def name(function_arn: str) -> str:
    """Returns the function's name in headers. Its versions and aliases are the same function."""
    unqualified = ":".join(function_arn.split(":")[:7])
    return f"{zlib.crc32(unqualified.encode()):08x}"
