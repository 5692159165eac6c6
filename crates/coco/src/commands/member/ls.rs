//! `coco member ls`.

use coco_client::Client;
use serde_json::json;

use crate::{
    fault::Fault,
    output::{Output, Table, short},
    session::Session,
};

pub(crate) fn run(session: &Session, output: Output) -> Result<(), Fault> {
    let members = session.ask(Client::members)?.value;
    output.print("member.ls", json!({ "members": members }), || {
        let mut table = Table::with_head(["MEMBER ID", "NAME", "STATUS", "RECOVERY"]);
        for member in &members {
            table.row([
                short(&member.member_id),
                member.name().unwrap_or("-"),
                &format!("{:?}", member.status),
                super::show::recovery(member),
            ]);
        }
        table.to_string()
    });
    Ok(())
}
