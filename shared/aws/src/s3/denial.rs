//! Determines why S3 denied a request. A 403 does not show whether a role lacks a permission or the bucket's owner has
//! changed, and the 403 of a copy does not show which side denied it. Further requests show it: at most six for an
//! object that failed permanently, and none for any other.

use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::ObjectKey;

use crate::error::Refused;
use crate::s3::s3_pair::S3Pair;

/// Whether a bucket still has its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// The bucket exists and has the expected owner, or S3 does not show whether it has.
    Unchanged,
    /// Another account owns it.
    AnotherAccounts,
    /// It does not exist.
    Gone,
}

impl S3Pair {
    /// Returns the fault with a more exact reason, if further requests reveal one.
    pub async fn explained(&self, key: &ObjectKey, fault: Fault) -> Fault {
        for &side in in_doubt(fault.reason) {
            match (self.ownership(side).await, side) {
                (Ownership::Unchanged, _) => {}
                (Ownership::AnotherAccounts, Side::Source) => {
                    return fault.explained(Reason::SrcBucketOwnerChanged);
                }
                (Ownership::AnotherAccounts, Side::Replica) => {
                    return fault.explained(Reason::DstBucketOwnerChanged);
                }
                (Ownership::Gone, Side::Source) => {
                    return fault.explained(Reason::SrcBucketNotFound);
                }
                (Ownership::Gone, Side::Replica) => {
                    return fault.explained(Reason::DstBucketNotFound);
                }
            }
        }
        if fault.reason != Reason::CopyNotPermitted {
            return fault;
        }
        match self.head(Side::Source, key).await {
            Err(looking) if looking.reason == Reason::SrcHeadObjectNotPermitted => {
                fault.explained(Reason::SrcGetObjectNotPermitted)
            }
            Ok(Some(_)) => match self.read_tags(Side::Source, key).await {
                Err(reading) if reading.reason == Reason::SrcGetTaggingNotPermitted => {
                    fault.explained(reading.reason)
                }
                _ => fault.explained(Reason::DstPutObjectNotPermitted),
            },
            _ => fault,
        }
    }

    async fn ownership(&self, side: Side) -> Ownership {
        let bucket = self.bucket(side);
        let look = bucket.client.head_bucket().bucket(bucket.name.as_str());
        let Err(error) = look
            .clone()
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await
        else {
            return Ownership::Unchanged;
        };
        match Refused::of(&error).status {
            Some(404) => Ownership::Gone,
            // The request succeeds without an expected owner, so S3 refused the owner.
            Some(403) if look.send().await.is_ok() => Ownership::AnotherAccounts,
            _ => Ownership::Unchanged,
        }
    }
}

/// Returns the buckets whose owner or absence may be the real cause of a fault with this reason.
fn in_doubt(reason: Reason) -> &'static [Side] {
    match reason {
        Reason::SrcHeadObjectNotPermitted
        | Reason::SrcGetTaggingNotPermitted
        | Reason::SrcGetAclNotPermitted => &[Side::Source],
        Reason::DstHeadObjectNotPermitted
        | Reason::DstPutTaggingNotPermitted
        | Reason::DstPutAclNotPermitted
        | Reason::DstPutLockNotPermitted
        | Reason::DstDelObjNotPermitted => &[Side::Replica],
        Reason::CopyNotPermitted | Reason::DstBucketNotFound => &[Side::Source, Side::Replica],
        _ => &[],
    }
}
