//! What must not leave a node. Each private value of a run carries a marker of 16 bytes; nobody outside of a node's memory
//! and its client's ever sees one, neither on the network, nor on a disk, nor in what a node says of itself. Nor does
//! anybody see a secret of the ledger.
//!
//! The markers of a run begin alike, so that one search finds any of them, however many there are.

use std::{cell::RefCell, rc::Rc};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::dice::Dice;

/// Bytes of a marker.
pub const MARKER_BYTES: usize = 16;
/// What the markers of a run have in common: enough that sealed bytes never look so.
const COMMON_BYTES: usize = 10;
/// Letters that no text escapes.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Markers of one kind before their numbers repeat.
const NUMBERS: u64 = 100_000;
/// How far before a write a search begins: a value may come in pieces.
pub const BEFORE_BYTES: usize = 256;

/// The marker of one private value.
pub type Marker = [u8; MARKER_BYTES];

/// What is private in a run. Clones are the same.
#[derive(Clone, Debug)]
pub struct Private(Rc<RefCell<Searched>>);

#[derive(Debug)]
struct Searched {
    common: [u8; COMMON_BYTES],
    /// Everything that is searched for, in each form that it may be written in.
    forms: Vec<Vec<u8>>,
    search: AhoCorasick,
}

impl Private {
    /// Draws what the markers of a run begin with.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let drawn = u128::from(dice.bits()) << 64 | u128::from(dice.bits());
        let letter = |at: usize| LETTERS[usize::try_from(drawn >> (6 * at) & 63).unwrap_or(0)];
        let common = std::array::from_fn(letter);
        let forms = forms_of(&common);
        let search = search_for(&forms);
        Self(Rc::new(RefCell::new(Searched { common, forms, search })))
    }

    /// The marker of a value, by its kind and its number among those.
    #[must_use]
    pub fn marker(&self, kind: u8, number: u64) -> Marker {
        let mut marker = [0; MARKER_BYTES];
        let (common, own) = marker.split_at_mut(COMMON_BYTES);
        common.copy_from_slice(&self.0.borrow().common);
        own[0] = kind;
        own[1..].copy_from_slice(format!("{:05}", number % NUMBERS).as_bytes());
        marker
    }

    /// There is one more secret.
    pub fn add(&self, secret: &[u8]) {
        let searched = &mut *self.0.borrow_mut();
        if searched.forms.iter().any(|form| form == secret) {
            return;
        }
        searched.forms.extend(forms_of(secret));
        searched.search = search_for(&searched.forms);
    }

    /// Somebody outside sees these bytes.
    ///
    /// # Panics
    /// When something private is among them.
    pub fn shown(&self, bytes: &[u8]) {
        let leak = self.0.borrow().search.find(bytes).map(|found| found.start());
        assert_eq!(leak, None, "private bytes leave a node");
    }
}

fn search_for(forms: &[Vec<u8>]) -> AhoCorasick {
    let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(forms);
    builder.expect("a few short forms")
}

/// How bytes may be written: as they are, in hexadecimal digits, as a list of numbers, or in base64 at any place of a longer
/// text.
fn forms_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut forms =
        vec![bytes.to_vec(), hex.to_uppercase().into(), hex.into(), list.join(", ").into()];
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let text = engine.encode([&[0; 2][..before], bytes].concat());
            // A letter has 6 bits. Those at the ends have some of what stands around.
            let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
            forms.push(text[first..end].into());
        }
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn is_seen(private: &Private, bytes: &[u8]) -> bool {
        catch_unwind(AssertUnwindSafe(|| private.shown(bytes))).is_err()
    }

    #[test]
    fn a_marker_is_found_in_every_form_and_at_every_place() {
        let private = Private::draw(&mut Dice::new(7));
        let marker = private.marker(b't', 12);
        assert_eq!(&marker[COMMON_BYTES..], b"t00012");
        for before in 0..7 {
            let bytes = [&vec![b'x'; before], &marker[..], b"yy"].concat();
            assert!(is_seen(&private, &bytes), "as it is after {before} bytes");
            assert!(is_seen(&private, format!("{bytes:?}").as_bytes()), "as a list");
            assert!(is_seen(&private, STANDARD_NO_PAD.encode(&bytes).as_bytes()), "in base64");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(is_seen(&private, hex.as_bytes()), "in hexadecimal digits");
        }
        assert!(!is_seen(&private, &Private::draw(&mut Dice::new(8)).marker(b't', 12)));
    }

    #[test]
    fn a_secret_is_found_once_it_is_known() {
        let private = Private::draw(&mut Dice::new(7));
        assert!(!is_seen(&private, &[0x99; 40]));
        private.add(&[0x99; 32]);
        assert!(is_seen(&private, &[0x99; 40]));
        assert!(!is_seen(&private, &[0x99; 31]));
    }
}
