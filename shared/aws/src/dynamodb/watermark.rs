//! The last watermark that was established for a rule, in the table: what was true once stays true.

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
    /// Every change received before this instant is known to be replicated, or kept as a failure.
    pub async fn watermark(&self, rule: &RuleId) -> Result<Option<Timestamp>, AwsError> {
        Ok(self
            .get::<WatermarkItem>(WATERMARKS, rule.as_str())
            .await?
            .map(|item| item.watermark))
    }

    /// Moves the watermark on.
    pub async fn put_watermark(&self, rule: &RuleId, watermark: Timestamp) -> Result<(), AwsError> {
        self.put(WATERMARKS, rule.as_str(), &WatermarkItem { watermark })
            .await
    }

    /// Forgets the watermark of a rule.
    pub async fn remove_watermark(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.delete(WATERMARKS, rule.as_str()).await
    }
}
