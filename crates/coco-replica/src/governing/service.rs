//! The row of the service, as far as members' requests and the end of a recovery change it.

use coco_governance::{GovernanceError, forget_submitted_shares, service_of, tables};
use coco_kv::Transaction;
use coco_ledger::{SERVICE_MAP, ServiceStatus, singleton_key};

use crate::periods::{find, refused};

/// Opens the service that members mean, and no other; whether it was not open before. One that is being recovered waits for
/// shares from then on.
pub(super) fn open_service(
    tx: &mut Transaction<'_>,
    previous: Option<&[u8]>,
    next: &[u8],
) -> Result<bool, GovernanceError> {
    let read = |pem: &[u8]| service_of(str::from_utf8(pem).ok()?);
    let row = service_row(tx)?;
    let ours = row.get("cert").and_then(|cert| service_of(cert.as_str()?));
    if ours.is_none() || read(next) != ours {
        return Err(refused("next_service_identity is not the certificate of this service"));
    }
    match (status_of(&row), previous) {
        (Some(ServiceStatus::Open), _) => Ok(false),
        (Some(ServiceStatus::Opening), None) => {
            set_status(tx, ServiceStatus::Open)?;
            Ok(true)
        }
        (Some(ServiceStatus::Opening), Some(_)) => Err(refused(
            "there was no service before this one: leave previous_service_identity out",
        )),
        (Some(ServiceStatus::Recovering), Some(previous)) => {
            let map = find(tx, tables::PREVIOUS_SERVICE_IDENTITY)?;
            let recorded = tx.get(map, singleton_key()).and_then(|pem| {
                // CCF keeps the certificate as JSON text.
                service_of(&serde_json::from_slice::<String>(&pem).ok()?)
            });
            if recorded.is_none() || read(previous) != recorded {
                return Err(refused(
                    "previous_service_identity is not the certificate of the service before this one",
                ));
            }
            forget_submitted_shares(tx)?;
            set_status(tx, ServiceStatus::WaitingForRecoveryShares)?;
            Ok(false)
        }
        (Some(ServiceStatus::Recovering), None) => {
            Err(refused("this service goes on from another one: name previous_service_identity"))
        }
        (status @ (Some(ServiceStatus::WaitingForRecoveryShares) | None), _) => {
            Err(refused(format!("a service that is {status:?} cannot be opened")))
        }
    }
}

pub(super) type ServiceRow = serde_json::Map<String, serde_json::Value>;

pub(super) fn service_row(tx: &mut Transaction<'_>) -> Result<ServiceRow, GovernanceError> {
    let map = find(tx, SERVICE_MAP)?;
    let row = tx.get(map, singleton_key()).ok_or_else(|| refused("there is no service yet"))?;
    serde_json::from_slice(&row)
        .map_err(|error| refused(format!("the row of the service cannot be read: {error}")))
}

pub(super) fn status_of(row: &ServiceRow) -> Option<ServiceStatus> {
    serde_json::from_value(row.get("status")?.clone()).ok()
}

/// Whether a service in this state is being recovered.
pub(super) const fn is_of_recovery(status: ServiceStatus) -> bool {
    matches!(status, ServiceStatus::Recovering | ServiceStatus::WaitingForRecoveryShares)
}

pub(super) fn set_status(
    tx: &mut Transaction<'_>,
    status: ServiceStatus,
) -> Result<(), GovernanceError> {
    let mut row = service_row(tx)?;
    row.insert("status".to_owned(), serde_json::json!(status));
    let row = serde_json::to_vec(&row).expect("what was JSON is JSON");
    let map = find(tx, SERVICE_MAP)?;
    tx.put(map, singleton_key(), row);
    Ok(())
}
