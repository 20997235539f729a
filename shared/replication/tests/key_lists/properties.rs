//! Lists of arbitrary bytes, and lists of arbitrary keys.

use proptest::collection::vec;
use proptest::prelude::*;
use tandem_replication::key_list::{
    Entry, Head, KeyEncoding, Layout, ListReader, Read, Refused, Start, inspect, report,
};

use super::{entries, entries_of, gzip, keys, photos};

const CASES: u32 = 2_000;

/// Bytes that resemble lists, more or less.
fn list_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"photos".to_vec()),
        Just(b"films".to_vec()),
        Just(b"Bucket,Key".to_vec()),
        Just(b"\xEF\xBB\xBF".to_vec()),
        Just(b"\r\n".to_vec()),
        prop::sample::select(&b",;\t\"\"'%+ \n\n\n\r\0=a"[..]).prop_map(|byte| vec![byte]),
        "%[0-9A-F]{2}".prop_map(String::into_bytes),
        "\\PC{1,3}".prop_map(String::into_bytes),
        vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn encoding() -> impl Strategy<Value = KeyEncoding> {
    prop::sample::select(vec![KeyEncoding::Encoded, KeyEncoding::Plain])
}

/// A list cut at these places.
fn pieces<'a>(list: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(list.len() + 1)).collect();
    places.extend([0, list.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &list[pair[0]..pair[1]])
        .collect()
}

/// Keys as S3 has them.
fn any_key() -> impl Strategy<Value = String> {
    let odd = "[-=+@'\"%,; \\n\\r\\t/a]{1,6}";
    prop_oneof![
        odd.prop_map(String::from),
        "\\PC{1,8}".prop_map(String::from),
        "[a-z/.]{1,12}".prop_map(String::from)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    // Promise: A list of keys is read wholly or refused, and the refusal of a wrong line names line and column: its
    // separator, byte order mark, header, quotes and compression are recognised by its content, and no byte of it is
    // passed over.
    #[test]
    fn any_bytes_are_read_the_same_however_they_are_cut_and_compressed(
        list in list_bytes(), keys in encoding(), cuts in vec(any::<prop::sample::Index>(), 0..5),
        members in vec(any::<prop::sample::Index>(), 0..4), padding in 0..3_usize,
    ) {
        let whole = entries(&list, keys);
        let head = Head { bytes: &list, is_whole: true, is_named_gzip: false };
        let Ok((false, layout)) = inspect(head, &photos(), keys, None) else {
            return Ok(());
        };
        let cut = entries_of(&layout, false, pieces(&list, &cuts));
        prop_assert_eq!(&whole, &cut, "in pieces");
        let mut compressed: Vec<u8> = pieces(&list, &members).into_iter().flat_map(gzip).collect();
        compressed.extend(vec![0; padding * 300]);
        let in_members = entries_of(&layout, true, pieces(&compressed, &cuts));
        prop_assert_eq!(&whole, &in_members, "in members");
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_gzip(
        bytes in vec(any::<u8>(), 0..40), magic in any::<bool>(), keys in encoding(), is_whole in any::<bool>(),
    ) {
        let list = if magic { [b"\x1f\x8b\x08\x00".as_slice(), &bytes].concat() } else { bytes };
        let _ = inspect(Head { bytes: &list, is_whole, is_named_gzip: magic }, &photos(), keys, None);
        let _ = entries_of(&Layout { keys, ..Layout::default() }, true, [list.as_slice()]);
    }

    // Promise: A compressed list that is truncated or damaged, or is not what its name says, ends its job at once with
    // the reason.
    #[test]
    fn a_gzip_that_is_cut_or_damaged_is_never_read_as_a_shorter_list(
        keys in vec("[a-z]{1,9}", 1..40), split in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), bit in 0..8_u32, is_cut in any::<bool>(),
    ) {
        let text = keys.join("\n").into_bytes();
        let members: Vec<Vec<u8>> = pieces(&text, &[split]).into_iter().map(gzip).collect();
        let whole = members.concat();
        let layout = Layout::default();
        let good = entries_of(&layout, true, [whole.as_slice()]).unwrap();
        let at = at.index(whole.len());
        let mut bad = whole.clone();
        if is_cut { bad.truncate(at) } else { bad[at] ^= 1 << bit }
        match entries_of(&layout, true, [bad.as_slice()]) {
            // A cut between two members cannot be detected.
            Ok(_) if is_cut => prop_assert!(at == members[0].len()),
            // The gzip header has bytes that do not affect the content.
            Ok(read) => prop_assert_eq!(read, good),
            Err(_) => {}
        }
    }

    #[test]
    fn parts_of_an_encoded_list_have_every_record_once(
        list in list_bytes(), cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let layout = Layout::default();
        let read_part = |from: usize, until: usize| -> Result<Vec<(u64, Entry)>, Refused> {
            let start = if from == 0 { Start::LineAt(0) } else { Start::AfterByte(from as u64) };
            let mut reader = ListReader::new(&layout, false, start);
            reader.feed(&list[from.saturating_sub(1)..]);
            reader.end();
            let mut entries = Vec::new();
            loop {
                match reader.read()? {
                    Read::Record(record) if record.at < until as u64 => {
                        entries.push((record.at, layout.entry(&record, &photos())?));
                    }
                    Read::Record(_) | Read::End | Read::NeedsMore => return Ok(entries),
                }
            }
        };
        let Ok(whole) = read_part(0, list.len()) else { return Ok(()) };
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(list.len() + 1)).collect();
        places.extend([0, list.len()]);
        places.sort_unstable();
        let mut parts = Vec::new();
        for pair in places.windows(2).filter(|pair| pair[0] < pair[1]) {
            parts.extend(read_part(pair[0], pair[1]).unwrap());
        }
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn every_key_survives_quoting_in_a_list(
        wanted in vec(any_key(), 1..6), separator in prop::sample::select(&b",;\t"[..]),
    ) {
        let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
        for key in &wanted {
            writer.write_record(["photos", key]).unwrap();
        }
        let list = writer.into_inner().unwrap();
        prop_assert_eq!(keys(&list, KeyEncoding::Plain).unwrap(), wanted);
    }

    #[test]
    fn every_key_survives_encoding_in_a_list(wanted in vec(any_key(), 1..6), plus in any::<bool>()) {
        let encoded = |key: &String| {
            let text = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
            if plus { text.replace("%20", "+") } else { text }
        };
        for prefix in ["", "photos,"] {
            let lines: Vec<String> = wanted.iter().map(|key| format!("{prefix}{}\n", encoded(key))).collect();
            let list = lines.concat();
            prop_assert_eq!(keys(list.as_bytes(), KeyEncoding::Encoded).unwrap(), &wanted[..]);
        }
    }

    // Promise: A CSV report can be given back as a list of keys, and no cell of it begins like a spreadsheet's formula.
    #[test]
    fn every_key_survives_a_report(wanted in vec(any_key(), 1..6), asked in encoding()) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(report::COLUMNS).unwrap();
        for key in &wanted {
            let cell = report::cell(key);
            writer.write_record([cell.as_ref(), "missing", "", "1", "", "", "", "", ""]).unwrap();
        }
        let list = writer.into_inner().unwrap();
        prop_assert_eq!(keys(&list, asked).unwrap(), wanted);
    }
}
