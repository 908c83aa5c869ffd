//! The encoding of JSON web tokens: base64 with the URL alphabet, without padding.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..=chunk.len() {
            text.push(ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    text
}

/// None for text in another encoding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            let digit = chunk
                .get(at)
                .map_or(Some(0), |byte| ALPHABET.iter().position(|letter| letter == byte))?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}
