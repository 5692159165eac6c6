//! What evidence binds: a node's key, and the channel on which it is shown.
//!
//! Evidence that names a key alone can be shown by whoever relays it, and shown again for as long as anybody believes it. So it names
//! the connection as well: the exporter of its TLS session (RFC 8446, section 7.5), which both ends know and nobody between them, and
//! into which both have put something fresh. A question of its own beside it would say nothing more. Which end shows evidence, whom it
//! takes the other for and in which service is said besides, so that no evidence fits a channel for which it was not made.
//!
//! ```text
//! transcript  = SHA-256("coco/attest/1" ‖ 0 ‖ end ‖ service ‖ SHA-256(key of this end) ‖ SHA-256(key of the other) ‖ exporter)
//! report data = SHA-256(key of this end) ‖ transcript
//! ```
//!
//! Keys are in SPKI. The first half is what CCF's nodes bind, and all of it.

use coco_crypto::sha256;
use coco_types::{Digest, NodeId};

use crate::PlatformId;

/// The label with which both ends take the exporter out of TLS. Its context is one byte: [`End::number`].
const EXPORTER_LABEL: &[u8] = b"EXPORTER-coco-attest";

/// Bytes that are taken out.
pub const EXPORTER_BYTES: usize = 32;

/// Bytes of a report's data.
pub const REPORT_DATA_BYTES: usize = 64;

/// What a transcript begins with.
const CONTEXT: &[u8] = b"coco/attest/1\0";

/// An end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever dialled.
    Dialled,
    /// Whoever accepted.
    Accepted,
}

impl End {
    /// Its number in transcripts and as the context of an exporter.
    const fn number(self) -> u8 {
        match self {
            Self::Dialled => 1,
            Self::Accepted => 2,
        }
    }

    /// What a TLS session exports for this end, by the session's own function: it fills the bytes, under a label and a context.
    ///
    /// # Errors
    /// That of the function.
    pub fn exporter<E>(
        self,
        export: impl FnOnce(
            [u8; EXPORTER_BYTES],
            &[u8],
            Option<&[u8]>,
        ) -> Result<[u8; EXPORTER_BYTES], E>,
    ) -> Result<[u8; EXPORTER_BYTES], E> {
        export([0; EXPORTER_BYTES], EXPORTER_LABEL, Some(&[self.number()]))
    }
}

/// A channel as one end sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The end that shows evidence.
    pub end: End,
    /// SHA-256 of the key of the service, in SPKI.
    pub service: Digest,
    /// The node at this end: SHA-256 of its key.
    pub own: NodeId,
    /// SHA-256 of the key of the other end.
    pub other: NodeId,
    /// What the TLS session exports for this end.
    pub exporter: [u8; EXPORTER_BYTES],
}

impl Channel {
    /// What the evidence of this end binds.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let end = [self.end.number()];
        let parts: [&[u8]; 6] =
            [CONTEXT, &end, &self.service.0, &self.own.0, &self.other.0, &self.exporter];
        ReportData { node: self.own, transcript: sha256(&parts.concat()) }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({:?} of {} to {})", self.end, self.own, self.other)
    }
}

/// What evidence binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportData {
    /// The node: SHA-256 of its key.
    pub node: NodeId,
    /// SHA-256 of what is said of the channel; zero where evidence was shown on none, as that of the first node.
    pub transcript: Digest,
}

impl ReportData {
    /// Of a node that shows evidence to itself.
    #[must_use]
    pub const fn on_no_channel(node: NodeId) -> Self {
        Self { node, transcript: Digest::ZERO }
    }

    /// The bytes, as reports of processors have room for.
    #[must_use]
    pub fn bytes(&self) -> [u8; REPORT_DATA_BYTES] {
        let mut bytes = [0; REPORT_DATA_BYTES];
        let (key, transcript) = bytes.split_at_mut(REPORT_DATA_BYTES / 2);
        key.copy_from_slice(&self.node.0);
        transcript.copy_from_slice(&self.transcript.0);
        bytes
    }

    /// What a platform is given to bind: the bytes, or SHA-256 of them where it has no room for more.
    #[must_use]
    pub fn for_platform(&self, platform: PlatformId) -> Vec<u8> {
        if platform.has_room() { self.bytes().to_vec() } else { sha256(&self.bytes()).0.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel {
            end: End::Dialled,
            service: Digest([1; 32]),
            own: NodeId([2; 32]),
            other: NodeId([3; 32]),
            exporter: [4; 32],
        }
    }

    #[test]
    fn whatever_differs_about_a_channel_is_bound() {
        let data = channel().report_data();
        assert_eq!(data.bytes()[..32], [2; 32], "as CCF binds it");
        let others = [
            Channel { end: End::Accepted, ..channel() },
            Channel { service: Digest([9; 32]), ..channel() },
            Channel { own: NodeId([9; 32]), ..channel() },
            Channel { other: NodeId([9; 32]), ..channel() },
            Channel { exporter: [9; 32], ..channel() },
            // The other end of the same connection.
            Channel { own: NodeId([3; 32]), other: NodeId([2; 32]), ..channel() },
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(other.report_data().transcript, data.transcript, "{i}");
        }
    }

    #[test]
    fn a_platform_with_little_room_binds_a_digest_of_it() {
        let data = channel().report_data();
        assert_eq!(data.for_platform(PlatformId::Snp), data.bytes());
        assert_eq!(data.for_platform(PlatformId::AzureSnp), sha256(&data.bytes()).0);
    }

    /// Other programs compute it as well: SHA-256 by Python's hashlib over what stands at the head of this file.
    #[test]
    fn the_transcript_is_what_is_documented() {
        let expected = "a7f78cee7a57fe483463f6670d756a97b3953d625989a14fd94cf3edff266a98";
        assert_eq!(channel().report_data().transcript.to_string(), expected);
    }
}
