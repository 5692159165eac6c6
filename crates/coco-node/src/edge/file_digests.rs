//! Digests of the files that clients fetch: `ETag` with its conditions (RFC 9110, sections 8.8.3 and 13) and `Repr-Digest`
//! (RFC 9530), both over the whole file, also when a range of it is asked for.
//!
//! The tag is CCF's, `"sha-256:<hexadecimal digits>"`: whoever has a file can make it. Digests are of what was read, which the
//! host may have changed. They tell what was damaged on its way, and what a client has already; they prove nothing.

use std::collections::VecDeque;

use aws_lc_rs::digest::{self, Context, SHA256, SHA512};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use coco_ledger::FileError;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE},
};
use parking_lot::Mutex;

use super::downloads::File;

/// Digests that are remembered, of at most 64 bytes each, so that a file is read for its digest once. A file that has its
/// name never changes.
const DIGESTS_MAX: usize = 1024;

pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// An algorithm of the registry of RFC 9530.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    const fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        }
    }

    /// The one that a client wants most: `Want-Repr-Digest` gives each a number from 1 to 10, or 0 to those that it does not
    /// want. Nothing where it asks for none that there is.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut most: Option<(u8, Self)> = None;
        let wishes = members(headers, &WANT_REPR_DIGEST).filter_map(|wish| wish.split_once('='));
        for (name, number) in wishes {
            let number = number.trim().parse().ok().filter(|number| (1..=10).contains(number));
            let algorithm = Self::ALL.into_iter().find(|one| one.name() == name.trim());
            if let (Some(number), Some(algorithm)) = (number, algorithm)
                && most.is_none_or(|(most, _)| number > most)
            {
                most = Some((number, algorithm));
            }
        }
        most.map(|(_, algorithm)| algorithm)
    }
}

/// The members of a list that stands in one or more headers of a name.
fn members<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h str> + use<'h> {
    let values = headers.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// What `ETag` says of a file.
#[derive(Debug)]
pub(super) struct Tag(HeaderValue);

impl Tag {
    /// The tag of a file with this digest.
    pub(super) fn of(sha256: &[u8]) -> Self {
        use std::fmt::Write;
        let mut text = format!("\"{}:", Algorithm::Sha256.name());
        for byte in sha256 {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
        }
        text.push('"');
        Self(HeaderValue::try_from(text).expect("digits stand in headers"))
    }

    pub(super) const fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether a client that says what it has (`If-None-Match`) has this.
    pub(super) fn is_known_by(&self, headers: &HeaderMap) -> bool {
        let is_it = |tag: &str| tag == "*" || *tag.strip_prefix("W/").unwrap_or(tag) == self.0;
        members(headers, &IF_NONE_MATCH).any(is_it)
    }

    /// Whether a range may be given: a client that has a part of something else (`If-Range`) gets the whole.
    pub(super) fn may_be_continued(&self, headers: &HeaderMap) -> bool {
        headers.get(IF_RANGE).is_none_or(|of| *of == self.0)
    }
}

/// The value of `Repr-Digest`.
pub(super) fn repr_digest(algorithm: Algorithm, digest: &[u8]) -> HeaderValue {
    let text = format!("{}=:{}:", algorithm.name(), STANDARD.encode(digest));
    HeaderValue::try_from(text).expect("base64 stands in headers")
}

/// Digests of files that were read, the oldest first.
#[derive(Debug, Default)]
pub(super) struct FileDigests(Mutex<VecDeque<(File, Algorithm, Bytes)>>);

impl FileDigests {
    /// The digest of a file: the one that is remembered, or that of what `read` gives from an offset on, until that is
    /// nothing. Takes as long as it takes to read the file.
    ///
    /// # Errors
    /// What `read` says.
    pub(super) fn of(
        &self,
        file: File,
        algorithm: Algorithm,
        mut read: impl FnMut(u64) -> Result<Vec<u8>, FileError>,
    ) -> Result<Bytes, FileError> {
        let is_it = |known: &&(File, Algorithm, Bytes)| (known.0, known.1) == (file, algorithm);
        if let Some((.., known)) = self.0.lock().iter().find(is_it) {
            return Ok(known.clone());
        }
        let (mut context, mut at) = (Context::new(algorithm.digest()), 0);
        loop {
            let part = read(at)?;
            if part.is_empty() {
                break;
            }
            at += part.len() as u64;
            context.update(&part);
        }
        let found = Bytes::copy_from_slice(context.finish().as_ref());
        let mut known = self.0.lock();
        known.push_back((file, algorithm, found.clone()));
        if known.len() > DIGESTS_MAX {
            known.pop_front();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::SnapshotName;
    use coco_types::Seqno;

    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    const fn file(seqno: u64) -> File {
        File::Snapshot(SnapshotName { seqno: Seqno(seqno), evidence: Seqno(seqno + 1) })
    }

    #[test]
    fn the_digest_that_is_wanted_most_is_given() {
        use Algorithm::{Sha256, Sha512};
        for (values, expected) in [
            (&[][..], None),
            (&["sha-256=1"][..], Some(Sha256)),
            (&["sha-512=3, sha-256=10, md5=10"][..], Some(Sha256)),
            (&["sha-256=3", "sha-512=4"][..], Some(Sha512)),
            (&["sha-256=0, sha-512=11"][..], None),
            (&["sha-256, sha-512=x, =1, ,"][..], None),
            (&["unixsum=5"][..], None),
        ] {
            let found = Algorithm::wanted(&headers(&WANT_REPR_DIGEST, values));
            assert_eq!(found, expected, "{values:?}");
        }
        // The example of RFC 9530, appendix B.1.
        let digest = digest::digest(&SHA256, b"{\"hello\": \"world\"}\n");
        let expected = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(repr_digest(Sha256, digest.as_ref()), expected);
    }

    #[test]
    fn conditions_are_held_against_the_tag() {
        let tag = Tag::of(&[0xab, 0x01]);
        assert_eq!(tag.header(), "\"sha-256:ab01\"");
        for (values, is_known) in [
            (&[][..], false),
            (&["*"][..], true),
            (&["\"sha-256:ab01\""][..], true),
            (&["W/\"sha-256:ab01\""][..], true),
            (&["\"a\"", "\"b\" , \"sha-256:ab01\""][..], true),
            (&["sha-256:ab01"][..], false),
            (&["\"sha-256:ab02\""][..], false),
        ] {
            assert_eq!(tag.is_known_by(&headers(&IF_NONE_MATCH, values)), is_known, "{values:?}");
        }
        for (values, may) in [
            (&[][..], true),
            (&["\"sha-256:ab01\""][..], true),
            (&["W/\"sha-256:ab01\""][..], false),
            (&["Sat, 29 Oct 1994 19:43:31 GMT"][..], false),
        ] {
            assert_eq!(tag.may_be_continued(&headers(&IF_RANGE, values)), may, "{values:?}");
        }
    }

    #[test]
    fn a_file_is_read_once_for_its_digest_until_others_take_its_place() {
        let digests = FileDigests::default();
        let mut reads = 0;
        let mut of = |seqno| {
            let read = |at| {
                reads += usize::from(at == 0);
                Ok(if at < 6 { vec![7; 3] } else { Vec::new() })
            };
            digests.of(file(seqno), Algorithm::Sha256, read).expect("reads")
        };
        let first = of(0);
        assert_eq!(&first[..], digest::digest(&SHA256, &[7; 6]).as_ref());
        assert_eq!(of(0), first);
        for seqno in 1..=DIGESTS_MAX as u64 {
            of(seqno);
        }
        of(1);
        of(0);
        assert_eq!(reads, DIGESTS_MAX + 2);
        assert_eq!(digests.0.lock().len(), DIGESTS_MAX);
    }
}
