//! How the service of today endorses the one that signed a receipt, when it was recovered since then.
//!
//! Endorsements stand in the ledger, each in the first entry of a service, and name the entry of the one before. What is read
//! there is verified again on the way, link by link.

use coco_crypto::PublicKey;
use coco_governance::tables::{self, PREVIOUS_SERVICE_ENDORSEMENT};
use coco_kv::MapName;
use coco_ledger::{ENDORSEMENTS_MAX, EarlierService, EndorsementRow, Endorsements, EntryView};
use coco_types::{Digest, Seqno};

use super::{ledger_api::NoReceipt, service::Service};

/// What a JSON receipt brings along of the service whose key has this digest: nothing when that is the service of today, or one
/// that nobody endorsed.
pub(super) fn certified(
    service: &Service,
    signer: &Digest,
) -> Result<Option<EarlierService>, NoReceipt> {
    let identity = &service.parts().identity;
    if identity.service_cert.key().digest() == *signer {
        return Ok(None);
    }
    let Some((key, endorsements)) = endorsed(service, signer)? else { return Ok(None) };
    let certificate = identity.endorse_service(&key).map_err(|error| NoReceipt::broken(&error))?;
    Ok(Some(EarlierService { certificate, endorsements }))
}

/// The endorsements from the service of today to the one whose key has this digest, and that key. None when they do not
/// lead there.
pub(super) fn endorsed(
    service: &Service,
    signer: &Digest,
) -> Result<Option<(PublicKey, Endorsements)>, NoReceipt> {
    let mut key = service.parts().identity.service_cert.key().clone();
    let mut messages = Vec::new();
    let mut row = newest_row(service)?;
    while key.digest() != *signer {
        let Some(found) = row.filter(|_| messages.len() < ENDORSEMENTS_MAX) else {
            return Ok(None);
        };
        let found = EndorsementRow::read(&found).map_err(|error| NoReceipt::broken(&error))?;
        key = found.verify(&key).map_err(|error| NoReceipt::broken(&error))?.key;
        messages.push(found.message().to_vec());
        row = match found.previous() {
            Some(seqno) => row_at(service, seqno)?,
            None => None,
        };
    }
    let endorsements = Endorsements::new(messages).map_err(|error| NoReceipt::broken(&error))?;
    Ok(Some((key, endorsements)))
}

fn newest_row(service: &Service) -> Result<Option<Vec<u8>>, NoReceipt> {
    let (_, mut rows) = service.committed_rows();
    let row = rows.get(PREVIOUS_SERVICE_ENDORSEMENT, tables::singleton_key());
    Ok(row.map_err(|error| NoReceipt::broken(&error))?.map(|row| row.to_vec()))
}

/// The row as an entry wrote it.
fn row_at(service: &Service, seqno: Seqno) -> Result<Option<Vec<u8>>, NoReceipt> {
    let entry = service.parts().history.entry(seqno)?;
    let view = EntryView::parse(&entry).map_err(|error| NoReceipt::broken(&error))?;
    let writes = view.public_writes().map_err(|error| NoReceipt::broken(&error))?;
    let map = MapName::from_static(PREVIOUS_SERVICE_ENDORSEMENT);
    Ok(writes.get(&map, tables::singleton_key()).map(<[u8]>::to_vec))
}
