//! Reads JSON quickly, or not at all.
//!
//! Two thirds of a review are skipped, and looking at each of those bytes is most of the cost of an admission. This reader borrows from a
//! text that is known to be UTF-8, looks for the ends of strings sixty-four bytes at a time, finds fields in a table, fills values in
//! place, and has no errors: text that it does not accept is read again by `serde_json`, which decides and reports what is wrong. Its code
//! is small on purpose: between two requests, other code fills the processor's caches, and a general reader, generated for each type, is
//! slow every time.
//!
//! So it must have one property: if it accepts a text, `serde_json` accepts it too, with the same result.
//! `admission/review/differential.rs` tests this with random and randomly damaged documents.

use std::borrow::Cow;

/// How deep what is skipped may be nested, what is empty not counted. Deeper documents are left to `serde_json`.
const DEEPEST: u32 = u64::BITS;

/// Taken, or to be tried with `serde_json`.
pub(crate) type Taken = Option<()>;

/// What can be read so.
pub(crate) trait Read<'a>: Default {
    /// Reads the next value, which is not null, into a default of this.
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken;
}

/// Reads a whole text; none when that is to be tried with `serde_json`.
pub(crate) fn read<'a, T: Read<'a>>(text: &'a str) -> Option<T> {
    let mut reader = Reader::new(text);
    let mut value = T::default();
    value.read(&mut reader)?;
    reader.end()?;
    Some(value)
}

impl<'a> Read<'a> for bool {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        *self = reader.peek()? == b't';
        reader.literal(if *self { "true" } else { "false" })
    }
}

impl<'a, T: Read<'a>> Read<'a> for Box<T> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        T::read(self, reader)
    }
}

/// Null reads as `None`.
impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        reader.optional(self)
    }
}

/// A list; a null in it reads as `None`.
impl<'a, T: Read<'a>> Read<'a> for Vec<Option<T>> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        reader.list(|reader| {
            self.push(None);
            reader.optional(self.last_mut()?)
        })
    }
}

/// The position of the reader in an object or a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first entry.
    First,
    /// Behind an entry.
    Later,
}

/// An object that is being read: where in it the reader stands, and which fields came.
pub(crate) struct Object {
    place: Place,
    seen: u32,
}

/// A text, and how far it is read.
pub(crate) struct Reader<'a> {
    text: &'a str,
    /// Bytes read. At the boundary of a character: only ASCII is stepped over one by one.
    at: usize,
    /// The block that was looked through last: strings are read front to back, so that each block is looked through once.
    block: Block,
}

/// The bytes of a text that end a run of plain characters in a string, for one stretch of it.
struct Block {
    /// Where it begins: a multiple of [`BLOCK`].
    start: usize,
    /// A bit for each byte, the first byte's lowest: whether it is special. Those behind the text's end are.
    special: u64,
}

/// How many bytes are looked through together.
const BLOCK: usize = 64;

impl<'a> Reader<'a> {
    /// At the beginning of a text.
    pub(crate) const fn new(text: &'a str) -> Self {
        // No block begins here: the first look is at the text.
        let block = Block {
            start: usize::MAX,
            special: 0,
        };
        Self { text, at: 0, block }
    }

    /// Where the reader is, to come back to.
    pub(crate) const fn place(&self) -> usize {
        self.at
    }

    /// Goes back to a place that the reader was at.
    pub(crate) const fn go_to(&mut self, place: usize) {
        self.at = place;
    }

    /// Nothing but blanks follows.
    pub(crate) fn end(&mut self) -> Taken {
        self.peek().is_none().then_some(())
    }

    /// Reads a value that may be null into an empty place.
    pub(crate) fn optional<T: Read<'a>>(&mut self, place: &mut Option<T>) -> Taken {
        if self.null()? {
            return Some(());
        }
        place.insert(T::default()).read(self)
    }

    /// Goes past a null, if that is what comes.
    pub(crate) fn null(&mut self) -> Option<bool> {
        if self.peek()? != b'n' {
            return Some(false);
        }
        self.literal("null").map(|()| true)
    }

    /// Enters an object.
    pub(crate) fn object(&mut self) -> Option<Object> {
        self.expect(b'{')?;
        Some(Object {
            place: Place::First,
            seen: 0,
        })
    }

    /// The next field of an object that is one of `keys`, by its word, the others being skipped; none at the object's end.
    /// A field that comes twice is not taken.
    pub(crate) fn field<K: Copy>(&mut self, object: &mut Object, keys: &[(&str, K)]) -> Option<Option<K>> {
        while self.next_entry(&mut object.place, b'}')? {
            self.expect(b'"')?;
            // A known field is never written with escapes by an API server.
            let key = self.plain_string()?;
            self.expect(b':')?;
            let Some((at, (_, word))) = keys.iter().enumerate().find(|(_, (known, _))| *known == key) else {
                self.skip_value()?;
                continue;
            };
            let bit = 1 << at;
            if object.seen & bit != 0 {
                return None;
            }
            object.seen |= bit;
            return Some(Some(*word));
        }
        Some(None)
    }

    /// Reads each item of a list.
    pub(crate) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Taken) -> Taken {
        self.expect(b'[')?;
        let mut place = Place::First;
        while self.next_entry(&mut place, b']')? {
            item(self)?;
        }
        Some(())
    }

    /// The next key of an object, whatever it is; none at the object's end.
    pub(crate) fn key(&mut self, object: &mut Object) -> Option<Option<Cow<'a, str>>> {
        if !self.next_entry(&mut object.place, b'}')? {
            return Some(None);
        }
        let key = self.string()?;
        self.expect(b':')?;
        Some(Some(key))
    }

    /// Goes to the next entry, past its comma; false behind the closing bracket.
    fn next_entry(&mut self, place: &mut Place, close: u8) -> Option<bool> {
        let next = self.peek()?;
        if next == close {
            self.at += 1;
            return Some(false);
        }
        match place {
            Place::First => *place = Place::Later,
            Place::Later => self.expect(b',')?,
        }
        Some(true)
    }

    /// A string.
    pub(crate) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        self.rest_of_string()
    }

    const fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not white space; stays before it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.bytes().get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_behind_blanks(),
        }
    }

    /// An API server writes no blanks.
    #[cold]
    fn peek_behind_blanks(&mut self) -> Option<u8> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Some(*byte),
                None => return None,
            }
        }
    }

    /// Goes past a byte that has to come next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Taken {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    pub(crate) fn literal(&mut self, word: &str) -> Taken {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    /// The rest of a string, behind its opening quotation mark.
    fn rest_of_string(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        match self.plain_string() {
            Some(plain) => Some(Cow::Borrowed(plain)),
            None => self.escaped_string(start),
        }
    }

    /// The same for one without escapes; none, and nothing read, where there are any.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at;
        let end = self.plain_end();
        if self.bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Option<Cow<'a, str>> {
        self.skip_string()?;
        let quoted = start.checked_sub(1).and_then(|quote| self.text.get(quote..self.at));
        let plain = quoted.and_then(|quoted| serde_json::from_str::<String>(quoted).ok());
        plain.map(Cow::Owned)
    }

    /// The place of the first byte from here on that ends a run of plain characters; the text's end when there is none.
    #[inline]
    fn plain_end(&mut self) -> usize {
        let mut start = self.at / BLOCK * BLOCK;
        let mut special = self.special(start) >> (self.at % BLOCK);
        if special != 0 {
            return self.at + special.trailing_zeros() as usize;
        }
        while special == 0 {
            start += BLOCK;
            special = self.special(start);
        }
        start + special.trailing_zeros() as usize
    }

    /// The special bytes of the block that begins here.
    #[inline]
    fn special(&mut self, start: usize) -> u64 {
        if self.block.start != start {
            self.look_through(start);
        }
        self.block.special
    }

    #[inline(never)]
    fn look_through(&mut self, start: usize) {
        let rest = self.bytes().get(start..).unwrap_or_default();
        let special = match rest.first_chunk() {
            Some(block) => special_bytes(block),
            None => {
                // Zeros are control characters: the text's end is special.
                let mut block = [0; BLOCK];
                for (place, byte) in block.iter_mut().zip(rest) {
                    *place = *byte;
                }
                special_bytes(&block)
            }
        };
        self.block = Block { start, special };
    }

    /// Like [`Reader::rest_of_string`], without looking at what it says.
    #[inline]
    fn skip_string(&mut self) -> Taken {
        let end = self.plain_end();
        if self.bytes().get(end) != Some(&b'"') {
            return self.skip_escaped_string();
        }
        self.at = end + 1;
        Some(())
    }

    #[cold]
    fn skip_escaped_string(&mut self) -> Taken {
        loop {
            let end = self.plain_end();
            self.at = end + 1;
            match self.bytes().get(end) {
                Some(b'"') => return Some(()),
                Some(b'\\') => self.skip_escape()?,
                // A control character, which JSON escapes, or the end of the text.
                _ => return None,
            }
        }
    }

    /// What follows a backslash. Whether a `\u` escape is a character is checked only for what is kept.
    fn skip_escape(&mut self) -> Taken {
        match self.bytes().get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes().get(self.at + 1..self.at + 5)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 5;
            }
            _ => return None,
        }
        Some(())
    }

    /// Past a key and its colon.
    fn skip_key(&mut self) -> Taken {
        self.expect(b'"')?;
        self.skip_string()?;
        self.expect(b':')
    }

    fn skip_number(&mut self) -> Taken {
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = self.at;
        self.skip_digits()?;
        // A zero that is followed by digits is not a number.
        if self.bytes().get(whole) == Some(&b'0') && self.at > whole + 1 {
            return None;
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes().get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn skip_digits(&mut self) -> Taken {
        let before = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > before { Some(()) } else { None }
    }

    /// Past a value of any kind.
    #[inline]
    pub(crate) fn skip_value(&mut self) -> Taken {
        if self.peek()? == b'"' {
            self.at += 1;
            return self.skip_string();
        }
        self.skip_other_value()
    }

    fn skip_other_value(&mut self) -> Taken {
        // What encloses the value, innermost last: a bit is set for an object and clear for a list.
        let (mut kinds, mut depth) = (0_u64, 0_u32);
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.skip_string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    let is_object = open == b'{';
                    if self.peek()? == closing(is_object) {
                        self.at += 1;
                    } else {
                        if depth == DEEPEST {
                            return None;
                        }
                        kinds = kinds << 1 | u64::from(is_object);
                        depth += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.skip_number()?,
            }
            // Behind a value: out of all that end here, and on to the next.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = kinds & 1 == 1;
                let next = self.peek()?;
                self.at += 1;
                if next == b',' {
                    if is_object {
                        self.skip_key()?;
                    }
                    break;
                }
                if next != closing(is_object) {
                    return None;
                }
                kinds >>= 1;
                depth -= 1;
            }
        }
    }
}

const fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Marks the bytes of a block that are not plain characters of a string: a quotation mark, a backslash or a control
/// character. Written so that the bytes are compared many at a time, without a branch: it is run for every byte of a review.
#[inline]
fn special_bytes(block: &[u8; BLOCK]) -> u64 {
    let is_special = block.map(|byte| u8::from((byte == b'"') | (byte == b'\\') | (byte < b' ')));
    let (words, _none_left) = is_special.as_chunks::<8>();
    let mut special = 0;
    for word in words.iter().rev() {
        special = special << 8 | gather(u64::from_le_bytes(*word));
    }
    special
}

/// The lowest bits of eight bytes, each 0 or 1, side by side: the product's highest byte.
#[inline]
const fn gather(bytes: u64) -> u64 {
    bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_recognized_at_every_offset() {
        for place in 0..BLOCK {
            for byte in 0..=u8::MAX {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                let is_special = matches!(byte, b'"' | b'\\' | 0..b' ');
                assert_eq!(
                    special_bytes(&block),
                    u64::from(is_special) << place,
                    "{byte} at {place}"
                );
            }
        }
        assert_eq!(special_bytes(&[0; BLOCK]), u64::MAX);
    }
}
