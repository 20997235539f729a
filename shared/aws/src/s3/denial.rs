//! Why S3 said no. A 403 is the same whether a role lacks a permission or a bucket has changed hands, and a
//! copy's whether the source may not be read or the replica not be written. Asked once more, S3 tells: at
//! most six requests for an object that failed for good, none for one that did not.

use tandem_replication::bucket_pair::Side;
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::ObjectKey;

use crate::error::Refused;
use crate::s3::s3_pair::S3Pair;

/// What became of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// It is there and its owner's, or that cannot be told.
    Unchanged,
    /// It is another account's.
    AnotherAccounts,
    /// It does not exist.
    Gone,
}

impl S3Pair {
    /// The same failure, with the reason that only another look can tell.
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
        match self.look(Side::Source, key).await {
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
            // It may be looked at by whoever is no owner: the owner is what was refused.
            Some(403) if look.send().await.is_ok() => Ownership::AnotherAccounts,
            _ => Ownership::Unchanged,
        }
    }
}

/// The buckets that may be the real reason behind this one.
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
