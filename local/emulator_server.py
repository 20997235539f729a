"""MiniStack, which compares the filters of notifications without decoding them, and knows only today's bucket names.
Run by emulator.py.

Both have to be as in S3: a rule's filters are encoded as S3 wants them, and buckets with old names still exist.
"""

from ministack.app import main
from ministack.services import s3

import s3_names

validate_name_of_today = s3._validate_bucket_name

s3._key_matches_filter = s3_names.key_matches_filter
s3._validate_bucket_name = lambda name: validate_name_of_today(name) or s3_names.is_old_bucket_name(name)

if __name__ == "__main__":
    main()
