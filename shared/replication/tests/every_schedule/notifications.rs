//! The steps of a worker between a batch of notifications and its first request, in the real code: coalescing and
//! admission.

use tandem_replication::Timestamp;
use tandem_replication::admit::{Admission, admit};
use tandem_replication::event::{Change, CreatedBy, KeyChange, ObjectEvent, coalesce};
use tandem_replication::names::{BucketName, ObjectKey, Region, RuleId, Sequencer};
use tandem_replication::rule::{Bucket, Rule, RuleState, Scope};

use super::model::{Removed, Scenario, Start, Stored, Tagged, Write, time};
use super::world::{About, Message};

/// The one change that these messages report; `None` if they report two.
pub fn coalesced(scenario: &Scenario, messages: &[Message]) -> Option<ObjectEvent> {
    let events: Vec<ObjectEvent> = messages
        .iter()
        .map(|message| event(scenario, message))
        .collect::<Option<_>>()?;
    if scenario.removed == Removed::NewestOfBatch {
        // As if the sequencers had the opposite order.
        return events.into_iter().next();
    }
    let mut changes = coalesce(events.into_iter().map(|event| (event, ())));
    if scenario.removed == Removed::AttributesStayApart && changes.len() == 2 {
        changes.retain(|change| change.newest.change != Change::Attributes);
    }
    match <[KeyChange<()>; 1]>::try_from(changes) {
        Ok([change]) => Some(change.newest),
        Err(_) => None,
    }
}

/// How the attempt at these messages starts; `None` if the rule does not admit their change.
pub fn admitted(scenario: &Scenario, messages: &[Message]) -> Option<Start> {
    let event = coalesced(scenario, messages)?;
    if admit(Some(&rule(scenario)), &event) != Admission::Replicate {
        return None;
    }
    Some(match event.change {
        Change::Created {
            etag: Some(etag), ..
        } => Start::Put(Tagged::of(&etag)),
        Change::Attributes => Start::Attributes,
        _ => Start::Reconcile,
    })
}

fn event(scenario: &Scenario, message: &Message) -> Option<ObjectEvent> {
    let About::Write(number) = message.about else {
        return None;
    };
    let created = |content, stored| Change::Created {
        etag: Some(Tagged { content, stored }.etag()),
        bytes: Some(Tagged { content, stored }.bytes()),
        version_id: None,
        by: CreatedBy::Put,
    };
    let change = match scenario.writes[number] {
        Write::Put(content, ..) => created(content, Stored::Whole),
        Write::PutInParts(content, ..) => created(content, Stored::InParts),
        Write::Tag(_) => Change::Attributes,
        Write::Delete | Write::Restore(_) => Change::Removed,
    };
    let sequencer =
        (change != Change::Attributes).then(|| Sequencer::new(&format!("{:02X}", number + 1)));
    Some(ObjectEvent {
        bucket: BucketName::parse("source").unwrap(),
        key: ObjectKey::parse("key").unwrap(),
        change,
        event_time: time(message.at),
        sequencer,
        sent_for: None,
    })
}

fn rule(scenario: &Scenario) -> Rule {
    let bucket = |name: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new("us-east-1"),
    };
    Rule {
        scope: Scope::prefixes_of(vec!["key".to_owned()]).unwrap(),
        policy: scenario.policy,
        state: RuleState::Enabled,
        ..Rule::new(
            RuleId::new("rule-1"),
            bucket("source"),
            bucket("replica"),
            Timestamp::UNIX_EPOCH,
        )
    }
}
