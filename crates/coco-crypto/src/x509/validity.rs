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
        let digits = from.strip_suffix('Z')?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let from = GeneralizedTime::from_bytes(from.as_bytes()).ok()?.utc_datetime().ok()?;
        let not_before = u64::try_from(from.unix_timestamp()).ok()?;
        let not_after = not_before + u64::from(days).checked_mul(86_400)?.checked_sub(1)?;
        Some(Self { not_before, not_after })
    }
}
