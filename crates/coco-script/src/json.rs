//! JSON that the guest has read outside of it: long texts, which would take it long.
//!
//! What comes out is what `JSON.parse` makes of the same text, as [`Value`](crate::Value) is encoded. Whatever is no JSON,
//! nests deep or grows large is not read here: the engine reads it then, and says what is wrong with it.

use crate::value::{self, FALSE, LIST, NULL, NUMBER, RECORD, TRUE};

/// The deepest nesting that is read here. The guest takes values of [`DEPTH_MAX`](crate::DEPTH_MAX).
const NESTING_MAX: usize = 60;

/// The value of a text, encoded in `bytes_max` bytes at the most. Nothing, if it is for the engine to read.
///
/// A unit is what JavaScript calls a character: 16 bits, or 8 where none of a text has more.
pub(crate) fn encode<U: Copy + Into<u16>>(text: &[U], bytes_max: usize) -> Option<Vec<u8>> {
    let mut reader = Reader { rest: text, to: Vec::new(), bytes_max, text: Vec::new() };
    reader.value(0)?;
    reader.skip_space();
    (reader.rest.is_empty() && reader.to.len() <= bytes_max).then_some(reader.to)
}

struct Reader<'a, U> {
    rest: &'a [U],
    to: Vec<u8>,
    bytes_max: usize,
    /// The text that is being read, kept for its room.
    text: Vec<u16>,
}

impl<U: Copy + Into<u16>> Reader<'_, U> {
    fn peek(&self) -> Option<u16> {
        self.rest.first().map(|unit| (*unit).into())
    }

    fn next(&mut self) -> Option<u16> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some((*first).into())
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|unit| matches!(unit, 0x20 | 0x09 | 0x0A | 0x0D)) {
            self.rest = &self.rest[1..];
        }
    }

    /// The next unit that is no space.
    fn token(&mut self) -> Option<u16> {
        self.skip_space();
        self.next()
    }

    fn word(&mut self, rest: &str, tag: u8) -> Option<()> {
        for expected in rest.bytes() {
            self.next().filter(|unit| *unit == u16::from(expected))?;
        }
        self.to.push(tag);
        Some(())
    }

    fn value(&mut self, nesting: usize) -> Option<()> {
        if nesting > NESTING_MAX || self.to.len() > self.bytes_max {
            return None;
        }
        self.skip_space();
        if self.peek().is_some_and(|unit| unit == MINUS || is_digit(unit)) {
            return self.number();
        }
        match u8::try_from(self.next()?).ok()? {
            b'{' => self.record(nesting),
            b'[' => self.list(nesting),
            b'"' => {
                self.read_text()?;
                value::encode_units(&mut self.to, &self.text);
                Some(())
            }
            b't' => self.word("rue", TRUE),
            b'f' => self.word("alse", FALSE),
            b'n' => self.word("ull", NULL),
            _ => None,
        }
    }

    fn list(&mut self, nesting: usize) -> Option<()> {
        let at = self.begin(LIST);
        self.skip_space();
        if self.peek() == Some(u16::from(b']')) {
            self.next();
            return self.end(at, 0);
        }
        for count in 1.. {
            self.value(nesting + 1)?;
            match u8::try_from(self.token()?).ok()? {
                b',' => {}
                b']' => return self.end(at, count),
                _ => return None,
            }
        }
        None
    }

    fn record(&mut self, nesting: usize) -> Option<()> {
        let at = self.begin(RECORD);
        let mut next = self.token()?;
        if next == u16::from(b'}') {
            return self.end(at, 0);
        }
        for count in 1.. {
            if next != QUOTE {
                return None;
            }
            self.read_text()?;
            value::encode_name(&mut self.to, &self.text);
            self.token().filter(|unit| *unit == u16::from(b':'))?;
            self.value(nesting + 1)?;
            match u8::try_from(self.token()?).ok()? {
                b',' => next = self.token()?,
                b'}' => return self.end(at, count),
                _ => return None,
            }
        }
        None
    }

    /// Begins something of which the count is written in the end.
    fn begin(&mut self, tag: u8) -> usize {
        self.to.push(tag);
        self.to.extend([0; 4]);
        self.to.len() - 4
    }

    fn end(&mut self, at: usize, count: u32) -> Option<()> {
        self.to.get_mut(at..at + 4)?.copy_from_slice(&count.to_le_bytes());
        Some(())
    }

    /// Reads a text of which the first quote is read already.
    fn read_text(&mut self) -> Option<()> {
        self.text.clear();
        loop {
            let ends = |unit: &U| matches!((*unit).into(), QUOTE | BACKSLASH | 0..=0x1F);
            let plain = self.rest.iter().position(ends)?;
            let (run, rest) = self.rest.split_at(plain);
            self.text.extend(run.iter().map(|unit| -> u16 { (*unit).into() }));
            self.rest = rest;
            match self.next()? {
                QUOTE => return Some(()),
                BACKSLASH => {
                    let unit = self.escaped()?;
                    self.text.push(unit);
                }
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<u16> {
        Some(match u8::try_from(self.next()?).ok()? {
            b'b' => 0x08,
            b't' => 0x09,
            b'n' => 0x0A,
            b'f' => 0x0C,
            b'r' => 0x0D,
            plain @ (b'"' | b'\\' | b'/') => u16::from(plain),
            b'u' => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = char::from(u8::try_from(self.next()?).ok()?).to_digit(16)?;
                    unit = unit << 4 | u16::try_from(digit).ok()?;
                }
                unit
            }
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<()> {
        let mut text = String::new();
        if self.peek() == Some(MINUS) {
            self.take(&mut text)?;
        }
        if self.peek() == Some(u16::from(b'0')) {
            self.take(&mut text)?;
        } else {
            self.digits(&mut text)?;
        }
        if self.peek() == Some(u16::from(b'.')) {
            self.take(&mut text)?;
            self.digits(&mut text)?;
        }
        if self.peek().is_some_and(|unit| [b'e', b'E'].map(u16::from).contains(&unit)) {
            self.take(&mut text)?;
            if self.peek().is_some_and(|unit| [b'+', b'-'].map(u16::from).contains(&unit)) {
                self.take(&mut text)?;
            }
            self.digits(&mut text)?;
        }
        self.to.push(NUMBER);
        self.to.extend(text.parse::<f64>().ok()?.to_le_bytes());
        Some(())
    }

    fn digits(&mut self, text: &mut String) -> Option<()> {
        self.peek().filter(|unit| is_digit(*unit))?;
        while self.peek().is_some_and(is_digit) {
            self.take(text)?;
        }
        Some(())
    }

    /// Moves a character of a number, which is ASCII.
    fn take(&mut self, text: &mut String) -> Option<()> {
        text.push(char::from(u8::try_from(self.next()?).ok()?));
        Some(())
    }
}

fn is_digit(unit: u16) -> bool {
    (u16::from(b'0')..=u16::from(b'9')).contains(&unit)
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const MINUS: u16 = b'-' as u16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    const MOST: usize = 1 << 20;

    fn parsed(text: &str) -> Option<Value> {
        let wide: Vec<u16> = text.encode_utf16().collect();
        let found = encode(&wide, MOST);
        if text.is_ascii() {
            assert_eq!(encode(text.as_bytes(), MOST), found, "{text}");
        }
        Some(Value::decode(&found?).expect("what is encoded is a value"))
    }

    #[test]
    fn json_has_the_value_that_it_means() {
        let record = |members: &[(&str, Value)]| {
            Value::Record(
                members.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
            )
        };
        for (text, value) in [
            (" null ", Value::Null),
            ("[true,false]", Value::List(vec![Value::Bool(true), Value::Bool(false)])),
            ("-0.5e+1", Value::Number(-5.0)),
            ("1e400", Value::Number(f64::INFINITY)),
            ("9007199254740993", Value::Number(9_007_199_254_740_992.0)),
            (r#""a\u00e9\"\\\/\b\f\n\r\t€""#, Value::text("aé\"\\/\u{8}\u{c}\n\r\t€")),
            (r#""\ud83d\ude00😀""#, Value::text("😀😀")),
            ("{}", record(&[])),
            ("[ ]", Value::List(Vec::new())),
            (
                r#"{"a":1,"é":{"__proto__":[]},"a":"2"}"#,
                record(&[
                    ("a", Value::Number(1.0)),
                    ("é", record(&[("__proto__", Value::List(Vec::new()))])),
                    ("a", Value::text("2")),
                ]),
            ),
        ] {
            assert_eq!(parsed(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_left_to_the_engine() {
        for text in [
            "",
            " ",
            "nul",
            "nulls",
            "tru",
            "01",
            "-",
            "-a",
            "1.",
            ".5",
            "1e",
            "+1",
            "[1,]",
            "[1 2]",
            "[",
            "{",
            "{a:1}",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            "\"\n\"",
            "'a'",
            "1 2",
            "{} {}",
            "\u{feff}1",
            "\u{a0}1",
            "NaN",
            "/**/1",
            "[1]]",
            "\u{ff11}",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_nests_deep_or_grows_large_is_left_to_the_engine() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parsed(&deep(NESTING_MAX)).is_some());
        assert!(parsed(&deep(NESTING_MAX + 2)).is_none());
        assert!(parsed(&deep(100_000)).is_none());
        let many = format!("[{}1]", "1,".repeat(100));
        assert!(encode(many.as_bytes(), 5 + 101 * 9).is_some());
        assert!(encode(many.as_bytes(), 5 + 101 * 9 - 1).is_none());
    }
}
