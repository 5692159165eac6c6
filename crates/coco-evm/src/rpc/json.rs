//! Writes JSON by hand: receipts and logs are asked for thousands of times a second, and every number in them is
//! hexadecimal.

use alloy_primitives::{B256, U256, hex};

/// JSON under construction.
#[derive(Debug, Default)]
pub(super) struct Json {
    out: Vec<u8>,
}

impl Json {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// A whole value that is JSON already.
    pub(super) fn constant(&mut self, json: &str) {
        self.raw(json);
    }

    pub(super) fn append(&mut self, json: &[u8]) -> &mut Self {
        self.out.extend_from_slice(json);
        self
    }

    pub(super) fn null(&mut self) {
        self.raw("null");
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// A string, escaped.
    pub(super) fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text)
            .expect("writing a string into memory cannot fail");
    }

    /// A number in decimal.
    pub(super) fn decimal(&mut self, value: i64) {
        self.raw(&value.to_string());
    }

    /// A ratio; never an infinity, which JSON does not have.
    pub(super) fn ratio(&mut self, value: f64) {
        let value = if value.is_finite() { value } else { 0.0 };
        self.raw(&value.to_string());
    }

    /// A quantity: hexadecimal without leading zeros.
    pub(super) fn quantity(&mut self, value: u64) {
        self.quantity_bytes(&value.to_be_bytes());
    }

    pub(super) fn quantity_u128(&mut self, value: u128) {
        self.quantity_bytes(&value.to_be_bytes());
    }

    pub(super) fn quantity_u256(&mut self, value: U256) {
        self.quantity_bytes(&value.to_be_bytes::<32>());
    }

    /// Bytes: hexadecimal, two digits each.
    pub(super) fn data(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.out.extend_from_slice(b"\"0x");
        let start = self.out.len();
        self.out.resize(start + 2 * bytes.len(), 0);
        hex::encode_to_slice(bytes, &mut self.out[start..])
            .expect("there is room for two digits a byte");
        self.out.push(b'"');
    }

    pub(super) fn data_or_null(&mut self, bytes: Option<impl AsRef<[u8]>>) {
        match bytes {
            Some(bytes) => self.data(bytes),
            None => self.null(),
        }
    }

    /// `,"name":"0x.."` when there is a value.
    pub(super) fn optional_data(&mut self, name: &str, bytes: Option<&B256>) {
        if let Some(bytes) = bytes {
            self.name(name).data(bytes);
        }
    }

    /// `,"name":"0x.."` when there is a value.
    pub(super) fn optional_quantity(&mut self, name: &str, value: Option<u128>) {
        if let Some(value) = value {
            self.name(name).quantity_u128(value);
        }
    }

    /// A list, its items written by `each`.
    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            each(self, item);
        }
        self.out.push(b']');
    }

    /// `,"name":`. The name needs no escapes.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.raw(",\"").raw(name).raw("\":")
    }

    fn quantity_bytes(&mut self, big_endian: &[u8]) {
        let first = big_endian.iter().position(|byte| *byte != 0);
        let Some(first) = first else {
            self.raw("\"0x0\"");
            return;
        };
        self.out.extend_from_slice(b"\"0x");
        for (index, byte) in big_endian[first..].iter().enumerate() {
            let (high, low) = (byte >> 4, byte & 15);
            if index > 0 || high > 0 {
                self.out.push(DIGITS[usize::from(high)]);
            }
            self.out.push(DIGITS[usize::from(low)]);
        }
        self.out.push(b'"');
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_leading_zeros_and_bytes_keep_theirs() {
        for (value, text) in [
            (0, "\"0x0\""),
            (1, "\"0x1\""),
            (15, "\"0xf\""),
            (16, "\"0x10\""),
            (0x1234, "\"0x1234\""),
        ] {
            let mut json = Json::default();
            json.quantity(value);
            assert_eq!(json.into_bytes(), text.as_bytes());
        }
        let mut json = Json::default();
        json.quantity_u256(U256::MAX);
        json.raw(" ").data([0, 1, 255]);
        json.raw(" ").string("a\"b\n\u{e9}");
        let expected = format!("\"0x{}\" \"0x0001ff\" \"a\\\"b\\n\u{e9}\"", "f".repeat(64));
        assert_eq!(json.into_bytes(), expected.as_bytes());
    }
}
