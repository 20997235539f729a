//! Letting a message come again sooner than after its queue's visibility timeout, which is for crashes.

use tandem_aws::queues::Queues;

use crate::config::Config;
use crate::inbox::{ComesAgain, Envelope};

/// Lets the message of `envelope` come again when `again` says. Where that fails, it comes after the
/// visibility timeout, which is later and does no harm.
pub async fn postpone(queues: &Queues, config: &Config, envelope: &Envelope, again: ComesAgain) {
    let ComesAgain::After(delay_secs) = again else {
        return;
    };
    let Some(queue_url) = config.queue_url(&envelope.queue_arn) else {
        return;
    };
    let put_off = queues.put_off(queue_url, &envelope.receipt_handle, delay_secs);
    if let Err(error) = put_off.await {
        tracing::warn!(%error, "the message comes again after the queue's visibility timeout");
    }
}
