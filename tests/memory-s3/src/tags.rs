//! Tags of objects. No I/O.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::answer::{Answer, Handled};
use crate::changes::ChangeKind;
use crate::object::Object;
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::store::Store;
use crate::xml::{self, Xml};

/// S3's limit for an object.
const TAGS_MAX: usize = 10;

#[derive(Debug, Deserialize)]
struct Tagging {
    #[serde(rename = "TagSet")]
    set: TagSet,
}

#[derive(Debug, Deserialize)]
struct TagSet {
    #[serde(rename = "Tag", default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// Reads tags from the header `x-amz-tagging`, which has the format of a query.
pub(crate) fn of_query(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    checked(pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    }))
}

pub(crate) fn get(store: &mut Store, request: &S3Request) -> Handled {
    let object = store.bucket_of(request)?.object(&request.key)?;
    let mut xml = Xml::of_root("Tagging");
    xml.within("TagSet", |xml| {
        for (key, value) in &object.attributes.tags {
            xml.within("Tag", |xml| {
                xml.text("Key", key);
                xml.text("Value", value);
            });
        }
    });
    Ok(Answer::of_xml(xml.ended()))
}

pub(crate) fn put(store: &mut Store, request: &S3Request) -> Handled {
    let body = request.body()?;
    let tagging: Tagging = xml::read(&body)?;
    let tags = tagging.set.tags.into_iter().map(|tag| (tag.key, tag.value));
    set(store, request, ChangeKind::Tagged, checked(tags)?)?;
    Ok(Answer::empty())
}

pub(crate) fn delete(store: &mut Store, request: &S3Request) -> Handled {
    set(store, request, ChangeKind::Untagged, BTreeMap::new())?;
    Ok(Answer::no_content())
}

/// Changes tags in place: the object's time stays as it was.
fn set(
    store: &mut Store,
    request: &S3Request,
    kind: ChangeKind,
    tags: BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let bucket = store.bucket_of(request)?;
    let mut object = Object::clone(bucket.object(&request.key)?);
    object.attributes.tags = tags;
    bucket.write(&request.key, kind, object, None);
    Ok(())
}

fn checked(
    pairs: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if key.is_empty() || tags.insert(key.clone(), value).is_some() {
            return Err(Refusal::new(
                Code::InvalidTag,
                format!("the tag {key:?} has no name, or occurs twice"),
            ));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(Refusal::new(
            Code::InvalidTag,
            format!("{} tags are more than {TAGS_MAX}", tags.len()),
        ));
    }
    Ok(tags)
}
