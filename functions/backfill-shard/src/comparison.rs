//! Compares the two sides of one key for a verification.

use tandem_aws::AwsError;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::diff::{Finding, Listed, Verdict};
use tandem_replication::fault::Fault;
use tandem_replication::names::ObjectKey;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::progress::Counts;
use tandem_replication::replicator::Outcome;

use crate::page_object::{LISTED, PageContext, again_at_once, failed_object};

/// The result of comparing the two objects of a key by HEAD.
enum Closer {
    Equal,
    Different,
    NoReplica,
    NoSource,
}

impl PageContext<'_> {
    /// Compares the two sides of a key, and returns how the key counts. If a key cannot be read, only this key fails.
    pub(crate) async fn compare(
        &self,
        key: &ObjectKey,
        finding: Finding<'_>,
    ) -> Result<Counts, AwsError> {
        let missing = Counts {
            missing: 1,
            ..LISTED
        };
        let different = Counts {
            different: 1,
            ..LISTED
        };
        Ok(match finding {
            Finding::Extra(_) => Counts {
                extra: 1,
                ..Counts::default()
            },
            Finding::Source { replica: None, .. } => missing,
            Finding::Source {
                source,
                verdict: Verdict::NeedsLook,
                ..
            } => {
                let seen = self.seen_failure(key).await?;
                match self.look_closer(key, source).await {
                    // A verification changes nothing: no other attempt follows, and a retry by hand overwrites nothing.
                    Err(fault) => {
                        let fault = fault.of(failed_object(source));
                        self.record(key, fault, Overwrite::Never).await?;
                        Counts {
                            failed: 1,
                            ..LISTED
                        }
                    }
                    Ok(Closer::Equal) => {
                        let equal = Ok(Outcome::InSync);
                        self.conclude(key, Some(source), seen, equal).await?
                    }
                    Ok(Closer::Different) => different,
                    Ok(Closer::NoReplica) => missing,
                    Ok(Closer::NoSource) => Counts { gone: 1, ..LISTED },
                }
            }
            Finding::Source { .. } => different,
        })
    }

    /// Compares two objects of the same size by HEAD, because the listings do not show whether they are equal. Repeats
    /// the comparison once after a failure of S3.
    async fn look_closer(&self, key: &ObjectKey, source: &Listed) -> Result<Closer, Fault> {
        match self.look_closer_once(key, source).await {
            Err(fault) if again_at_once(&fault) => self.look_closer_once(key, source).await,
            looked => looked,
        }
    }

    async fn look_closer_once(&self, key: &ObjectKey, listed: &Listed) -> Result<Closer, Fault> {
        let Some(replica) = self.pair.head(Side::Replica, key).await? else {
            return Ok(Closer::NoReplica);
        };
        if listed.etag.is_known() && replica.stands_for(&listed.etag) {
            return Ok(Closer::Equal);
        }
        let Some(source) = self.pair.head(Side::Source, key).await? else {
            return Ok(Closer::NoSource);
        };
        let is_equal = source.bytes == replica.bytes && replica.is_copy_of(&source);
        Ok(if is_equal {
            Closer::Equal
        } else {
            Closer::Different
        })
    }
}
