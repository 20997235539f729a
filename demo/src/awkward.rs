//! Keys that tools often handle wrongly. No I/O.

/// S3's limit on a key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Names that tools may escape, split, trim, normalise or misread.
///
/// None has a line feed, although S3 accepts it: in the emulator's IAM, `*` does not match a line feed.
const NAMES: [&str; 38] = [
    "two words.txt",
    " at both ends ",
    "a+b.txt",
    "100%.txt",
    "%2B is no plus.txt",
    "a%2Fb%20c%00%zz%",
    "caf\u{e9}.txt",
    "cafe\u{301} with a combining accent.txt",
    "日本語/ファイル.txt",
    "😀 👨\u{200d}👩\u{200d}👧.png",
    "مرحبا.txt",
    "\u{feff}byte order mark",
    "right-to-left \u{202e}gpj.exe",
    "what?.txt",
    "photo.jpg?versionId=null",
    "?acl",
    "a&b=c;d,e.txt",
    "#anchor",
    "back\\slash.txt",
    "double//slash.txt",
    "triple///slash.txt",
    "a folder/",
    "quotes \"'`.txt",
    "<Key>&amp;&#10;]]>.txt",
    "{\"json\": [\"\\u0041\"]}",
    "$HOME $(true) `true` ~ * ! ^ | : @",
    "(1) [2] {3}.txt",
    "Case.txt",
    "case.txt",
    "...",
    ".hidden",
    "trailing dot.",
    "-rf",
    "tab\there.txt",
    "return\ragain.txt",
    "bell \u{7} escape \u{1b}[2J.txt",
    "delete \u{7f} and \u{85}.txt",
    "null",
];

/// Returns one key for each name, different from all keys of another family.
pub fn keys(family: &str) -> Vec<String> {
    let folder = format!("awkward/{family}/");
    let mut keys: Vec<String> = NAMES.iter().map(|name| format!("{folder}{name}")).collect();
    keys.push(format!("/awkward/{family}/after a slash.txt"));
    keys.push(format!("//awkward//{family}//"));
    keys.push(format!("awkward+{family}"));
    keys.push(format!("{family} ?"));
    keys.push(longest(&folder));
    keys
}

/// Returns a key of the greatest length, which is three times as long when it is escaped.
fn longest(start: &str) -> String {
    let mut key = start.to_owned();
    while key.len() + "ü".len() <= KEY_BYTES_MAX {
        key.push('ü');
    }
    while key.len() < KEY_BYTES_MAX {
        key.push('+');
    }
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_keys_differ_and_are_valid() {
        let keys: Vec<String> = [keys("kept"), keys("deleted")].concat();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.iter().all(|key| (1..=1024).contains(&key.len())));
        assert_eq!(keys.iter().filter(|key| key.len() == 1024).count(), 2);
    }
}
