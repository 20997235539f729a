//! What the destination must contain at the end. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::object::Object;
use crate::source_tree::SourceFile;

/// The contents of the source, which the destination must have too.
#[derive(Debug, Default)]
pub struct Expected {
    /// Objects as they were uploaded from the folder, by key.
    pub historical: BTreeMap<String, SourceFile>,
    /// Objects that were written live.
    pub live: BTreeMap<String, Object>,
    /// Keys that were deleted.
    pub gone: BTreeSet<String>,
}

impl Expected {
    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.historical.len() + self.live.len()
    }

    /// Records that an object was written.
    pub fn put(&mut self, key: String, object: Object) {
        self.historical.remove(&key);
        self.gone.remove(&key);
        self.live.insert(key, object);
    }

    /// Records that an object was deleted.
    pub fn delete(&mut self, key: String) {
        self.historical.remove(&key);
        self.live.remove(&key);
        self.gone.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_only_one_of_the_three_sets() {
        let file = SourceFile {
            path: "a".into(),
            key: "a".into(),
            bytes: 1,
            modified_secs: None,
        };
        let mut expected = Expected::default();
        expected.historical.insert("a".into(), file);
        expected.put("a".into(), Object::text("new"));
        assert_eq!((expected.historical.len(), expected.live.len()), (0, 1));
        expected.delete("a".into());
        assert_eq!((expected.len(), expected.gone.len()), (0, 1));
        expected.put("a".into(), Object::default());
        assert_eq!((expected.len(), expected.gone.len()), (1, 0));
    }
}
