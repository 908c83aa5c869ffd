//! JSON text: read quickly where that is safe, and written.

mod fields;
mod read;
mod text;

pub(crate) use self::fields::read_fields;
pub(crate) use self::read::{Read, Reader, Taken, read};
pub(crate) use self::text::Text;

/// Appends a JSON string. Nearly every text is plain, and is copied whole once that is known.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    // Looks at every byte, so that it is done many at a time.
    let is_plain = |bytes: &[u8]| {
        bytes.iter().fold(true, |plain, byte| {
            plain & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\')
        })
    };
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    if eights.iter().all(|eight| is_plain(eight)) && is_plain(rest) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Appends a number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        write_number(out, number / 10);
    }
    out.extend(char::from_digit((number % 10) as u32, 10).map(|digit| digit as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_written_so_that_it_is_read_back() {
        for character in '\u{0}'..='\u{ff}' {
            for text in [1, 8, 9].map(|times| character.to_string().repeat(times)) {
                let mut written = Vec::new();
                write_text(&mut written, &text);
                assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(text in ".{0,40}", controls in "[\u{0}-\u{7f}]{0,8}", number: u64) {
            for text in [text.as_str(), controls.as_str(), &format!("{text}{controls}")] {
                let mut written = Vec::new();
                write_text(&mut written, text);
                assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
            }
            let mut written = Vec::new();
            write_number(&mut written, number);
            assert_eq!(written, number.to_string().into_bytes());
        }
    }
}
