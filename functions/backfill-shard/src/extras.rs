//! Deletes objects that only the destination has ("extras"), for a repair and within its limit.

use tandem_aws::AwsError;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::fault::Fault;
use tandem_replication::names::ObjectKey;
use tandem_replication::object::ObjectState;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::progress::Counts;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Policy;

use crate::page_object::{PageContext, again_at_once};

impl PageContext<'_> {
    /// Deletes an extra object if a HEAD shows that the source has no such object, the rule's policy is `full`, and
    /// the job may still delete. If its source cannot be read or the delete fails, only this key fails.
    pub(crate) async fn delete_extra(&self, key: &ObjectKey) -> Result<Counts, AwsError> {
        let extra = Counts {
            extra: 1,
            ..Counts::default()
        };
        if self.rule.policy != Policy::Full {
            return Ok(extra);
        }
        let seen = self.seen_failure(key).await?;
        let ended = match self.source_of_extra(key).await {
            // The listing does not prove that the source has no object: it may have been put since.
            Ok(Some(_)) => return Ok(Counts::default()),
            Ok(None) => {
                let deletes_max = self.job.spec.deletes_max.unwrap_or_default();
                let table = &self.worker.table;
                if !table.take_delete(&self.job.id, deletes_max).await? {
                    return Ok(extra);
                }
                self.reconcile_extra(key).await
            }
            Err(fault) => Err(fault),
        };
        match ended {
            Ok(outcome) => {
                let deleted = u64::from(outcome == Outcome::Deleted);
                self.conclude(key, None, seen, Ok(outcome)).await?;
                Ok(Counts { deleted, ..extra })
            }
            Err(fault) => {
                self.record(key, fault, Overwrite::Always).await?;
                Ok(Counts {
                    extra_failed: 1,
                    ..extra
                })
            }
        }
    }

    /// Sends a HEAD for the source of an extra object, and repeats it once after a failure of S3.
    async fn source_of_extra(&self, key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        match self.pair.head(Side::Source, key).await {
            Err(fault) if again_at_once(&fault) => self.pair.head(Side::Source, key).await,
            looked => looked,
        }
    }
}
