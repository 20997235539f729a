"""MiniStack, which compares the filters of notifications without decoding them, knows only today's bucket names, and
names the rules of EventBridge differently from IAM. Run by emulator.py.

All three have to be as in AWS: a rule's filters are encoded as S3 wants them, buckets with old names still exist, and a
role's policy names the rules of EventBridge that its function may use.
"""

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import s3

import event_rules
import s3_names

validate_name_of_today = s3._validate_bucket_name

s3._key_matches_filter = s3_names.key_matches_filter
s3._validate_bucket_name = lambda name: validate_name_of_today(name) or s3_names.is_old_bucket_name(name)

emulators_resource_arn = iam_actions.extract_resource_arn


def resource_arn(service, method, path, headers, body, query_params, region, account_id):
    rule = event_rules.rule_arn(body, region, account_id) if service == "events" else None
    return rule or emulators_resource_arn(service, method, path, headers, body, query_params, region, account_id)


iam_actions.extract_resource_arn = resource_arn

if __name__ == "__main__":
    main()
