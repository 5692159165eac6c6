//! Files of the ledger and snapshots, as they lie on this node's disk: CCF's calls `ledger_chunk` and `snapshot`. Whoever takes
//! them believes nothing of them, and verifies them.
//!
//! They read disks and give long answers, so a node offers them only where its configuration says so.

use std::{io, ops::Range, sync::Arc, time::Duration};

use coco_api::ErrorCode;
use coco_ledger::{ChunkName, FileError, FileOperation, LedgerFilesError, SnapshotName};
use coco_types::Seqno;
use http_body_util::{
    Either, Full,
    channel::{Channel, Sender},
};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
        LOCATION, RANGE,
    },
};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};
use tracing::info;

use super::{
    file_digests::{Algorithm, REPR_DIGEST, Tag, repr_digest},
    ledger_api::invalid_query,
    parameters::SINCE,
    respond::{self, Refused, Reply},
    route::{Names, Query},
    service::Service,
    table::DownloadCall,
};
use crate::disk::in_full;

/// Most files that are given at one time.
pub(super) const DOWNLOADS_MAX: usize = 8;
/// Longest time for one file; a client that takes longer goes on from where it was.
pub(super) const DOWNLOAD_TIME: Duration = Duration::from_secs(600);
/// Longest time until a client has taken one more part: whoever reads more slowly than some 9 KB a second leaves its
/// place to others.
const PART_TIME: Duration = Duration::from_secs(30);
/// Bytes that are read at a time.
const PART_BYTES: usize = 256 << 10;
/// Parts that wait for a slow client.
const PARTS_WAITING: usize = 2;

const CHUNK_NAME: HeaderName = HeaderName::from_static("x-ms-ccf-ledger-chunk-name");
const SNAPSHOT_NAME: HeaderName = HeaderName::from_static("x-ms-ccf-snapshot-name");

/// One file, which is complete and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Chunk(ChunkName),
    Snapshot(SnapshotName),
}

impl File {
    fn length(self, service: &Service) -> Result<u64, FileError> {
        match self {
            Self::Chunk(name) => service.parts().history.files().length(name),
            Self::Snapshot(name) => service.parts().snapshots.length(name),
        }
    }

    fn read_part(self, service: &Service, offset: u64, bytes: usize) -> Result<Vec<u8>, FileError> {
        match self {
            Self::Chunk(name) => service.parts().history.files().read_part(name, offset, bytes),
            Self::Snapshot(name) => service.parts().snapshots.read_part(name, offset, bytes),
        }
    }

    /// Its digest, which it is read for unless it was before.
    fn digest(
        self,
        service: &Service,
        length: u64,
        algorithm: Algorithm,
    ) -> Result<Bytes, FileError> {
        service.file_digests().of(self, algorithm, |offset| {
            let left = usize::try_from(length - offset).unwrap_or(usize::MAX).min(PART_BYTES);
            if left == 0 {
                return Ok(Vec::new());
            }
            let mut part = self.read_part(service, offset, left)?;
            if part.is_empty() {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(FileError::new(FileOperation::Read, &self.name().1, source));
            }
            part.truncate(left);
            Ok(part)
        })
    }

    /// The header that names it, and its name.
    fn name(self) -> (HeaderName, String) {
        match self {
            Self::Chunk(name) => (CHUNK_NAME, name.to_string()),
            Self::Snapshot(name) => (SNAPSHOT_NAME, name.to_string()),
        }
    }
}

/// Answers a call.
pub(super) async fn answer(
    service: &Arc<Service>,
    call: DownloadCall,
    names: &Names<'_>,
    query: &Query<'_>,
    request: &Request<Incoming>,
) -> Result<Reply, Refused> {
    let path = request.uri().path();
    let file = match call {
        DownloadCall::ChunkAt => return chunk_at(service, path, query).await,
        DownloadCall::SnapshotAt => return snapshot_at(service, query).await,
        DownloadCall::Chunk => {
            names.get("chunkName").parse().ok().filter(is_whole).map(File::Chunk)
        }
        DownloadCall::Snapshot => names.get("snapshotName").parse().ok().map(File::Snapshot),
    };
    let missing = || missing(format!("there is no such file: {path}"));
    let file = file.ok_or_else(missing)?;
    let Ok(permit) = Arc::clone(service.downloading()).try_acquire_owned() else {
        let message = format!("this node gives {DOWNLOADS_MAX} files already");
        return Err(respond::later(ErrorCode::SessionCapExhausted, message).into());
    };
    let source = Arc::clone(service);
    let wanted = Algorithm::wanted(request.headers());
    // The place stays taken as long as the file is read, also when nobody waits any more.
    let found = spawn_blocking(move || (Found::look(&source, file, wanted), permit)).await;
    let Ok((Ok(found), permit)) = found else { return Err(missing()) };
    if found.tag.is_known_by(request.headers()) {
        let mut reply = respond::empty(StatusCode::NOT_MODIFIED);
        reply.headers_mut().insert(ETAG, found.tag.header().clone());
        return Ok(reply);
    }
    Ok(give(service, found, request, permit))
}

/// A file that is there.
struct Found {
    file: File,
    length: u64,
    tag: Tag,
    /// Its digest, if one is wanted that there is.
    digest: Option<HeaderValue>,
}

impl Found {
    fn look(service: &Service, file: File, wanted: Option<Algorithm>) -> Result<Self, FileError> {
        let length = file.length(service)?;
        let tag = Tag::of(&file.digest(service, length, Algorithm::Sha256)?);
        let digest = |algorithm| {
            let digest = file.digest(service, length, algorithm)?;
            Ok(repr_digest(algorithm, &digest))
        };
        Ok(Self { file, length, tag, digest: wanted.map(digest).transpose()? })
    }
}

/// What is asked for, as an answer whose body is read while it is sent.
fn give(
    service: &Arc<Service>,
    found: Found,
    request: &Request<Incoming>,
    permit: OwnedSemaphorePermit,
) -> Reply {
    let Found { file, length, tag, digest } = found;
    let asked = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let asked = asked.filter(|_| tag.may_be_continued(request.headers()));
    let (status, range) = match asked.map_or(Asked::Whole, |range| Asked::read(range, length)) {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let mut reply = respond::empty(StatusCode::RANGE_NOT_SATISFIABLE);
            let header = HeaderValue::try_from(format!("bytes */{length}"));
            reply.headers_mut().insert(CONTENT_RANGE, header.expect("digits stand in headers"));
            return reply;
        }
    };
    let body = if request.method() == Method::HEAD {
        Either::Left(Full::default())
    } else {
        Either::Right(sent(service, file, range.clone(), permit))
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let (header, name) = file.name();
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let text =
        |text: String| HeaderValue::try_from(text).expect("names and digits stand in headers");
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
    headers.insert(header, text(name));
    headers.insert(ETAG, tag.header().clone());
    headers.extend(digest.map(|digest| (REPR_DIGEST, digest)));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(CONTENT_RANGE, text(format!("bytes {first}-{last}/{length}")));
    }
    reply
}

/// The bytes of a part of a file, read while they are sent.
fn sent(
    service: &Arc<Service>,
    file: File,
    part: Range<u64>,
    permit: OwnedSemaphorePermit,
) -> Channel<Bytes, io::Error> {
    let (mut sender, body) = Channel::new(PARTS_WAITING);
    let source = Arc::clone(service);
    tokio::spawn(async move {
        let _permit = permit;
        let sending = async {
            let mut at = part.start;
            while at < part.end {
                let source = Arc::clone(&source);
                let left = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(PART_BYTES);
                let read = spawn_blocking(move || file.read_part(&source, at, left)).await;
                let bytes = read.map_err(io::Error::other)?.map_err(io::Error::other)?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                at += bytes.len() as u64;
                if !taken(&mut sender, bytes.into(), PART_TIME).await? {
                    return Ok(());
                }
            }
            Ok(())
        };
        let sent = timeout(DOWNLOAD_TIME, sending).await;
        if let Err(error) = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            info!(?file, error = in_full(&error), "a file was not given whole");
            // The connection ends, so that nobody takes a part for the whole.
            sender.abort(error);
        }
    });
    body
}

/// Waits until a client has taken what was given to it before, and gives it a part. Says whether the client is still there:
/// who went away needs nothing more.
async fn taken(
    sender: &mut Sender<Bytes, io::Error>,
    part: Bytes,
    time: Duration,
) -> io::Result<bool> {
    let sent = timeout(time, sender.send_data(part)).await;
    Ok(sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.is_ok())
}

/// The way to the chunk that holds an entry, once it is closed and committed.
async fn chunk_at(service: &Arc<Service>, path: &str, query: &Query<'_>) -> Result<Reply, Refused> {
    let Some(since) = since(query)?.filter(|since| *since != Seqno::ZERO) else {
        let message = "the query needs since= with the number of an entry".to_owned();
        return Err(invalid_query(message).into());
    };
    let committed = service.state().committed().seqno;
    if since > committed {
        return Err(missing(format!("entry {since} is not committed; the last is {committed}")));
    }
    let source = Arc::clone(service);
    let found = spawn_blocking(move || source.parts().history.files().place(since)).await;
    let found = found.map_err(|error| broken(&error))?;
    match found {
        Ok((name, _)) if is_whole(&name) => Ok(way_to(&format!("{path}/{name}"))),
        Ok(_) => Err(missing(format!(
            "the file of entry {since} is not complete; members can end it by trigger_ledger_chunk"
        ))),
        Err(error @ (LedgerFilesError::Archived { .. } | LedgerFilesError::Missing(_))) => {
            Err(missing(error.to_string()))
        }
        Err(error) => Err(broken(&error)),
    }
}

/// The way to the newest snapshot, if it is of an entry after the one that is named.
async fn snapshot_at(service: &Arc<Service>, query: &Query<'_>) -> Result<Reply, Refused> {
    let since = since(query)?.unwrap_or(Seqno::ZERO);
    let source = Arc::clone(service);
    let found = spawn_blocking(move || source.parts().snapshots.newest_first()).await;
    let found = found.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
    match found.first().filter(|newest| newest.seqno > since) {
        Some(newest) => Ok(way_to(&format!("/node/snapshot/{newest}"))),
        None => Err(missing(format!("this node has no snapshot of an entry after {since}"))),
    }
}

fn since(query: &Query<'_>) -> Result<Option<Seqno>, Refused> {
    let read = |text: &str| {
        let number = text.parse::<u64>().ok();
        number.map(Seqno).ok_or_else(|| {
            Refused::from(invalid_query(format!("since={text} is no number of an entry")))
        })
    };
    query.get(SINCE.name).map(read).transpose()
}

/// Whether a chunk is complete, and called committed.
fn is_whole(name: &ChunkName) -> bool {
    name.is_committed && name.last.is_some()
}

/// 308. The path alone, which is right also behind whatever stands before this node.
fn way_to(path: &str) -> Reply {
    let mut reply = respond::empty(StatusCode::PERMANENT_REDIRECT);
    let path = HeaderValue::try_from(path).expect("names of files stand in headers");
    reply.headers_mut().insert(LOCATION, path);
    reply
}

fn missing(message: String) -> Refused {
    respond::error(ErrorCode::ResourceNotFound, message).into()
}

fn broken(error: &dyn std::error::Error) -> Refused {
    info!(error = in_full(error), "cannot look for a file");
    respond::error(ErrorCode::InternalError, "this node cannot read its own files").into()
}

/// Which bytes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// All, also where more than one range is asked for, or what is asked has no meaning: RFC 9110, section 14.2, lets a
    /// server pass over it.
    Whole,
    Part(Range<u64>),
    /// None that there are.
    Nothing,
}

impl Asked {
    /// Reads the header `range` for a file of so many bytes.
    fn read(text: &str, length: u64) -> Self {
        let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let Some((first, last)) = range else { return Self::Whole };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let range = match (first.trim(), last.trim()) {
            // So many bytes at the end.
            ("", count) => number(count).map(|count| length.saturating_sub(count)..length),
            (first, "") => number(first).map(|first| first..length),
            (first, last) => number(first).zip(number(last)).and_then(|(first, last)| {
                (first <= last).then(|| first..last.saturating_add(1).min(length))
            }),
        };
        match range {
            None => Self::Whole,
            Some(range) if range.start >= range.end => Self::Nothing,
            Some(range) => Self::Part(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_loses_its_place() {
        let time = Duration::from_millis(20);
        let part = || Bytes::from_static(b"part");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut sender, body) = Channel::<Bytes, io::Error>::new(PARTS_WAITING);
            for _ in 0..PARTS_WAITING {
                assert!(taken(&mut sender, part(), time).await.unwrap(), "there is room");
            }
            let late = taken(&mut sender, part(), time).await.unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            drop(body);
            assert!(!taken(&mut sender, part(), time).await.unwrap(), "nobody is there");
        });
    }

    #[test]
    fn ranges_are_read_as_http_says() {
        for (text, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-99", Asked::Part(0..100)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=-5", Asked::Part(95..100)),
            ("bytes=-500", Asked::Part(0..100)),
            ("bytes=7-1000", Asked::Part(7..100)),
            ("bytes=0-18446744073709551615", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=100-200", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=--1", Asked::Whole),
            ("bytes=18446744073709551616-", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(Asked::read(text, 100), expected, "{text}");
        }
        assert_eq!(Asked::read("bytes=0-", 0), Asked::Nothing);
    }
}
