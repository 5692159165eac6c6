//! Members: whether they can bring the service back, and what waits for whoever asks.

use coco_client::{Client, MemberId, reply::Member};
use coco_governance::tables::{MemberStatus, ProposalState};

use super::{Check, until};
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
        Ok(service) => can_recover(service.recovery_threshold(), share_holders(members).len()),
        Err(fault) => Check::fault("recovery", &fault),
    }
}

fn can_recover(threshold: u64, holders: usize) -> Check {
    const NAME: &str = "recovery";
    let found = format!("{threshold} of {holders} shares bring the service back");
    let spare = u64::try_from(holders).unwrap_or(u64::MAX).checked_sub(threshold);
    match spare {
        None => Check::failure(
            NAME,
            format!("{found}: that cannot be"),
            "coco proposal create set-threshold, or add-member with an encryption key",
        ),
        Some(_) if threshold == 0 => Check::failure(
            NAME,
            "nobody holds a share: a disaster ends the service",
            "coco proposal create add-member with an encryption key",
        ),
        Some(0) => Check::warning(
            NAME,
            format!("{found}: no key may be lost"),
            "coco proposal create set-threshold, or add-member with an encryption key",
        ),
        Some(spare) => Check::ok(NAME, format!("{found}, {spare} may be lost")),
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
    let next = "make another, and have members exchange it: coco keys new; coco proposal create add-member, remove-member";
    checks.push(until(NAME, "your certificate", certificate.validity().not_after, now, next));
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
    use super::{super::Level, *};

    #[test]
    fn shares_that_do_not_suffice_are_a_failure() {
        for (threshold, holders, level) in [
            (2, 3, Level::Ok),
            (3, 3, Level::Warning),
            (1, 1, Level::Warning),
            (3, 2, Level::Failure),
            (0, 0, Level::Failure),
        ] {
            assert_eq!(can_recover(threshold, holders).level, level, "{threshold} of {holders}");
        }
    }
}
