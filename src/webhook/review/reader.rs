//! Reads the JSON of a review quickly, or not at all.
//!
//! Two thirds of a review are skipped, and looking at each of those bytes is most of what an admission costs; the general
//! reader takes three times as long for it. This one borrows from a text that is known to be UTF-8, looks for the end of a
//! string eight bytes at a time, and knows no errors: what it does not take is read again by `serde_json`, which decides and
//! says what is wrong. So it has one duty: what it takes, `serde_json` takes too, with the same outcome. The tests hold it
//! to that with documents made by chance and damaged by chance.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// How deep what is skipped may be nested. Deeper documents are left to `serde_json`.
const DEEPEST: u32 = u64::BITS;

/// Reads a whole text as a `T`; none when that is to be tried with `serde_json`.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    let mut reader = Reader { text, at: 0 };
    let value = T::deserialize(&mut reader).ok()?;
    // Nothing but blanks may follow.
    reader.peek().is_err().then_some(value)
}

/// Not taken, for whatever reason.
#[derive(Debug)]
struct NotTaken;

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not taken")
    }
}

impl std::error::Error for NotTaken {}

impl de::Error for NotTaken {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

struct Reader<'de> {
    text: &'de str,
    /// Bytes read. At the boundary of a character: only ASCII is stepped over one by one.
    at: usize,
}

impl<'de> Reader<'de> {
    const fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no blank; stays before it.
    #[inline]
    fn peek(&mut self) -> Result<u8, NotTaken> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(NotTaken),
            }
        }
    }

    /// The next byte that is no blank; goes past it.
    #[inline]
    fn next(&mut self) -> Result<u8, NotTaken> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), NotTaken> {
        if self.next()? == byte { Ok(()) } else { Err(NotTaken) }
    }

    fn literal(&mut self, word: &str) -> Result<(), NotTaken> {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(NotTaken);
        }
        self.at += word.len();
        Ok(())
    }

    /// The rest of a string, behind its opening quotation mark.
    #[inline]
    fn string(&mut self) -> Result<Cow<'de, str>, NotTaken> {
        let start = self.at;
        let end = plain_end(self.bytes(), start);
        if self.bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(start..end).map(Cow::Borrowed).ok_or(NotTaken);
        }
        self.escaped_string(start)
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Cow<'de, str>, NotTaken> {
        self.skip_string()?;
        let quoted = start.checked_sub(1).and_then(|quote| self.text.get(quote..self.at));
        let plain = quoted.and_then(|quoted| serde_json::from_str::<String>(quoted).ok());
        plain.map(Cow::Owned).ok_or(NotTaken)
    }

    /// Like [`Reader::string`], without looking at what it says.
    #[inline]
    fn skip_string(&mut self) -> Result<(), NotTaken> {
        loop {
            let end = plain_end(self.bytes(), self.at);
            self.at = end + 1;
            match self.bytes().get(end) {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.skip_escape()?,
                // A control character, which JSON escapes, or the end of the text.
                _ => return Err(NotTaken),
            }
        }
    }

    /// What follows a backslash. Whether a `\u` stands for a character is asked only of what is kept.
    fn skip_escape(&mut self) -> Result<(), NotTaken> {
        match self.bytes().get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes().get(self.at + 1..self.at + 5).ok_or(NotTaken)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotTaken);
                }
                self.at += 5;
            }
            _ => return Err(NotTaken),
        }
        Ok(())
    }

    /// Past a key and its colon.
    #[inline]
    fn skip_key(&mut self) -> Result<(), NotTaken> {
        self.expect(b'"')?;
        self.skip_string()?;
        self.expect(b':')
    }

    fn skip_number(&mut self) -> Result<(), NotTaken> {
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let whole = self.at;
        self.skip_digits()?;
        // A zero that is followed by digits is no number.
        if self.bytes().get(whole) == Some(&b'0') && self.at > whole + 1 {
            return Err(NotTaken);
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
        Ok(())
    }

    /// One digit or more.
    fn skip_digits(&mut self) -> Result<(), NotTaken> {
        let before = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > before { Ok(()) } else { Err(NotTaken) }
    }

    /// Past a value of any kind.
    fn skip_value(&mut self) -> Result<(), NotTaken> {
        // What the value stands in, innermost last: a bit is set for an object and clear for a list.
        let (mut kinds, mut depth) = (0_u64, 0_u32);
        loop {
            let opened = match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.skip_string()?;
                    false
                }
                open @ (b'{' | b'[') => {
                    if depth == DEEPEST {
                        return Err(NotTaken);
                    }
                    self.at += 1;
                    kinds = kinds << 1 | u64::from(open == b'{');
                    depth += 1;
                    true
                }
                b't' => self.literal("true").map(|()| false)?,
                b'f' => self.literal("false").map(|()| false)?,
                b'n' => self.literal("null").map(|()| false)?,
                _ => self.skip_number().map(|()| false)?,
            };
            let mut may_continue = !opened;
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = kinds & 1 == 1;
                match self.peek()? {
                    b',' if may_continue => {
                        self.at += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    close @ (b'}' | b']') if is_object == (close == b'}') => {
                        self.at += 1;
                        kinds >>= 1;
                        depth -= 1;
                        may_continue = true;
                    }
                    _ if may_continue => return Err(NotTaken),
                    // The first entry.
                    _ => {
                        if is_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                }
            }
        }
    }
}

/// The place of the first byte from `at` on that ends a run of plain characters in a string: a quotation mark, a backslash
/// or a control character. The text's end when there is none.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / u8::BITS) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    rest.iter().position(is_special).map_or(bytes.len(), |place| at + place)
}

/// Sets the highest bit of each byte of a word that is not plain; of bytes above such a byte perhaps wrongly, so that only
/// the lowest bit that is set counts.
#[inline]
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHEST: u64 = ONES << 7;
    // A byte is zero when subtracting one borrows although its highest bit was clear; it is below 0x20 likewise.
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    let is_quote = quotes.wrapping_sub(ONES) & !quotes;
    let is_backslash = backslashes.wrapping_sub(ONES) & !backslashes;
    let is_control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    (is_quote | is_backslash | is_control) & HIGHEST
}

fn visit_text<'de, V: Visitor<'de>>(text: Cow<'de, str>, visitor: V) -> Result<V::Value, NotTaken> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = NotTaken;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        match self.peek()? {
            b'"' => self.deserialize_str(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => self.literal("null").and_then(|()| visitor.visit_unit()),
            // No part of a review is read without knowing whether it is a list or an object, and no number is read.
            _ => Err(NotTaken),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.expect(b'"')?;
        visit_text(self.string()?, visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        match self.peek()? {
            b't' => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            _ => self.literal("false").and_then(|()| visitor.visit_bool(false)),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        if self.peek()? == b'n' {
            self.literal("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.expect(b'{')?;
        let mut entries = Entries {
            reader: self,
            place: Place::First,
        };
        let value = visitor.visit_map(&mut entries)?;
        if entries.place == Place::Past {
            Ok(value)
        } else {
            Err(NotTaken)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTaken> {
        self.deserialize_map(visitor)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.expect(b'[')?;
        let mut entries = Entries {
            reader: self,
            place: Place::First,
        };
        let value = visitor.visit_seq(&mut entries)?;
        if entries.place == Place::Past {
            Ok(value)
        } else {
            Err(NotTaken)
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.skip_value()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum identifier
    }
}

/// What stands between two brackets.
struct Entries<'r, 'de> {
    reader: &'r mut Reader<'de>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first entry.
    First,
    /// Behind an entry.
    Later,
    /// Behind the closing bracket.
    Past,
}

impl Entries<'_, '_> {
    /// Goes to the next entry, past its comma; false behind the closing bracket.
    #[inline]
    fn advance(&mut self, close: u8) -> Result<bool, NotTaken> {
        let next = self.reader.peek()?;
        if next == close {
            self.reader.at += 1;
            self.place = Place::Past;
            return Ok(false);
        }
        match self.place {
            Place::First => self.place = Place::Later,
            Place::Later if next == b',' => self.reader.at += 1,
            Place::Later | Place::Past => return Err(NotTaken),
        }
        Ok(true)
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = NotTaken;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, NotTaken> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        let key = seed.deserialize(Key(self.reader))?;
        self.reader.expect(b':')?;
        Ok(Some(key))
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NotTaken> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de> {
    type Error = NotTaken;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, NotTaken> {
        if !self.advance(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// A key: always a string, whatever is asked for.
struct Key<'r, 'de>(&'r mut Reader<'de>);

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = NotTaken;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTaken> {
        self.0.deserialize_str(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
