//! Members: whether they can bring the service back, and what waits for whoever asks.

use coco_client::{Client, MemberId, reply::Member};
use coco_governance::tables::{MemberStatus, ProposalState};

use super::{Check, Level, until};
use crate::{
    commands::member::share_holders,
    output::short,
    session::{KeyArgs, Session},
};

/// Looks at members, and at whoever asks.
pub(super) fn look(session: &Session, keys: &KeyArgs, now: u64) -> Vec<Check> {
    let members = match session.ask(Client::members) {
        Ok(members) => members.value,
        Err(fault) => return vec![Check::fault("members", &fault)],
    };
    let mut checks = vec![recovery(session, &members)];
    checks.extend(me(session, keys, &members, now));
    checks
}

/// Whether enough members hold shares.
fn recovery(session: &Session, members: &[Member]) -> Check {
    match session.ask(Client::service_info) {
        Ok(service) if service.status == "Opening" => {
            let count = |status| members.iter().filter(|member| member.status == status).count();
            still_to_open(count(MemberStatus::Accepted), count(MemberStatus::Active))
        }
        Ok(service) => can_recover(service.recovery_threshold(), share_holders(members).len()),
        Err(fault) => Check::fault(RECOVERY, &fault),
    }
}

const RECOVERY: &str = "recovery";

/// Shares are dealt when a service opens.
fn still_to_open(accepted: usize, active: usize) -> Check {
    let found = format!("shares are dealt when the service opens; {active} members are active");
    match accepted {
        0 => Check::warning(RECOVERY, found, "coco network open"),
        _ => Check::warning(
            RECOVERY,
            format!("{found}, {accepted} are not yet"),
            "each of them: coco member activate; then: coco network open",
        ),
    }
}

fn can_recover(threshold: u64, holders: usize) -> Check {
    const MORE: &str = "coco proposal create add-member with an encryption key";
    const FEWER: &str = "coco proposal create set-threshold, or add-member with an encryption key";
    let found = format!("{threshold} of {holders} shares bring the service back");
    let spare = u64::try_from(holders).unwrap_or(u64::MAX).checked_sub(threshold);
    match spare {
        _ if holders == 0 => {
            Check::failure(RECOVERY, "nobody holds a share: a disaster ends the service", MORE)
        }
        _ if threshold == 0 => {
            let found = "the service does not say how many shares bring it back";
            Check::warning(RECOVERY, found, "coco shares status")
        }
        None => Check::failure(RECOVERY, format!("{found}: that cannot be"), FEWER),
        Some(0) => Check::warning(RECOVERY, format!("{found}: no key may be lost"), FEWER),
        Some(spare) => Check::ok(RECOVERY, format!("{found}, {spare} may be lost")),
    }
}

/// Who asks: its key, and what waits for it. Nothing where no key is named.
fn me(session: &Session, keys: &KeyArgs, members: &[Member], now: u64) -> Vec<Check> {
    const NAME: &str = "you";
    let certificate = match session.signer(keys) {
        Ok(Some(certificate)) => certificate,
        Ok(None) => return Vec::new(),
        Err(fault) => return vec![Check::fault(NAME, &fault)],
    };
    let id = MemberId(certificate.digest()).to_string();
    let mut checks = Vec::new();
    if let Err(fault) = session.key(keys) {
        checks.push(Check::fault(NAME, &fault));
    }
    // The service knows members by their certificates and does not look at the time; other tools may.
    let next = "the service takes it nevertheless; some tools may not";
    let ends = until(NAME, "your certificate", certificate.validity(), now, next);
    let level = if ends.level == Level::Failure { Level::Warning } else { ends.level };
    checks.push(Check { level, ..ends });
    let member = members.iter().find(|member| member.member_id == id);
    checks.push(match member.map(|member| member.status) {
        Some(MemberStatus::Active) => Check::ok(
            NAME,
            format!("active member {}", member.and_then(Member::name).unwrap_or(short(&id))),
        ),
        Some(MemberStatus::Accepted) => {
            Check::warning(NAME, "a member who is not active yet", "coco member activate")
        }
        None => Check::failure(
            NAME,
            format!("{} is no member", short(&id)),
            "coco keys ls; coco member ls",
        ),
    });
    match session.ask(Client::proposals) {
        Ok(proposals) if member.is_some() => {
            let waits = proposals.value.into_iter().filter(|proposal| {
                proposal.proposal_state == ProposalState::Open
                    && !proposal.ballot_submitters.contains(&id)
            });
            checks.extend(waits.map(|proposal| {
                let short = short(&proposal.proposal_id).to_owned();
                Check::warning(
                    NAME,
                    format!("proposal {short} waits for your vote"),
                    format!("coco proposal show {short}"),
                )
            }));
        }
        Ok(_) => {}
        Err(fault) => checks.push(Check::fault(NAME, &fault)),
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_do_not_suffice_are_a_failure() {
        for (threshold, holders, level) in [
            (2, 3, Level::Ok),
            (3, 3, Level::Warning),
            (1, 1, Level::Warning),
            (3, 2, Level::Failure),
            (0, 0, Level::Failure),
            (2, 0, Level::Failure),
            (0, 3, Level::Warning),
        ] {
            assert_eq!(can_recover(threshold, holders).level, level, "{threshold} of {holders}");
        }
        assert!(still_to_open(2, 1).next.contains("activate"));
        assert!(!still_to_open(0, 3).next.contains("activate"));
    }
}
