//! The sweep: aborts the uploads that functions left behind when they died, and continues transfers that have stalled.
//! It aborts only uploads that the log names, because all others are another writer's.

use std::collections::HashSet;

use crate::Timestamp;
use crate::fault::Fault;
use crate::names::ObjectKey;
use crate::rule::RuleState;
use crate::transfer::LoggedUpload;
use crate::transfer::begin::Transferrer;
use crate::transfer::ports::{Answer, TransferPorts, Uploads};
use crate::transfer::uploads::abort_logged;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many uploads were aborted.
    pub aborted: usize,
    /// The keys of the transfers that had stalled and were continued.
    pub helped_on: Vec<ObjectKey>,
    /// The entries of the log that could not be processed. The next sweep tries them again.
    pub failed: Vec<(LoggedUpload, Fault)>,
}

impl<P: TransferPorts> Transferrer<'_, P> {
    /// Sweeps the rule's log, except for entries made after `before`.
    pub async fn sweep(&self, before: Timestamp) -> Answer<Swept> {
        let mut swept = Swept::default();
        // The log is read first, because an upload is in it before a transfer has the upload.
        let entries = self.ports.pair().logged().await?;
        let transfers = self.ports.transfers().await?;
        let in_use: HashSet<&str> = transfers
            .iter()
            .map(|transfer| transfer.upload.id.as_str())
            .collect();
        for entry in entries {
            if entry.began_at > before || in_use.contains(entry.id.as_str()) {
                continue;
            }
            if !self.ports.has_time_to_sweep() {
                return Ok(swept);
            }
            match abort_logged(self.ports.pair(), &entry, self.ports.now()).await {
                Ok(aborted) => swept.aborted += aborted.count(),
                Err(fault) => swept.failed.push((entry, fault)),
            }
        }
        if self.rule.state != RuleState::Enabled {
            return Ok(swept);
        }
        for transfer in transfers {
            if transfer.is_stalled(self.ports.now()) {
                self.send_object_of(&transfer).await?;
                swept.helped_on.push(transfer.key);
            }
        }
        Ok(swept)
    }
}
