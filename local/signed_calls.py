"""The AWS calls that deploying needs besides SAM's. Run from the emulator's virtual environment, for botocore.

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
    """MiniStack 1.5.33 keeps a MaximumConcurrency that comes from a template parameter as text, and its
    poller fails on text. Nothing is delivered to any function until it is told the number as a number."""
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        # botocore has made a number of it by now.
        functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=mapping["ScalingConfig"])


if __name__ == "__main__":
    main()
