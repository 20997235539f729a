"""Computes the ARN of the EventBridge rule of a request as IAM does; the emulator computes another one. No I/O.

Source: service authorization reference, "Actions, resources, and condition keys for Amazon EventBridge": a rule of the
default event bus is `rule/NAME`, without the bus; the resource of the actions on a rule's targets is the rule too.
"""

import json

DEFAULT_BUS = "default"


def rule_arn(body: bytes, region: str, account: str) -> str | None:
    """Returns the ARN of the rule of the default event bus that a request names, or None if it names none."""
    try:
        request = json.loads(body or b"{}")
    except (UnicodeDecodeError, ValueError):
        return None
    if not isinstance(request, dict) or request.get("EventBusName", DEFAULT_BUS) != DEFAULT_BUS or "Entries" in request:
        return None
    name = request.get("Rule") or request.get("Name")
    if not isinstance(name, str):
        return None
    return f"arn:aws:events:{region}:{account}:rule/{name}"
