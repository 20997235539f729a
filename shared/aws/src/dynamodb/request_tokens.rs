//! Stores in the table which rule or job a request with a token has created. A repetition of the request then refers to
//! the same rule or job.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;

use crate::AwsError;
use crate::dynamodb::table::{Table, conditional, item};

const REQUESTS: &str = "request";
/// For how long a token is stored: much longer than any client repeats an invocation.
const REMEMBERED: TimeDelta = TimeDelta::days(1);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestItem {
    /// The id of the rule or the job.
    id: String,
    /// When the table may delete it, in seconds since 1970.
    expires_at: i64,
}

impl Table {
    /// Returns the id that belongs to this action and token: that of an earlier request, or else `id`.
    pub async fn id_of_request(
        &self,
        action: &str,
        token: &str,
        id: &str,
        at: Timestamp,
    ) -> Result<String, AwsError> {
        let request = format!("{action}#{token}");
        let first = RequestItem {
            id: id.to_owned(),
            expires_at: (at + REMEMBERED).timestamp(),
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(REQUESTS, &request, &first)?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        if conditional(format!("storing {REQUESTS} {request}"), written)? {
            return Ok(first.id);
        }
        let found: Option<RequestItem> = self.get(REQUESTS, &request).await?;
        Ok(found.map_or(first.id, |found| found.id))
    }
}
