//! `coco member show`.

use coco_client::reply::Member;
use coco_governance::tables::{MemberStatus, RecoveryRole};
use serde_json::json;

use crate::{
    codes::Code,
    commands::keys::fingerprint,
    fault::Fault,
    output::{Output, plain, utc},
    session::{Session, signer_certificate},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The member's id, its first digits, or its name
    member: String,
}

pub(crate) fn run(session: &Session, arguments: &ShowArgs, output: Output) -> Result<(), Fault> {
    let id = session.find_member(&arguments.member)?;
    let member = session.ask(|client| client.member(id)).map_err(|fault| match fault.code() {
        Code::NotFound => Fault::new(Code::MemberNotFound, id.to_string()),
        _ => fault,
    })?;
    output.print("member.show", json!({ "member": member }), || {
        let until = signer_certificate(&member.certificate)
            .map_or_else(|_| "-".to_owned(), |found| utc(found.validity().not_after));
        let shares = member.public_encryption_key.as_deref().map(fingerprint);
        format!(
            "member id  {}\nname       {}\nstatus     {:?}\nrecovery   {}\nshares to  {}\n\
             cert until {until}\ndata       {}",
            plain(&member.member_id),
            plain(member.name().unwrap_or("-")),
            member.status,
            recovery(&member),
            shares.as_deref().unwrap_or("-"),
            plain(&member.member_data.to_string()),
        )
    });
    Ok(())
}

/// The active members who hold a share of the key that brings the service back.
pub(crate) fn share_holders(members: &[Member]) -> Vec<&Member> {
    let is_holder =
        |member: &&Member| member.status == MemberStatus::Active && recovery(member) != "-";
    members.iter().filter(is_holder).collect()
}

/// The part of a member in recovery.
pub(crate) const fn recovery(member: &Member) -> &'static str {
    match (&member.public_encryption_key, member.recovery_role) {
        (None, _) | (_, Some(RecoveryRole::NonParticipant)) => "-",
        (Some(_), Some(RecoveryRole::Owner)) => "owner",
        (Some(_), Some(RecoveryRole::Participant) | None) => "share",
    }
}
