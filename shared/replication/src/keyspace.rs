//! Arithmetic with keys: a key between two others, and how far along a range a key lies. No I/O.
//!
//! S3 lists keys in the order of their UTF-8 bytes, which is the order of their code points, so the
//! cuts are made between characters and are always valid text.

/// The end of printable ASCII. Most keys have no character beyond it.
const ASCII_END: char = '\u{7f}';
const UNICODE_END: u32 = 0x11_0000;

/// Returns a text `m` with `low <= m` and `m < high` (no upper bound if `high` is `None`), about half-way between them
/// and no longer than needed. Returns `None` if there is no such text.
///
/// If `low` is an existing key, a cut "up to and including m" leaves `low` below and `high` above.
pub fn midpoint(low: &str, high: Option<&str>) -> Option<String> {
    if high.is_some_and(|high| low >= high) {
        return None;
    }
    let low_chars: Vec<char> = low.chars().collect();
    let high_chars: Option<Vec<char>> = high.map(|text| text.chars().collect());
    let mut cut = String::new();
    let mut below_high = high_chars.is_none();
    for at in 0..=low_chars.len() {
        let from = low_chars.get(at).copied();
        let bound = match (&high_chars, below_high) {
            // `low < high`, so as long as both have been the same, `high` has another character.
            (Some(chars), false) => chars.get(at).map(|&c| u32::from(c))?,
            _ => unbounded_above(from),
        };
        let floor = from.map_or(0, u32::from);
        if let Some(middle) = char_between(floor, bound) {
            cut.push(middle);
            return Some(cut);
        }
        let Some(from) = from else { break };
        cut.push(from);
        below_high |= floor < bound;
    }
    // There is no text in between. `low` itself is a cut, because it lies below `high`.
    Some(low.to_owned())
}

/// Returns the upper bound if there is no other: the end of ASCII after an ASCII character, else the end of Unicode.
fn unbounded_above(from: Option<char>) -> u32 {
    match from {
        Some(c) if c >= ASCII_END => UNICODE_END,
        _ => u32::from(ASCII_END),
    }
}

/// Returns a character strictly between two code points, about in the middle.
fn char_between(low: u32, high: u32) -> Option<char> {
    if high <= low + 1 {
        return None;
    }
    let middle = low + (high - low) / 2;
    // The middle may fall among the surrogates, which are not characters.
    char::from_u32(middle).or_else(|| ((low + 1)..high).rev().find_map(char::from_u32))
}

/// Returns how far `at` lies from `low` to `high`, 0 to 1. It grows with `at`. It is an estimate for progress bars, as
/// if keys were spread evenly.
pub fn fraction(low: &str, high: Option<&str>, at: &str) -> f64 {
    let high = high.map_or_else(|| format!("{low}{ASCII_END}"), str::to_owned);
    let shared = low
        .bytes()
        .zip(high.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let place = |text: &str| {
        let digits = text.bytes().skip(shared).take(8);
        digits
            .zip(1..)
            .map(|(byte, power)| f64::from(byte) / 256_f64.powi(power))
            .sum::<f64>()
    };
    let width = place(&high) - place(low);
    if width > 0.0 {
        ((place(at) - place(low)) / width).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_are_short_and_lie_in_the_middle() {
        assert_eq!(midpoint("a", Some("c")), Some("b".into()));
        assert_eq!(
            midpoint("img/0001", Some("img/0009")),
            Some("img/0005".into())
        );
        assert_eq!(midpoint("a", Some("b")), Some("a?".into()));
        assert_eq!(midpoint("a", None), Some("p".into()));
    }

    #[test]
    fn there_is_no_cut_in_an_empty_range() {
        assert_eq!(midpoint("a", Some("a")), None);
        assert_eq!(midpoint("b", Some("a")), None);
        assert_eq!(midpoint("", Some("")), None);
    }

    proptest! {
        #[test]
        fn a_cut_keeps_low_below_and_high_above(low in ".{0,12}", high in proptest::option::of(".{0,12}")) {
            match (midpoint(&low, high.as_deref()), high) {
                (Some(cut), Some(high)) => prop_assert!(low <= cut && cut < high, "{low:?} {cut:?} {high:?}"),
                (Some(cut), None) => prop_assert!(low <= cut),
                (None, Some(high)) => prop_assert!(low >= high, "{low:?} {high:?}"),
                (None, None) => prop_assert!(false, "nothing bounds {low:?} above"),
            }
        }

        #[test]
        fn a_fraction_grows_with_the_key(mut keys in proptest::collection::vec("[a-z/0-9]{1,12}", 4)) {
            keys.sort();
            let at = |key: &str| fraction(&keys[0], Some(&keys[3]), key);
            prop_assert!(at(&keys[1]) <= at(&keys[2]));
            prop_assert!((0.0..=1.0).contains(&at(&keys[1])));
        }
    }
}
