//! The two buckets for an attempt of a job. Stores with the shard what the attempt is about to write, before it writes.

use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::job_shards::JobShards;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Onto, Side,
};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, ObjectKey};
use tandem_replication::object::{Attributes, ObjectState};
use tandem_replication::part_layout::PartLayout;
use tandem_replication::shard_session::{Session, SessionError};

/// The buckets of a rule, and the session of a shard.
#[derive(Debug)]
pub(crate) struct JobPair<'a> {
    pub(crate) s3: &'a S3Pair,
    pub(crate) session: &'a Session<'a, JobShards<'a>>,
}

impl BucketPair for JobPair<'_> {
    async fn head(&self, side: Side, key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        self.s3.head(side, key).await
    }

    async fn attributes(&self, side: Side, key: &ObjectKey) -> Result<Attributes, Fault> {
        self.s3.attributes(side, key).await
    }

    async fn part_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        self.s3.part_layout(key, source).await
    }

    async fn announce(&self, key: &ObjectKey, etag: &Etag) -> Result<(), Fault> {
        let announced = self.session.announce(key, etag).await;
        announced.map_err(|error| match error {
            SessionError::Failed(error) | SessionError::Final(error) => error.into_fault(),
            lost @ SessionError::Lost(_) => Fault::because(
                Reason::ServiceFailed,
                format!("copying {:?}: {lost}", key.as_str()),
            ),
        })
    }

    async fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        self.s3.copy(key, order, onto).await
    }

    async fn adjust(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        self.s3.adjust(key, seen, wanted).await
    }

    async fn delete_replica(&self, key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        self.s3.delete_replica(key, seen).await
    }
}
