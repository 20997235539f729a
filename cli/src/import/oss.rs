//! OSS's replication configuration, as `PutBucketReplication` takes it and `GetBucketReplication` returns it. No I/O.
//!
//! Source: OSS API reference, `PutBucketReplication` and `GetBucketReplication`.

use super::tree::Element;
use super::{Found, ImportError, Notes, note_white_space};
use crate::contract::{OptionChanges, Policy};

const RULE: [&str; 11] = [
    "ID",
    "RTC",
    "PrefixSet",
    "Action",
    "Destination",
    "Status",
    "HistoricalObjectReplication",
    "SyncRole",
    "SourceSelectionCriteria",
    "EncryptionConfiguration",
    "Source",
];

/// The path of the status that says whether a rule covers objects encrypted with KMS keys.
const SELECTION: [&str; 3] = [
    "SourceSelectionCriteria",
    "SseKmsEncryptedObjects",
    "Status",
];

/// Returns whether a rule has an element that only OSS's rules have.
pub fn is_rule(rule: &Element) -> bool {
    let own = [
        "PrefixSet",
        "Action",
        "HistoricalObjectReplication",
        "RTC",
        "SyncRole",
    ];
    own.iter().any(|name| rule.all(name).next().is_some())
        || rule
            .all("Destination")
            .any(|destination| destination.all("Location").next().is_some())
}

/// Returns the rules that can be carried over.
pub fn rules(root: &Element, notes: &mut Notes) -> Result<Vec<Found>, ImportError> {
    for other in root.others(&["Rule"]) {
        notes.add(other, "is not known, and not carried over");
    }
    let mut found = Vec::new();
    for element in root.all("Rule") {
        found.extend(rule(element, notes)?);
    }
    Ok(found)
}

fn rule(rule: &Element, notes: &mut Notes) -> Result<Option<Found>, ImportError> {
    for other in rule.others(&RULE) {
        notes.add(other, "is not known, and not carried over");
    }
    let destination = rule.required(&["Destination", "Bucket"])?.to_owned();
    let policy = policy(rule, notes)?;
    let prefixes = prefixes(rule)?;
    note_white_space(rule, &prefixes, notes);
    // OSS copies historical objects unless a rule disables that.
    let historical = rule
        .enabled_at(&["HistoricalObjectReplication"])?
        .unwrap_or(true);
    if rule.word_at(&["Status"])? == Some("closing") {
        notes.add(rule, "is being closed, and left out");
        return Ok(None);
    }
    not_carried(rule, notes)?;
    Ok(Some(Found {
        path: rule.path.clone(),
        priority: 0,
        destination,
        prefixes,
        policy,
        options: OptionChanges::default(),
        historical,
    }))
}

fn prefixes(rule: &Element) -> Result<Vec<String>, ImportError> {
    let Some(set) = rule.get("PrefixSet")? else {
        return Ok(Vec::new());
    };
    if let Some(other) = set.others(&["Prefix"]).next() {
        return Err(ImportError::new(
            &other.path,
            "is not a Prefix, so its objects are not known; remove it, then import again",
        ));
    }
    let texts: Vec<&str> = set
        .all("Prefix")
        .map(Element::literal)
        .collect::<Result<_, _>>()?;
    if texts.iter().any(|prefix| prefix.is_empty()) {
        return Ok(Vec::new());
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

/// Reads `Action`: `ALL`, or the replicated actions, separated by commas.
fn policy(rule: &Element, notes: &mut Notes) -> Result<Policy, ImportError> {
    let Some(element) = rule.get("Action")? else {
        return Ok(Policy::Full);
    };
    let mut policy = Policy::Write;
    for action in element.word()?.split(',').map(str::trim) {
        match action {
            "ALL" | "DELETE" => policy = Policy::Full,
            "PUT" => {}
            "ABORT" => notes.add(
                element,
                "names ABORT: unfinished uploads are never replicated",
            ),
            other => {
                let problem =
                    format!("is {other:?}; it must be ALL, or a list of PUT, DELETE and ABORT");
                return Err(ImportError::new(&element.path, problem));
            }
        }
    }
    Ok(policy)
}

fn not_carried(rule: &Element, notes: &mut Notes) -> Result<(), ImportError> {
    if let Some(location) = rule.at(&["Destination", "Location"])? {
        let note = format!(
            "is {:?}: the destination must be an S3 bucket in another region than the source; name it by --destination",
            location.word()?
        );
        notes.add(location, note);
    }
    if let Some(transfer) = rule.at(&["Destination", "TransferType"])? {
        notes.add(
            transfer,
            "has no counterpart: S3 has only one way to copy between regions",
        );
    }
    if rule.enabled_at(&["RTC", "Status"])? == Some(true)
        && let Some(rtc) = rule.get("RTC")?
    {
        let note =
            "promises a time, and Tandem does not; `tandem status` shows the lag of every rule";
        notes.add(rtc, note);
    }
    if let Some(role) = rule.get("SyncRole")? {
        notes.add(
            role,
            "is not needed: Tandem's functions have roles of their own",
        );
    }
    if rule.enabled_at(&SELECTION)? == Some(false)
        && let Some(criteria) = rule.get("SourceSelectionCriteria")?
    {
        notes.add(
            criteria,
            "leaves out objects encrypted with KMS keys; Tandem replicates every object that its roles may read",
        );
    }
    if let Some(encryption) = rule.get("EncryptionConfiguration")? {
        let note = "names a key of OSS; give a key of the destination's region to `tandem rule update --kms-key`";
        notes.add(encryption, note);
    }
    Ok(())
}
