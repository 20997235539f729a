"""MiniStack, which compares the filters of notifications without decoding them, knows only today's bucket names, and
lacks some of AWS's limits. Run by emulator.py.

All have to be as on AWS: a rule's filters are encoded as S3 wants them, buckets with old names still exist, and what
AWS would stop has to fail here too (strict_limits.py).
"""

import json
import os

from ministack.app import main
from ministack.services import s3

import s3_names
import strict_limits
from limits import Limits

validate_name_of_today = s3._validate_bucket_name

s3._key_matches_filter = s3_names.key_matches_filter
s3._validate_bucket_name = lambda name: validate_name_of_today(name) or s3_names.is_old_bucket_name(name)
strict_limits.install(Limits(json.loads(os.environ["TANDEM_LIMITS"])))

if __name__ == "__main__":
    main()
