"""MiniStack, which compares the filters of notifications without decoding them, knows only today's bucket names, and resolves
only a part of a template's conditions. Run by emulator.py.

All have to be as in AWS: a rule's filters are encoded as S3 wants them, buckets with old names still exist, and
template.yaml has conditions on parts of parameters.
"""

import sys

from ministack.app import main
from ministack.services import s3
from ministack.services.cloudformation import engine

import s3_names
import template_conditions

validate_name_of_today = s3._validate_bucket_name

s3._key_matches_filter = s3_names.key_matches_filter
s3._validate_bucket_name = lambda name: validate_name_of_today(name) or s3_names.is_old_bucket_name(name)

evaluate_conditions = engine._evaluate_conditions
for module in list(sys.modules.values()):  # some have imported it by name
    if getattr(module, "_evaluate_conditions", None) is evaluate_conditions:
        module._evaluate_conditions = template_conditions.evaluating_all(evaluate_conditions)

if __name__ == "__main__":
    main()
