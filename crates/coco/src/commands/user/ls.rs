//! `coco user ls`.

use coco_client::Client;
use coco_types::Digest;
use serde_json::json;

use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, Table, plain, short},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Go on after this id
    #[arg(long, value_name = "ID")]
    after: Option<Digest>,
}

pub(super) fn run(session: &Session, arguments: &LsArgs, output: Output) -> Result<(), Fault> {
    let after = arguments.after.map(|after| after.to_string());
    let after = after.as_deref();
    let page = session.ask(|client| client.users(after))?;
    let organisations = match session.ask(Client::organisations) {
        Ok(list) => list.value,
        // A service of CCF has none.
        Err(fault) if fault.code() == Code::NotFound => Vec::new(),
        Err(fault) => return Err(fault),
    };
    let last = page.value.last().filter(|_| page.next_link.is_some());
    let after = last.map(|user| user.user_id.clone());
    let members = json!({ "users": page.value, "after": after, "organisations": organisations });
    output.print("user.ls", members, || {
        let mut table = Table::with_head(["USER ID", "DATA"]);
        for user in &page.value {
            table.row([short(&user.user_id), &user.user_data.to_string()]);
        }
        let mut text = table.to_string();
        if let Some(after) = &after {
            text.push_str(&format!("more: coco user ls --after {}\n", plain(after)));
        }
        if !organisations.is_empty() {
            let mut table = Table::with_head(["ORGANISATION", "REVOKED", "DATA"]);
            for organisation in &organisations {
                let revoked = organisation.revoked_serials.len().to_string();
                let data = organisation.user_data.to_string();
                table.row([&organisation.name, &revoked, &data]);
            }
            text.push_str(&format!("\n{table}"));
        }
        text
    });
    Ok(())
}
