//! Who is at which page of a shard, in the table. A worker writes it before it touches the page's objects, and
//! takes it away when all that it began has been looked after. So whoever comes after a worker that died knows
//! which objects may be half done, even if somebody else has moved the shard on meanwhile.

use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::JobId;

use crate::AwsError;
use crate::shard::{ManifestPart, Shard};
use crate::table::Table;

/// A worker at a page of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visitor {
    /// The worker's invocation.
    pub id: String,
    /// The message that it has; none where somebody invoked it by hand.
    #[serde(default)]
    pub message: Option<String>,
    /// The shard.
    pub shard: u32,
    /// The page begins after this key, or at this place of a manifest; where the shard does if nobody says.
    #[serde(default)]
    pub place: Option<String>,
    /// It goes up to here; to the end of the shard if nobody says.
    #[serde(default)]
    pub reach: Option<String>,
    /// When nothing of it can be at work any more, at the latest.
    pub until: Timestamp,
    /// When the table may forget it, in seconds since 1970; never if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Visitor {
    /// Whether nothing of it can be at work any more: its time is over, or its message came again, to whoever
    /// has `message`. A message is hidden for longer than that.
    pub fn is_over(&self, message: Option<&str>, at: Timestamp) -> bool {
        self.until < at || (message.is_some() && self.message.as_deref() == message)
    }

    /// Whether the shard was moved on since the page was begun: nobody will come to some of its keys again.
    pub fn is_behind(&self, shard: &Shard) -> bool {
        has_ended(shard) || self.place != shard.checkpoint
    }

    /// Whether the shard was moved on beyond the page.
    pub fn is_done_with(&self, shard: &Shard) -> bool {
        if has_ended(shard) {
            return true;
        }
        let (Some(reach), Some(checkpoint)) = (&self.reach, &shard.checkpoint) else {
            return false;
        };
        if shard.manifest.is_none() {
            return reach <= checkpoint;
        }
        let place = |text: &str| text.parse::<u64>();
        matches!((place(reach), place(checkpoint)), (Ok(reach), Ok(checkpoint)) if reach <= checkpoint)
    }

    /// What others have accounted for of the page, as a shard of its own that nobody has begun.
    pub fn page_of(&self, shard: &Shard) -> Shard {
        let until = match &self.reach {
            Some(reach) if self.is_done_with(shard) => Some(reach.clone()),
            _ if has_ended(shard) => shard.until.clone(),
            _ => shard.checkpoint.clone(),
        };
        let manifest = shard.manifest.as_ref().map(|part| ManifestPart {
            until: until
                .as_ref()
                .and_then(|place| place.parse().ok())
                .or(part.until),
            ..part.clone()
        });
        Shard {
            checkpoint: self.place.clone(),
            until: if manifest.is_some() { None } else { until },
            manifest,
            ended_at: None,
            error: None,
            ..shard.clone()
        }
    }
}

/// Whether a shard has come to its end. One that ended before may be opened again.
fn has_ended(shard: &Shard) -> bool {
    shard.ended_at.is_some() && shard.error.is_none()
}

fn visitors_of(job: &JobId) -> String {
    format!("visitor#{job}")
}

fn number(visitor: &Visitor) -> String {
    format!("{:06}#{}", visitor.shard, visitor.id)
}

impl Table {
    /// Notes where a worker is; only the last place counts.
    pub async fn note_visitor(&self, job: &JobId, visitor: &Visitor) -> Result<(), AwsError> {
        self.put(&visitors_of(job), &number(visitor), visitor).await
    }

    /// Forgets a worker that has left nothing half done.
    pub async fn forget_visitor(&self, job: &JobId, visitor: &Visitor) -> Result<(), AwsError> {
        self.delete(&visitors_of(job), &number(visitor)).await
    }

    /// Who is at a shard of a job, or was when they died.
    pub async fn visitors(&self, job: &JobId, shard: u32) -> Result<Vec<Visitor>, AwsError> {
        let mut visitors: Vec<Visitor> = self.all(&visitors_of(job)).await?;
        visitors.retain(|visitor| visitor.shard == shard);
        Ok(visitors)
    }

    /// Forgets all visitors of a job.
    pub(crate) async fn remove_visitors(&self, job: &JobId) -> Result<(), AwsError> {
        self.remove_all(&visitors_of(job)).await
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::shard::tests::{step, whole};

    fn visitor() -> Visitor {
        Visitor {
            id: "invocation".to_owned(),
            message: Some("message".to_owned()),
            shard: 0,
            place: None,
            reach: Some("k/5".to_owned()),
            until: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    #[test]
    fn a_visitor_is_over_when_its_message_comes_again_or_its_time_is_up() {
        let (before, after) = (TimeDelta::seconds(-1), TimeDelta::seconds(1));
        let [before, after] = [before, after].map(|by| Timestamp::UNIX_EPOCH + by);
        for (message, at, is_over) in [
            (Some("message"), before, true),
            (Some("another"), before, false),
            (None, before, false),
            (Some("another"), after, true),
            (None, after, true),
        ] {
            assert_eq!(visitor().is_over(message, at), is_over, "{message:?} {at}");
        }
        let by_hand = Visitor {
            message: None,
            ..visitor()
        };
        assert!(!by_hand.is_over(None, before));
    }

    #[test]
    fn a_visitor_is_behind_when_others_have_moved_on() {
        let shard = whole();
        assert!(!visitor().is_behind(&shard));
        assert!(visitor().is_behind(&shard.after(&step("k/5"), Timestamp::UNIX_EPOCH)));
        let ended = Shard {
            ended_at: Some(Timestamp::UNIX_EPOCH),
            ..shard.clone()
        };
        assert!(visitor().is_behind(&ended) && visitor().is_done_with(&ended));
        let failed = Shard {
            error: Some("listing".to_owned()),
            ..ended
        };
        assert!(!visitor().is_behind(&failed) && !visitor().is_done_with(&failed));
    }

    #[test]
    fn what_is_looked_at_again_is_the_page_as_far_as_others_have_come() {
        let at = |checkpoint| whole().after(&step(checkpoint), Timestamp::UNIX_EPOCH);
        for (checkpoint, until, done) in [("k/3", "k/3", false), ("k/7", "k/5", true)] {
            let page = visitor().page_of(&at(checkpoint)).rest();
            assert_eq!(
                (page.after.as_deref(), page.until.as_deref()),
                (None, Some(until))
            );
            assert_eq!(visitor().is_done_with(&at(checkpoint)), done);
        }
    }

    #[test]
    fn places_of_a_manifest_are_numbers() {
        let list = ManifestPart {
            bucket: "lists".to_owned(),
            region: "us-east-1".to_owned(),
            key: "keys.csv".to_owned(),
            etag: "e".to_owned(),
            gzip: false,
            from: 0,
            until: None,
        };
        let shard = Shard {
            manifest: Some(list),
            checkpoint: Some("1000".to_owned()),
            ..whole()
        };
        let at = |reach: &str| Visitor {
            place: Some("90".to_owned()),
            reach: Some(reach.to_owned()),
            ..visitor()
        };
        assert!(at("900").is_done_with(&shard) && !at("1001").is_done_with(&shard));
        for (reach, until) in [("900", 900), ("1001", 1000)] {
            let page = at(reach).page_of(&shard);
            assert_eq!(page.checkpoint.as_deref(), Some("90"));
            assert_eq!(page.manifest.and_then(|part| part.until), Some(until));
        }
    }
}
