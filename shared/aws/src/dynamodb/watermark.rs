//! Stores the last watermark of a rule in the table. A watermark stays true once it has been established.

use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::RuleId;

use crate::AwsError;
use crate::dynamodb::table::Table;

const WATERMARKS: &str = "watermark";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WatermarkItem {
    watermark: Timestamp,
}

impl Table {
    /// Returns the watermark. Every change received before it has been replicated or recorded as a failure.
    pub async fn watermark(&self, rule: &RuleId) -> Result<Option<Timestamp>, AwsError> {
        Ok(self
            .get::<WatermarkItem>(WATERMARKS, rule.as_str())
            .await?
            .map(|item| item.watermark))
    }

    /// Stores a later watermark.
    pub async fn put_watermark(&self, rule: &RuleId, watermark: Timestamp) -> Result<(), AwsError> {
        self.put(WATERMARKS, rule.as_str(), &WatermarkItem { watermark })
            .await
    }

    /// Removes the watermark of a rule.
    pub async fn remove_watermark(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.delete(WATERMARKS, rule.as_str()).await
    }
}
