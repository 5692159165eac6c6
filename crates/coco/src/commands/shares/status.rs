//! `coco shares status`.

use coco_client::Client;
use serde_json::json;

use crate::{
    commands::member::{recovery, share_holders},
    fault::Fault,
    output::{Output, Table, short},
    session::Session,
};

pub(crate) fn run(session: &Session, output: Output) -> Result<(), Fault> {
    let info = session.ask(Client::service_info)?;
    let threshold = info.recovery_threshold();
    let members = session.ask(Client::members)?.value;
    let holders = share_holders(&members);
    let details = json!({
        "service_status": info.status,
        "recovery_threshold": threshold,
        "holders": holders.iter().map(|member| &member.member_id).collect::<Vec<_>>(),
    });
    output.print("shares.status", details, || {
        let mut table = Table::with_head(["MEMBER ID", "NAME", "RECOVERY"]);
        for member in &holders {
            let name = member.name().unwrap_or("-");
            table.row([short(&member.member_id), name, recovery(member)]);
        }
        let count = holders.len();
        format!(
            "service {}: {threshold} of {count} shares are needed to recover it\n{table}",
            info.status
        )
    });
    Ok(())
}
