"""Turns embedded metric format in the functions' logs into CloudWatch metrics, as AWS does.

MiniStack stores the functions' logs, but does not read the metrics in them. This script runs beside
it, with the emulator's virtual environment, until the emulator ends. About once a second it reads the
new log events and puts their metrics.

Every event counts once. MiniStack writes the log of one invocation as one log stream, at once and
with one timestamp. So it is enough to store how many events of a stream were read, for as long as the
stream can still be in the window that the script requests.
"""

import collections
import json
import os
import sys
import time

import botocore.exceptions
import botocore.session

POLL_SECONDS = 1.0
# The time range of each poll. MiniStack stamps an invocation's log just before it stores it; on a busy machine, long
# before.
WINDOW_MS = 120_000
# Limits of MiniStack's FilterLogEvents (which has no next page) and of CloudWatch's PutMetricData.
PAGE_EVENTS = 10_000
PUT_METRICS_MAX = 1_000
PUT_VALUES_MAX = 150


def main() -> None:
    emulator = int(sys.argv[1])
    session = botocore.session.get_session()
    logs, metrics = session.create_client("logs"), session.create_client("cloudwatch")
    reader = Reader(logs)
    unput = []
    while is_alive(emulator):
        try:
            unput += reader.read()
            put(metrics, unput)
            unput = []
        # The emulator is shutting down, or very busy.
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        time.sleep(POLL_SECONDS)


class Reader:
    """Reads each log event of the functions once."""

    def __init__(self, logs):
        self.logs = logs
        self.since_ms = now_ms()
        self.read_of = {}  # (group, stream) -> (its timestamp, how many of its events were read)

    def read(self) -> list[str]:
        until_ms = now_ms()
        messages = []
        for group in self.groups():
            messages += self.read_group(group)
        # Events older than the next window cannot appear in a later poll.
        self.since_ms = max(self.since_ms, until_ms - WINDOW_MS)
        self.read_of = {stream: seen for stream, seen in self.read_of.items() if seen[0] >= self.since_ms}
        return messages

    def groups(self) -> list[str]:
        pages = self.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/")
        return [group["logGroupName"] for page in pages for group in page["logGroups"]]

    def read_group(self, group: str) -> list[str]:
        messages = []
        start_ms = self.since_ms
        while True:
            events = self.logs.filter_log_events(
                logGroupName=group, startTime=start_ms, filterPattern="CloudWatchMetrics", limit=PAGE_EVENTS,
            )["events"]
            streams = collections.defaultdict(list)
            for event in events:
                streams[group, event["logStreamName"]].append(event)
            for stream, of_stream in streams.items():
                _, read = self.read_of.get(stream, (0, 0))
                messages += [event["message"] for event in of_stream[read:]]
                self.read_of[stream] = of_stream[0]["timestamp"], max(read, len(of_stream))
            if len(events) < PAGE_EVENTS or events[-1]["timestamp"] == start_ms:
                return messages
            start_ms = events[-1]["timestamp"]  # reads again from there: the page may end within a stream


def put(metrics, messages: list[str]) -> None:
    by_namespace = collections.defaultdict(list)
    for message in messages:
        for namespace, datum in metric_data(message):
            by_namespace[namespace].append(datum)
    for namespace, data in by_namespace.items():
        for first in range(0, len(data), PUT_METRICS_MAX):
            metrics.put_metric_data(Namespace=namespace, MetricData=data[first:first + PUT_METRICS_MAX])


def metric_data(message: str):
    """Yields the metrics of one log event: a datum for each metric and each of its sets of dimensions."""
    try:
        document = json.loads(message)
        directives = document["_aws"]["CloudWatchMetrics"]
    except (ValueError, KeyError, TypeError):
        return
    timestamp = document["_aws"].get("Timestamp", now_ms()) / 1000
    for directive in directives:
        for definition in directive.get("Metrics", []):
            value = document.get(definition["Name"])
            values = value if isinstance(value, list) else [value]
            values = [number for number in values if isinstance(number, (int, float))]
            for names in directive.get("Dimensions", [[]]) if values else ():
                for first in range(0, len(values), PUT_VALUES_MAX):
                    yield directive["Namespace"], {
                        "MetricName": definition["Name"],
                        "Dimensions": [{"Name": name, "Value": str(document[name])} for name in names],
                        "Timestamp": timestamp,
                        "Unit": definition.get("Unit", "None"),
                        "Values": values[first:first + PUT_VALUES_MAX],
                    }


def now_ms() -> int:
    return int(time.time() * 1000)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
