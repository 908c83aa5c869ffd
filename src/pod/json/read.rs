//! Reads JSON quickly, or not at all.
//!
//! Two thirds of a review are skipped, and looking at each of those bytes is most of what an admission costs. This reader
//! borrows from a text that is known to be UTF-8, looks for the end of a string eight bytes at a time, finds fields in a
//! table, fills a value where it lies, and knows no errors: what it does not take is read again by `serde_json`, which
//! decides and says what is wrong. Its code is small on purpose: between two requests other code fills the processor's
//! caches, and a general reader, made anew for each type, is slow every time.
//!
//! So it has one duty: what it takes, `serde_json` takes too, with the same outcome. `webhook/review/differential.rs` holds it to
//! that with documents made by chance and damaged by chance.

use std::borrow::Cow;

/// How deep what is skipped may be nested. Deeper documents are left to `serde_json`.
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

/// A list; a null in it is none.
impl<'a, T: Read<'a>> Read<'a> for Vec<Option<T>> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        reader.list(|reader| {
            self.push(None);
            reader.optional(self.last_mut()?)
        })
    }
}

/// Where in an object or a list the reader stands.
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
}

impl<'a> Reader<'a> {
    /// At the beginning of a text.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
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
            let Cow::Borrowed(key) = self.rest_of_string()? else {
                return None;
            };
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

    /// The next byte that is no blank; stays before it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Some(*byte),
                None => return None,
            }
        }
    }

    /// The next byte that is no blank; goes past it.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Goes past a byte that has to come next.
    pub(crate) fn expect(&mut self, byte: u8) -> Taken {
        if self.next()? == byte { Some(()) } else { None }
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
        let end = plain_end(self.bytes(), start);
        if self.bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(start..end).map(Cow::Borrowed);
        }
        self.escaped_string(start)
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Option<Cow<'a, str>> {
        self.skip_string()?;
        let quoted = start.checked_sub(1).and_then(|quote| self.text.get(quote..self.at));
        let plain = quoted.and_then(|quoted| serde_json::from_str::<String>(quoted).ok());
        plain.map(Cow::Owned)
    }

    /// Like [`Reader::rest_of_string`], without looking at what it says.
    fn skip_string(&mut self) -> Taken {
        loop {
            let end = plain_end(self.bytes(), self.at);
            self.at = end + 1;
            match self.bytes().get(end) {
                Some(b'"') => return Some(()),
                Some(b'\\') => self.skip_escape()?,
                // A control character, which JSON escapes, or the end of the text.
                _ => return None,
            }
        }
    }

    /// What follows a backslash. Whether a `\u` stands for a character is asked only of what is kept.
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
        // A zero that is followed by digits is no number.
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
    pub(crate) fn skip_value(&mut self) -> Taken {
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
                        return None;
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
                    return Some(());
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
                    _ if may_continue => return None,
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
