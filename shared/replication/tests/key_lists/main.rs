//! Lists of keys as people, spreadsheets, scripts and inventories write them, and lists of arbitrary bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says why")]

mod properties;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tandem_replication::key_list::{
    Columns, Entry, Head, KeyEncoding, Layout, LineProblem, ListReader, Place, Problem, Read,
    Refused, Start, inspect,
};
use tandem_replication::names::BucketName;

fn photos() -> BucketName {
    BucketName::parse("photos").unwrap()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Reads a list that arrives in these pieces.
fn entries_of<'a>(
    layout: &Layout,
    is_gzip: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Entry>, Refused> {
    let mut reader = ListReader::new(layout, is_gzip, Start::LineAt(0));
    let mut pieces = pieces.into_iter();
    let mut entries = Vec::new();
    loop {
        match reader.read()? {
            Read::Record(record) => entries.push(layout.entry(&record, &photos())?),
            Read::End => return Ok(entries),
            Read::NeedsMore => match pieces.next() {
                Some(piece) => reader.feed(piece),
                None => reader.end(),
            },
        }
    }
}

/// Inspects a list and reads all of it.
fn entries(list: &[u8], keys: KeyEncoding) -> Result<Vec<Entry>, Refused> {
    let head = Head {
        bytes: list,
        is_whole: true,
        is_named_gzip: false,
    };
    let (is_gzip, layout) = inspect(head, &photos(), keys, None)?;
    entries_of(&layout, is_gzip, [list])
}

/// The keys of a list that has no bad line.
fn keys(list: &[u8], keys: KeyEncoding) -> Result<Vec<String>, Refused> {
    let entries = entries(list, keys)?;
    Ok(entries.iter().filter_map(key_of).collect())
}

fn key_of(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Key(named) => Some(named.key.as_str().to_owned()),
        Entry::Header | Entry::Blank => None,
        Entry::Wrong(problem) => panic!("{problem}"),
    }
}

// Promise: A list of keys is read wholly or refused, and the refusal of a wrong line names line and column: its
// separator, byte order mark, header, quotes and compression are recognised by its content, and no byte of it is passed
// over.
#[test]
fn lists_as_spreadsheets_scripts_and_inventories_write_them_are_read() {
    let encoded: [(&[u8], &[&str]); 23] = [
        (b"a.txt\nb.txt\n", &["a.txt", "b.txt"]),
        (b"a.txt\r\nb.txt", &["a.txt", "b.txt"]),
        (b"\n\r\na.txt\n\n\nb.txt\n\n", &["a.txt", "b.txt"]),
        (b"\xEF\xBB\xBFa.txt\nm1\n", &["a.txt", "m1"]),
        (
            b"\xEF\xBB\xBFphotos,a.txt\r\nphotos,m1\r\n",
            &["a.txt", "m1"],
        ),
        (b"\xEF\xBB\xBF\"photos\",\"a.txt\"\r\n", &["a.txt"]),
        (b"\xEF\xBB\xBF", &[]),
        (b"photos;a.txt\nphotos;b,c.txt\n", &["a.txt", "b,c.txt"]),
        (b"photos\ta.txt\t17\nphotos\tb;c\t1\n", &["a.txt", "b;c"]),
        (b"\"photos\";\"a;b\"\n", &["a;b"]),
        (b"\"photos\",\"f,g.txt\"\n", &["f,g.txt"]),
        (b"\"f,g.txt\"\nh\n", &["f,g.txt", "h"]),
        (b"\"photos\" , \"say \"\"x\"\"\" , 17\n", &["say \"x\""]),
        (
            b"photos,red+flower%2B1%2C2.jpg,v1\n",
            &["red flower+1,2.jpg"],
        ),
        (b"photos,%C3%BC%0A\n", &["ü\n"]),
        // Neither % nor +: the same key in either encoding.
        ("photos,ü b.txt\n".as_bytes(), &["ü b.txt"]),
        (b"Bucket,Key,VersionId\nphotos,a,v1\n", &["a"]),
        (b"bucket;key\nphotos;a\n", &["a"]),
        (b"key,size\na,1\n", &["a"]),
        (
            b"\"Key\",\"ETag\",\"Bucket\"\n\"a\",\"e\",\"photos\"\n",
            &["a"],
        ),
        // One column is not a header.
        (b"key\nbucket\n", &["key", "bucket"]),
        (
            b"ORCHID.jpg\nPAR.jpg\nBZ.jpg\n",
            &["ORCHID.jpg", "PAR.jpg", "BZ.jpg"],
        ),
        (b"", &[]),
    ];
    for (list, expected) in encoded {
        let shown = String::from_utf8_lossy(list);
        assert_eq!(
            keys(list, KeyEncoding::Encoded).unwrap(),
            expected,
            "{shown:?}"
        );
        let compressed = gzip(list);
        assert_eq!(
            keys(&compressed, KeyEncoding::Encoded).unwrap(),
            expected,
            "{shown:?}"
        );
    }
    let plain: [(&[u8], &[&str]); 8] = [
        (
            b"a+b.txt\n100%.txt\n50%20off.txt\n",
            &["a+b.txt", "100%.txt", "50%20off.txt"],
        ),
        (b"photos, lead.txt\nphotos,a \n", &[" lead.txt", "a "]),
        (
            b"\"photos\",\"line\nbreak\r\"\nphotos,b\n",
            &["line\nbreak\r", "b"],
        ),
        (b"photos,a\"b\"c\n", &["a\"b\"c"]),
        ("photos,ü+é%\n".as_bytes(), &["ü+é%"]),
        (b"photos\t a,b;c \n", &[" a,b;c "]),
        (b"photos,s3://x/y\n", &["s3://x/y"]),
        (b" \n", &[" "]),
    ];
    for (list, expected) in plain {
        let shown = String::from_utf8_lossy(list);
        assert_eq!(
            keys(list, KeyEncoding::Plain).unwrap(),
            expected,
            "{shown:?}"
        );
    }
}

// Promise: A list of keys is read wholly or refused, and the refusal of a wrong line names line and column: its
// separator, byte order mark, header, quotes and compression are recognised by its content, and no byte of it is passed
// over.
#[test]
fn lists_that_cannot_be_read_are_refused_with_line_and_column() {
    let at = |line, column, problem| Refused::at(Place { line, column }, problem);
    let encoded: [(&[u8], Refused); 23] = [
        (
            b"photos,a\nphotos,100%.txt\n",
            at(2, 11, Problem::BadEscape),
        ),
        (b"photos,a%zz\n", at(1, 9, Problem::BadEscape)),
        (
            b"photos,a\n\nphotos,red flower+1\n",
            at(3, 11, Problem::NotEncoded(' ')),
        ),
        (
            "photos,ü+b\n".as_bytes(),
            at(1, 8, Problem::NotEncoded('ü')),
        ),
        (
            b"photos,\"say \"\"x\"\"+\"\n",
            at(1, 12, Problem::NotEncoded(' ')),
        ),
        (b"photos, a.txt\n", at(1, 8, Problem::OuterSpace)),
        (b"a.txt \n", at(1, 1, Problem::OuterSpace)),
        (b"photos,caf\xE9.txt\n", at(1, 11, Problem::NotUtf8(0xE9))),
        (b"a\nb\0c\n", at(2, 2, Problem::Nul)),
        (b"a\0\n\0", at(1, 2, Problem::Nul)),
        (b"a\rb\n", at(1, 2, Problem::LoneReturn)),
        (b"a\r\r\n", at(1, 2, Problem::LoneReturn)),
        (b"a\nb\r", at(2, 2, Problem::LoneReturn)),
        (b"photos,a\"b\n", at(1, 9, Problem::StrayQuote)),
        (b"photos,\"a\"b\n", at(1, 11, Problem::AfterQuote)),
        (b"x\nphotos,\"a", at(2, 8, Problem::OpenQuote)),
        (b"photos,\"a\nb\"\n", at(1, 10, Problem::QuotedLineBreak)),
        (b"a\n\xEF\xBB\xBFb\n", at(2, 1, Problem::ByteOrderMark)),
        (b"a\ns3://photos/b\n", at(2, 1, Problem::Uri)),
        (
            b"photos,a\nRed, blue.jpg,x\n",
            at(2, 1, Problem::NotABucket),
        ),
        (b"[\"a\", \"b\"]", Refused::whole(Problem::Json)),
        (b" {\n \"files\": []}", Refused::whole(Problem::Json)),
        (
            b"<?xml version=\"1.0\"?>",
            Refused::whole(Problem::Foreign("XML")),
        ),
    ];
    for (list, expected) in encoded {
        let shown = String::from_utf8_lossy(list);
        assert_eq!(
            keys(list, KeyEncoding::Encoded),
            Err(expected.clone()),
            "{shown:?}"
        );
        assert_eq!(
            keys(&gzip(list), KeyEncoding::Encoded),
            Err(expected),
            "{shown:?}"
        );
    }
    let long = [b"a\n".as_slice(), &b"k".repeat(70_000)].concat();
    assert_eq!(
        keys(&long, KeyEncoding::Plain),
        Err(at(2, 1, Problem::LongLine))
    );
    let open = [b"a\nb,\"".as_slice(), &b"\n".repeat(70_000)].concat();
    assert_eq!(
        keys(&open, KeyEncoding::Plain),
        Err(at(2, 3, Problem::OpenQuote))
    );
    assert_eq!(
        at(3, 11, Problem::BadEscape).to_string(),
        "line 3, column 11: two hexadecimal digits have to follow the %; write % as %25, or give `keys` as \"plain\""
    );
}

#[test]
fn other_formats_are_refused_by_name() {
    for (list, name) in [
        (b"\xFF\xFEa\0".as_slice(), "UTF-16"),
        (b"\xFE\xFF\0a", "UTF-16"),
        (b"\0\0\xFE\xFF\0\0\0a", "UTF-32"),
        (b"\x28\xB5\x2F\xFD\x04", "zstd"),
        (b"BZh91AY&SY\x00", "bzip2"),
        (b"\xFD7zXZ\0", "xz"),
        (b"PK\x03\x04\x14", "zip"),
        (b"PAR1\x15", "Parquet"),
        (b"ORC\x08\x03", "ORC"),
        (b"Obj\x01", "Avro"),
    ] {
        for list in [list.to_vec(), gzip(list)] {
            let refused = keys(&list, KeyEncoding::Encoded).unwrap_err().to_string();
            assert!(refused.contains(name), "{name}: {refused}");
        }
    }
    let lookalikes = ["BZhang/1.jpg", "BZh9/2.jpg", "PAR1/report.csv", "ORCA.txt"];
    for key in lookalikes {
        assert_eq!(
            keys(key.as_bytes(), KeyEncoding::Encoded),
            Ok(vec![key.to_owned()])
        );
    }
    let twice = keys(&gzip(&gzip(b"a\n")), KeyEncoding::Plain).unwrap_err();
    assert_eq!(twice, Refused::whole(Problem::Foreign("gzip within gzip")));
}

/// Bucket names have had no capitals since 2018, but the source may be older.
#[test]
fn a_list_may_name_a_source_with_an_old_name() {
    let source = BucketName::parse("ABCD_Central_1").unwrap();
    let list = b"ABCD_Central_1,a\nfilms,b\n";
    let head = Head {
        bytes: list,
        is_whole: true,
        is_named_gzip: false,
    };
    let (_, layout) = inspect(head, &source, KeyEncoding::Encoded, None).unwrap();
    let mut reader = ListReader::new(&layout, false, Start::LineAt(0));
    reader.feed(list);
    reader.end();
    let mut found = Vec::new();
    while let Read::Record(record) = reader.read().unwrap() {
        found.push(layout.entry(&record, &source).unwrap());
    }
    assert_eq!(key_of(&found[0]).as_deref(), Some("a"));
    assert_eq!(found[1], Entry::Wrong(LineProblem::OtherBucket));
}

#[test]
fn a_line_that_names_no_key_of_the_source_fails_alone() {
    let long = format!("photos,{}", "k".repeat(1_025));
    let list = format!("photos,a\nfilms,b\nphotos,\nphotos,%FF\n{long}\nphotos,c\n");
    let found = entries(list.as_bytes(), KeyEncoding::Encoded).unwrap();
    let wrong: Vec<LineProblem> = found
        .iter()
        .filter_map(|entry| match entry {
            Entry::Wrong(problem) => Some(*problem),
            _ => None,
        })
        .collect();
    assert_eq!(
        wrong,
        [
            LineProblem::OtherBucket,
            LineProblem::KeyLength,
            LineProblem::NotUtf8,
            LineProblem::KeyLength
        ]
    );
    assert_eq!(found.len(), 6);
    let short = entries(b"Bucket,VersionId,Key\nphotos,v\n", KeyEncoding::Encoded).unwrap();
    assert_eq!(short[1], Entry::Wrong(LineProblem::NoKey));
}

#[test]
fn objects_of_rows_of_old_versions_and_delete_markers_may_be_absent() {
    let list = b"\"photos\",\"a\",\"v3\",\"true\",\"false\"\n\"photos\",\"a\",\"v2\",\"false\",\"false\"\n\
                 \"photos\",\"b\",\"v9\",\"true\",\"true\"\n\"photos\",\"c\",\"null\",\"\",\"\"\n";
    let schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker";
    let columns = Columns::named(schema.split(','));
    let head = Head {
        bytes: list,
        is_whole: true,
        is_named_gzip: false,
    };
    let (_, layout) = inspect(head, &photos(), KeyEncoding::Encoded, columns).unwrap();
    let found = entries_of(&layout, false, [list.as_slice()]).unwrap();
    let said: Vec<(String, bool)> = found
        .iter()
        .map(|entry| match entry {
            Entry::Key(named) => (named.key.as_str().to_owned(), named.may_be_absent),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("a", false), ("a", true), ("b", true), ("c", false)];
    assert_eq!(said, expected.map(|(key, absent)| (key.to_owned(), absent)));
    // Some programs also write the names of the columns into an inventory's files.
    let with_names = b"Bucket,Key,VersionId,IsLatest,IsDeleteMarker\nphotos,a,v3,true,false\n";
    let head = Head {
        bytes: with_names,
        ..head
    };
    let columns = Columns::named(schema.split(','));
    let (_, layout) = inspect(head, &photos(), KeyEncoding::Plain, columns).unwrap();
    assert!(
        layout.header && layout.keys == KeyEncoding::Plain,
        "{layout:?}"
    );
    // The same columns, named by a header.
    let list = b"Bucket,Key,IsLatest\nphotos,a,FALSE\nphotos,b,TRUE\n";
    let found = entries(list, KeyEncoding::Encoded).unwrap();
    let absent = |entry: &Entry| matches!(entry, Entry::Key(named) if named.may_be_absent);
    assert_eq!(
        found.iter().map(absent).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn zeros_after_a_gzip_are_padding_and_anything_else_is_refused() {
    let whole = gzip(b"photos,a\n");
    let empty = gzip(b"");
    let zeros = vec![0; 700];
    let padded = [whole.as_slice(), &empty, &zeros].concat();
    assert_eq!(keys(&padded, KeyEncoding::Encoded).unwrap(), ["a"]);
    let continued = [whole.as_slice(), &zeros, &gzip(b"photos,b\n")].concat();
    assert_eq!(keys(&continued, KeyEncoding::Encoded).unwrap(), ["a", "b"]);
    for tail in [b"photos,b\n".as_slice(), b"\0\0x", b"\x1fx"] {
        let list = [whole.as_slice(), tail].concat();
        let refused = keys(&list, KeyEncoding::Encoded);
        assert_eq!(refused, Err(Refused::whole(Problem::AfterGzip)), "{tail:?}");
    }
    let cut = [whole.as_slice(), b"\x1f"].concat();
    assert_eq!(
        keys(&cut, KeyEncoding::Encoded),
        Err(Refused::whole(Problem::Truncated))
    );
}

#[test]
fn a_list_named_gz_that_is_not_gzip_is_refused() {
    for bytes in [b"photos,a\n".as_slice(), b"", b"\x1f"] {
        let head = Head {
            bytes,
            is_whole: true,
            is_named_gzip: true,
        };
        let refused = inspect(head, &photos(), KeyEncoding::Encoded, None);
        assert_eq!(refused, Err(Refused::whole(Problem::NotGzip)), "{bytes:?}");
    }
}

#[test]
fn the_beginning_of_a_long_list_is_enough() {
    let text = "photos,a+b%2C\r\n".repeat(20_000);
    for (list, is_named_gzip) in [
        (text.clone().into_bytes(), false),
        (gzip(text.as_bytes()), true),
    ] {
        let head = Head {
            bytes: &list[..list.len().min(1_000) - 1],
            is_whole: false,
            is_named_gzip,
        };
        let (is_gzip, layout) = inspect(head, &photos(), KeyEncoding::Encoded, None).unwrap();
        assert_eq!((is_gzip, layout), (is_named_gzip, Layout::default()));
    }
}
