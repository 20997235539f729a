"""Starts MiniStack with changes that make it behave like AWS. emulator.py runs this script.

Unchanged, MiniStack differs from AWS in five ways. It compares filters of notifications without decoding them, but a
rule encodes its filters as S3 requires. It knows only today's bucket names, but buckets with old names still exist. It
names EventBridge rules differently from IAM, but a role's policy names the rules that its function may use. It resolves
only some functions in a template's conditions, but template.yaml has conditions on parts of parameters. It lacks some
limits of AWS, but an action that AWS would stop has to fail here too (strict_limits.py).
"""

import json
import os
import sys

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import s3
from ministack.services.cloudformation import engine

import event_rules
import s3_names
import strict_limits
import template_conditions
from limits import Limits

validate_name_of_today = s3._validate_bucket_name

s3._key_matches_filter = s3_names.key_matches_filter
s3._validate_bucket_name = lambda name: validate_name_of_today(name) or s3_names.is_old_bucket_name(name)
strict_limits.install(Limits(json.loads(os.environ["TANDEM_LIMITS"])))

evaluate_conditions = engine._evaluate_conditions
for module in list(sys.modules.values()):  # some modules have imported it by name
    if getattr(module, "_evaluate_conditions", None) is evaluate_conditions:
        module._evaluate_conditions = template_conditions.evaluating_all(evaluate_conditions)
emulators_resource_arn = iam_actions.extract_resource_arn


def resource_arn(service, method, path, headers, body, query_params, region, account_id):
    rule = event_rules.rule_arn(body, region, account_id) if service == "events" else None
    return rule or emulators_resource_arn(service, method, path, headers, body, query_params, region, account_id)


iam_actions.extract_resource_arn = resource_arn

if __name__ == "__main__":
    main()
