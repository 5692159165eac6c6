//! How results are printed: tables for people, JSON for programs.
//!
//! JSON names its form in `schema` and only grows within it. What comes from outside is printed to terminals without
//! characters that could move what stands there.

use std::{
    fmt,
    io::{self, Write},
};

use serde_json::{Value, json};

/// How a program ends whose reader went away: what shells say of one that the signal SIGPIPE ended.
const NOBODY_READS: i32 = 141;

/// Prints without a line's end.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::output::print(format_args!($($text)*))
    };
}

/// Prints a line.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub(crate) use {out, outln};

/// Prints to standard output. When nobody reads on, as in `coco ledger show DIR | head`, the program ends without a word.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    written(io::stdout().lock().write_fmt(text));
}

/// Prints bytes, in the same way.
pub(crate) fn print_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

fn written(result: io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        Err(error) => {
            eprintln!("cannot write to standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

impl Output {
    /// Prints a result: its members beside `schema` as JSON, or a text.
    pub(crate) fn print(self, schema: &str, members: Value, text: impl FnOnce() -> String) {
        match self {
            Self::Table => outln!("{}", text().trim_end()),
            Self::Json => {
                let mut all = json!({ "schema": format!("coco.{schema}/1") });
                if let (Value::Object(all), Value::Object(members)) = (&mut all, members) {
                    all.extend(members);
                }
                outln!("{all}");
            }
        }
    }
}

/// Lines of columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn with_head<const N: usize>(head: [&str; N]) -> Self {
        Self(vec![head.map(str::to_owned).to_vec()])
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.0.push(cells.map(plain).to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A text without control characters and marks that turn the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// How many digits of an id tables show. Enough to tell a hundred apart by, and to type.
pub(crate) const SHORT_DIGITS: usize = 8;

/// The beginning of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_DIGITS).unwrap_or(id)
}

/// A span of seconds in the largest unit of which it has two at least, or one and nothing beside.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let fits = |(unit, _): &&(u64, &str)| seconds / unit >= 2 || seconds == *unit;
    let (unit, name) = units.iter().find(fits).copied().unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// A time in seconds since 1970 as a date of the Gregorian calendar with its time, UTC.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in years that begin with March, so that leap days come last (Hinnant, "chrono-compatible date
    // algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_one_unit() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (61, "61 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (86_400, "1 day"),
            (90_000, "25 hours"),
            (172_799, "47 hours"),
            (14 * 86_400, "14 days"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }

    #[test]
    fn what_comes_from_outside_moves_nothing_on_a_terminal() {
        assert_eq!(plain("Société 1"), "Société 1");
        assert_eq!(plain("a\u{1b}[2J\nb\u{202e}c"), "a\\u{1b}[2J\\u{a}b\\u{202e}c");
    }

    #[test]
    fn columns_stand_below_one_another() {
        let mut table = Table::with_head(["A", "LONG"]);
        table.row(["éé", "x"]);
        table.row(["b", ""]);
        assert_eq!(table.to_string(), "A   LONG\néé  x\nb\n");
    }
}
