//! Keys that tools get wrong. No I/O.

/// S3's limit on a key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Names that are escaped, split, trimmed, normalised or taken for something else along the way.
///
/// No line feed among them, though S3 takes it: to the emulator's IAM, `*` does not stand for one.
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

/// One key for each trap, all told apart from those of another family.
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

/// As long as a key can be, and three times as long once it is escaped.
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
    fn all_keys_differ_and_are_keys() {
        let keys: Vec<String> = [keys("kept"), keys("deleted")].concat();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.iter().all(|key| (1..=1024).contains(&key.len())));
        assert_eq!(keys.iter().filter(|key| key.len() == 1024).count(), 2);
    }
}
