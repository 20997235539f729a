//! Reads and writes the tags, ACLs and locks of objects.

use std::collections::BTreeSet;

use aws_sdk_s3::operation::get_object_acl::GetObjectAclOutput;
use aws_sdk_s3::types::{
    AccessControlPolicy, Grant as S3Grant, Grantee as S3Grantee, ObjectLockLegalHold,
    ObjectLockRetention, ObjectLockRetentionMode, Permission, Tag, Tagging, Type,
};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;
use tandem_replication::bucket_pair::{AdjustOutcome, Adjustment, Side};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::ObjectKey;
use tandem_replication::object::{Attributes, Grant, Grantee, Lock, ObjectState, Tags};
use tandem_replication::options::AclChoice;

use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::error::{Refused, fault};
use crate::s3::object_state::{date_time, legal_hold};
use crate::s3::s3_pair::S3Pair;

impl S3Pair {
    /// Reads the attributes that the rule replicates and a HEAD does not show: tags and grants.
    pub(crate) async fn read_attributes(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> Result<Attributes, Fault> {
        let mut attributes = Attributes::default();
        if self.options.tags {
            attributes.tags = Some(self.read_tags(side, key).await?);
        }
        if self.options.acl == AclChoice::Keep {
            attributes.grants = Some(self.read_grants(side, key).await?);
        }
        Ok(attributes)
    }

    /// Returns what an object grants to others than its owner and the replica's owner, who have every permission
    /// anyway. A missing object has no grants.
    async fn read_grants(&self, side: Side, key: &ObjectKey) -> Result<BTreeSet<Grant>, Fault> {
        let Some(acl) = self.read_acl(side, key).await? else {
            return Ok(BTreeSet::new());
        };
        let mut granted = grants(&acl);
        if side == Side::Source
            && let Some(replica) = self.read_acl(Side::Replica, key).await?
            && let Some(owner) = replica.owner().and_then(|owner| owner.id())
        {
            granted.retain(|grant| !matches!(&grant.grantee, Grantee::Account(id) if id == owner));
        }
        Ok(granted)
    }

    pub(crate) async fn read_tags(&self, side: Side, key: &ObjectKey) -> Result<Tags, Fault> {
        let bucket = self.bucket(side);
        let answer = bucket
            .client
            .get_object_tagging()
            .bucket(bucket.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer
                .tag_set()
                .iter()
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect()),
            Err(error) if is_gone(&error) => Ok(Tags::new()),
            Err(error) => Err(fault(Doing::ReadTags(side), key, error)),
        }
    }

    async fn read_acl(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> Result<Option<GetObjectAclOutput>, Fault> {
        let bucket = self.bucket(side);
        let answer = bucket
            .client
            .get_object_acl()
            .bucket(bucket.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(fault(Doing::ReadAcl(side), key, error)),
        }
    }

    /// Sets the wanted attributes on the replica that was seen. In a versioned bucket it sets them on that version.
    pub(crate) async fn adjust_replica(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        let attributes = wanted.attributes.unwrap_or_default();
        let mut still_there = true;
        if let Some(tags) = &attributes.tags {
            still_there &= self.write_tags(key, seen, tags).await?;
        }
        if let Some(grants) = &attributes.grants {
            still_there &= self.write_acl(key, seen, grants).await?;
        }
        if let Some(lock) = wanted.lock {
            still_there &= self.write_lock(key, seen, lock).await?;
        }
        Ok(if still_there {
            AdjustOutcome::Adjusted
        } else {
            AdjustOutcome::ReplicaChanged
        })
    }

    async fn write_tags(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        tags: &Tags,
    ) -> Result<bool, Fault> {
        let version_id = seen.version_id.as_ref().map(ToString::to_string);
        let replica = &self.replica;
        if tags.is_empty() {
            let deleted = replica
                .client
                .delete_object_tagging()
                .bucket(replica.name.as_str())
                .key(key.as_str())
                .set_version_id(version_id)
                .expected_bucket_owner(&replica.owner)
                .customize()
                .config_override(never_blindly_again())
                .send()
                .await;
            return found(Doing::PutTags, key, deleted);
        }
        let tagging = tagging(tags).map_err(|error| unwritable(key, error))?;
        let put = replica
            .client
            .put_object_tagging()
            .bucket(replica.name.as_str())
            .key(key.as_str())
            .set_version_id(version_id)
            .expected_bucket_owner(&replica.owner)
            .tagging(tagging)
            .customize()
            .config_override(never_blindly_again())
            .send()
            .await;
        found(Doing::PutTags, key, put)
    }

    async fn write_acl(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: &BTreeSet<Grant>,
    ) -> Result<bool, Fault> {
        let Some(present) = self.read_acl(Side::Replica, key).await? else {
            return Ok(false);
        };
        let owners = present
            .grants()
            .iter()
            .filter(|grant| is_owners(grant, &present));
        let grants = wanted
            .iter()
            .map(written)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unwritable(key, error))?;
        let policy = AccessControlPolicy::builder()
            .set_owner(present.owner().cloned())
            .set_grants(Some(owners.cloned().chain(grants).collect()))
            .build();
        let replica = &self.replica;
        let put = replica
            .client
            .put_object_acl()
            .bucket(replica.name.as_str())
            .key(key.as_str())
            .set_version_id(seen.version_id.as_ref().map(ToString::to_string))
            .expected_bucket_owner(&replica.owner)
            .access_control_policy(policy)
            .customize()
            .config_override(never_blindly_again())
            .send()
            .await;
        match put {
            Err(error)
                if Refused::of(&error).code.as_deref() == Some("AccessControlListNotSupported") =>
            {
                let message = format!(
                    "writing the ACL of the replica {:?}: the destination bucket has ACLs disabled",
                    key.as_str()
                );
                Err(Fault::new(Reason::DstPutAclNotPermitted, message, error))
            }
            put => found(Doing::PutAcl, key, put),
        }
    }

    async fn write_lock(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        lock: &Lock,
    ) -> Result<bool, Fault> {
        let version_id = seen.version_id.as_ref().map(ToString::to_string);
        let replica = &self.replica;
        let mut still_there = true;
        let wanted = Lock {
            legal_hold: false,
            ..lock.clone()
        };
        if let Some(retention) = &lock.retention
            && !wanted.is_within(&seen.lock)
        {
            // Requests the stricter mode and the later date of the two, because neither can be reduced.
            let seen = seen.lock.retention.as_ref();
            let compliance = retention.compliance || seen.is_some_and(|seen| seen.compliance);
            let until = seen.map_or(retention.until, |seen| seen.until.max(retention.until));
            let retention = ObjectLockRetention::builder()
                .mode(if compliance {
                    ObjectLockRetentionMode::Compliance
                } else {
                    ObjectLockRetentionMode::Governance
                })
                .retain_until_date(date_time(until))
                .build();
            let put = replica
                .client
                .put_object_retention()
                .bucket(replica.name.as_str())
                .key(key.as_str())
                .set_version_id(version_id.clone())
                .expected_bucket_owner(&replica.owner)
                .retention(retention)
                .customize()
                .config_override(never_blindly_again())
                .send()
                .await;
            still_there &= found(Doing::PutLock, key, put)?;
        }
        if lock.legal_hold && !seen.lock.legal_hold {
            let put = replica
                .client
                .put_object_legal_hold()
                .bucket(replica.name.as_str())
                .key(key.as_str())
                .set_version_id(version_id)
                .expected_bucket_owner(&replica.owner)
                .legal_hold(
                    ObjectLockLegalHold::builder()
                        .status(legal_hold(lock))
                        .build(),
                )
                .customize()
                .config_override(never_blindly_again())
                .send()
                .await;
            still_there &= found(Doing::PutLock, key, put)?;
        }
        Ok(still_there)
    }
}

/// Returns whether the written object still existed.
fn found<T, E>(
    doing: Doing,
    key: &ObjectKey,
    written: Result<T, SdkError<E, Response>>,
) -> Result<bool, Fault>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match written {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(fault(doing, key, error)),
    }
}

/// Whether S3 answers that the object does not exist, or that a delete marker hides it.
fn is_gone<E>(error: &SdkError<E, Response>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let refused = Refused::of(error);
    matches!(
        (refused.code.as_deref(), refused.status),
        (Some("NoSuchKey" | "NoSuchVersion"), _) | (Some("MethodNotAllowed"), Some(405))
    )
}

fn unwritable(key: &ObjectKey, error: BuildError) -> Fault {
    let message = format!("adjusting the replica {:?}", key.as_str());
    Fault::new(Reason::RequestRefused, message, error)
}

fn tagging(tags: &Tags) -> Result<Tagging, BuildError> {
    let set = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build());
    Tagging::builder()
        .set_tag_set(Some(set.collect::<Result<_, _>>()?))
        .build()
}

/// Returns what an ACL grants to others than the owner.
fn grants(acl: &GetObjectAclOutput) -> BTreeSet<Grant> {
    acl.grants()
        .iter()
        .filter(|grant| !is_owners(grant, acl))
        .filter_map(|grant| {
            let grantee = grant.grantee()?;
            let grantee = match (grantee.id(), grantee.uri()) {
                (Some(id), _) => Grantee::Account(id.to_owned()),
                (None, Some(uri)) => Grantee::Group(uri.to_owned()),
                (None, None) => return None,
            };
            Some(Grant {
                grantee,
                permission: grant.permission()?.as_str().to_owned(),
            })
        })
        .collect()
}

fn is_owners(grant: &S3Grant, acl: &GetObjectAclOutput) -> bool {
    let owner = acl.owner().and_then(|owner| owner.id());
    let grantee = grant.grantee().and_then(S3Grantee::id);
    grantee.is_some() && grantee == owner
}

fn written(grant: &Grant) -> Result<S3Grant, BuildError> {
    let grantee = match &grant.grantee {
        Grantee::Account(id) => S3Grantee::builder().r#type(Type::CanonicalUser).id(id),
        Grantee::Group(uri) => S3Grantee::builder().r#type(Type::Group).uri(uri),
    };
    Ok(S3Grant::builder()
        .grantee(grantee.build()?)
        .permission(Permission::from(grant.permission.as_str()))
        .build())
}
