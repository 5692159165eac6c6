//! Logs that nobody has recorded.

use coco_crypto::{sha256, sha384};

use super::*;

const REGISTER_MAX: u32 = 4;

fn le(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_le_bytes()
}

/// The first event, which names these hashes.
fn first(banks: &[(u16, u16)]) -> Vec<u8> {
    let mut said = [&SPECIFICATION[..], &CLIENT, &[2], &le(banks.len())].concat();
    for (number, bytes) in banks {
        said.extend_from_slice(&number.to_le_bytes());
        said.extend_from_slice(&bytes.to_le_bytes());
    }
    said.push(0);
    [&[0; 4][..], &[3, 0, 0, 0], &[0; 20], &le(said.len()), &said].concat()
}

fn event(register: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let head = [register.to_le_bytes(), kind.to_le_bytes(), le(2)].concat();
    let digests =
        [&0x0b_u16.to_le_bytes()[..], &sha256(data).0, &0x0c_u16.to_le_bytes(), &sha384(data)];
    [&head[..], &digests.concat(), &le(data.len()), data].concat()
}

const BANKS: [(u16, u16); 2] = [(0x0b, 32), (0x0c, 48)];

fn log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let made = events.iter().map(|(register, kind, data)| event(*register, *kind, data));
    std::iter::once(first(&BANKS)).chain(made).collect::<Vec<_>>().concat()
}

fn read(bytes: &[u8]) -> Result<EventLog<'_, 48>, VerifyError> {
    EventLog::read(bytes, Bank::Sha384, REGISTER_MAX)
}

#[test]
fn a_log_leads_to_registers() {
    let bytes = log(&[(1, 1, b"a"), (2, 1, b"b"), (0, NO_ACTION, b"nothing"), (1, 7, b"c")]);
    let found = read(&bytes).unwrap();
    let data: Vec<_> = found.events.iter().map(|event| (event.register, event.data)).collect();
    assert_eq!(data, [(1, &b"a"[..]), (2, b"b"), (1, b"c")]);
    let after_one = sha384(&[[0; 48], sha384(b"a")].concat());
    let expected = sha384(&[after_one, sha384(b"c")].concat());
    assert_eq!(found.replay(1, sha384), expected);
    assert_eq!(found.replay(3, sha384), [0; 48]);
    let other: EventLog<'_, 32> = EventLog::read(&bytes, Bank::Sha256, REGISTER_MAX).unwrap();
    let after_one = sha256(&[[0; 32], sha256(b"b").0].concat()).0;
    assert_eq!(other.replay(2, |bytes| sha256(bytes).0), after_one);
}

#[test]
fn a_log_is_read_to_its_last_byte_and_no_further() {
    let bytes = log(&[(1, 1, b"a"), (4, 1, b"b")]);
    let ends = [first(&BANKS).len(), log(&[(1, 1, b"a")]).len()];
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]).is_ok(), ends.contains(&end), "{end}");
    }
    for padding in [0x00, 0xff] {
        assert!(read(&[&bytes[..], &[padding; 8]].concat()).is_err());
    }
}

/// Whatever a byte of it is turned into: the digests and their order stay, or it is refused, or leads elsewhere.
#[test]
fn no_byte_of_a_log_changes_what_it_proves() {
    let bytes = log(&[(1, 1, b"abc"), (2, 7, b"b"), (1, NO_ACTION, b"no"), (3, 7, b"c")]);
    let proved = |log: &EventLog<'_, 48>| [1, 2, 3, 4].map(|register| log.replay(register, sha384));
    let digests = |log: &EventLog<'_, 48>| {
        let events = log.events.iter();
        events.map(|event| (event.register, event.digest)).collect::<Vec<_>>()
    };
    let found = read(&bytes).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let Ok(other) = read(&altered) else { continue };
            if proved(&other) == proved(&found) {
                assert_eq!(digests(&other), digests(&found), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn what_is_no_log_is_refused() {
    let good = log(&[(1, 1, b"a")]);
    assert!(read(&good).is_ok());
    let with = |banks: &[(u16, u16)]| first(banks);
    for (bytes, what) in [
        (Vec::new(), "the register of the first event"),
        (
            [&[2], &first(&BANKS)[1..]].concat(),
            "the first event is of another register than the first",
        ),
        (with(&[]), "no hash, or too many"),
        (with(&[(0x0c, 48); 2]), "a hash that is not known here, or stands twice"),
        (with(&[(0x0c, 32)]), "a hash that is not known here, or stands twice"),
        (with(&[(0x12, 32)]), "a hash that is not known here, or stands twice"),
        (with(&[(0x0c, 48); 5]), "no hash, or too many"),
        (with(&[(0x0b, 32)]), "the log has no digests of this hash"),
        (log(&[(5, 1, b"a")]), "an event of a register that there is not"),
        (log(&[(5, NO_ACTION, b"a")]), "an event of a register that there is not"),
        ([first(&[(0x0c, 48)]), event(1, 1, b"a")].concat(), "not one digest of each hash"),
        (
            [first(&[(0x0c, 48), (0x0b, 32)]), event(1, 1, b"a")].concat(),
            "not the digest of this hash",
        ),
    ] {
        match read(&bytes) {
            Err(VerifyError::Log { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_log_has_as_many_events_and_bytes_as_its_limits_allow() {
    for (count, is_read) in [(EVENTS_MAX - 1, true), (EVENTS_MAX, true), (EVENTS_MAX + 1, false)] {
        let events: [(u32, u32, &[u8]); 1] = [(1, 1, b"")];
        assert_eq!(read(&log(&events.repeat(count))).is_ok(), is_read, "{count}");
    }
    for (bytes, is_read) in
        [(DATA_BYTES_MAX - 1, true), (DATA_BYTES_MAX, true), (DATA_BYTES_MAX + 1, false)]
    {
        assert_eq!(read(&log(&[(1, 1, &vec![7; bytes])])).is_ok(), is_read, "{bytes}");
    }
}
