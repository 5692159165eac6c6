//! From when until when a certificate says something.

use x509_parser::asn1_rs::GeneralizedTime;

/// From when until when, in seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl Validity {
    /// Whether `now`, in seconds since 1970, lies within.
    #[must_use]
    pub const fn contains(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// So many days from a time on, which is written as in certificates: `YYMMDDhhmmssZ`, in this century, or with all four
    /// digits of the year. Nothing when it is no time after 1970.
    #[must_use]
    pub fn of_days(from: &str, days: u32) -> Option<Self> {
        let from = match from.len() {
            13 => format!("20{from}"),
            15 => from.to_owned(),
            _ => return None,
        };
        let not_before = seconds(&from)?;
        let not_after = not_before + u64::from(days).checked_mul(86_400)?.checked_sub(1)?;
        Some(Self { not_before, not_after })
    }

    /// From a second to another one, both included, which are written as makers write them in documents:
    /// `YYYY-MM-DDThh:mm:ssZ` (RFC 3339). Nothing when one is no time after 1970.
    #[must_use]
    pub fn of_dates(from: &str, to: &str) -> Option<Self> {
        Some(Self { not_before: seconds_of_date(from)?, not_after: seconds_of_date(to)? })
    }
}

/// The second that is written `YYYY-MM-DDThh:mm:ssZ`.
fn seconds_of_date(date: &str) -> Option<u64> {
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let is_form = date.len() == FORM.len()
        && date.bytes().zip(FORM).all(|(found, form)| match form {
            b'0' => found.is_ascii_digit(),
            mark => found == *mark,
        });
    if !is_form {
        return None;
    }
    let digits: String = date.chars().filter(char::is_ascii_digit).collect();
    seconds(&format!("{digits}Z"))
}

/// The second that is written `YYYYMMDDhhmmssZ`.
fn seconds(time: &str) -> Option<u64> {
    let digits = time.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let time = GeneralizedTime::from_bytes(time.as_bytes()).ok()?.utc_datetime().ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_one_form() {
        let second = |date| Validity::of_dates(date, date).map(|period| period.not_before);
        assert_eq!(second("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(second("2025-06-19T10:56:11Z"), Some(1_750_330_571));
        for date in [
            "",
            "2025-06-19T10:56:11",
            "2025-06-19T10:56:11z",
            "2025-06-19 10:56:11Z",
            "2025-06-19T10:56:11+00:00",
            "2025-06-19T10:56:11.0Z",
            "2025-13-19T10:56:11Z",
            "2025-02-30T10:56:11Z",
            "+025-06-19T10:56:11Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(second(date), None, "{date}");
        }
    }
}
