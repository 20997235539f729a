"""Sends the requests to AWS that a deployment needs besides SAM's. It runs with the emulator's virtual environment,
which has botocore.

    signed_calls.py make-bucket NAME
    signed_calls.py correct-concurrency
"""

import sys

import botocore.session


def main() -> None:
    session = botocore.session.get_session()
    match sys.argv[1:]:
        case ["make-bucket", name]:
            session.create_client("s3").create_bucket(Bucket=name)  # in us-east-1, safe to repeat
        case ["correct-concurrency"]:
            correct_concurrency(session.create_client("lambda"))


def correct_concurrency(functions) -> None:
    """Sets each MaximumConcurrency again, as a number. MiniStack 1.5.33 stores one that comes from a template parameter
    as text. Its poller fails on text, so it would deliver no message to any function."""
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        # botocore has converted it into a number.
        functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=mapping["ScalingConfig"])


if __name__ == "__main__":
    main()
