//! `coco status`: a network on one screen: the service, its nodes, what is committed, who I am, what waits for me.

use coco_client::{
    CallError, Client, MemberId,
    reply::{Member, Nodes, Proposal},
};
use coco_governance::tables::{MemberStatus, ProposalState};
use serde_json::{Value, json};

use crate::{
    fault::Fault,
    nodes::{UNSAFE_PLATFORM, is_unsafe},
    output::{Output, Table, plain, short, utc},
    session::{KeyArgs, NetworkArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    keys: KeyArgs,
}

/// What governance shows of itself and of me.
struct Governance {
    members: Vec<Member>,
    open: Vec<Proposal>,
    me: Option<MemberId>,
}

impl Governance {
    /// Asks for it; nothing, when the node does not serve it.
    fn fetch(session: &Session, me: Option<MemberId>) -> Result<Option<Self>, Fault> {
        let is_absent =
            |error: &CallError| error.refusal().is_some_and(|refusal| refusal.status == 404);
        let members = match session.try_ask(Client::members) {
            Ok(members) => members.value,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut open = session.ask(Client::proposals)?.value;
        open.retain(|proposal| proposal.proposal_state == ProposalState::Open);
        Ok(Some(Self { members, open, me }))
    }

    fn my_status(&self) -> Option<&Member> {
        let id = self.me?.to_string();
        self.members.iter().find(|member| member.member_id == id)
    }

    /// Open proposals that I have not voted on.
    fn waiting(&self) -> Vec<&Proposal> {
        let Some(id) = self.me.map(|me| me.to_string()) else { return Vec::new() };
        self.open.iter().filter(|proposal| !proposal.ballot_submitters.contains(&id)).collect()
    }

    fn json(&self) -> Value {
        let waiting: Vec<&str> =
            self.waiting().iter().map(|proposal| proposal.proposal_id.as_str()).collect();
        json!({
            "members": self.members.len(),
            "active_members": self.active(),
            "open_proposals": self.open.len(),
            "me": self.me.map(|me| json!({
                "member_id": me.to_string(),
                "status": self.my_status().map(|member| member.status),
                "waiting_proposals": waiting,
            })),
        })
    }

    fn active(&self) -> usize {
        self.members.iter().filter(|member| member.status == MemberStatus::Active).count()
    }

    fn text(&self) -> String {
        let (members, active, open) = (self.members.len(), self.active(), self.open.len());
        let mut text = format!("members    {members}, {active} active; {open} proposals open\n");
        let Some(me) = self.me else { return text };
        let status = match self.my_status() {
            None => "NOT a member".to_owned(),
            Some(member) => format!("{:?} {}", member.status, member.name().unwrap_or("")),
        };
        text.push_str(&format!("you        {} {}\n", short(&me.to_string()), plain(&status)));
        if self.my_status().is_some_and(|member| member.status == MemberStatus::Accepted) {
            text.push_str("waiting    coco member activate\n");
        }
        for proposal in self.waiting() {
            let id = plain(short(&proposal.proposal_id));
            text.push_str(&format!("waiting    proposal {id}: coco proposal show {id}\n"));
        }
        text
    }
}

pub(crate) fn run(arguments: &StatusArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    let network = session.ask(Client::network)?;
    let until = utc(session.service_in(&network.service_certificate)?.validity().not_after);
    let nodes = session.ask(Client::nodes)?;
    let commit = session.ask(Client::commit)?.transaction_id;
    let is_unsafe = is_unsafe(&session)?;
    let me = session.signer(&arguments.keys)?.map(|certificate| MemberId(certificate.digest()));
    let governance = Governance::fetch(&session, me)?;
    let identity = session.client().identity().to_string();
    let members = json!({
        "network": session.name, "service_id": identity, "service_status": network.service_status,
        "service_certificate_until": until, "unsafe": is_unsafe,
        "view": network.current_view, "primary_id": network.primary_id, "commit": commit,
        "nodes": nodes.nodes, "governance": governance.as_ref().map(Governance::json),
    });
    output.print("status", members, || {
        let mut text = format!(
            "network    {}  {}\nservice    {}\n           its certificate is valid until {until}\ncommitted  {}  view {}\n",
            session.name,
            plain(&network.service_status),
            identity,
            plain(&commit),
            network.current_view,
        );
        if is_unsafe {
            text.push_str(&format!("platform   {UNSAFE_PLATFORM}\n"));
        }
        text.push_str(&match &governance {
            Some(governance) => governance.text(),
            None => "members    this node does not serve governance\n".to_owned(),
        });
        text + &nodes_table(&nodes)
    });
    Ok(())
}

fn nodes_table(nodes: &Nodes) -> String {
    let mut table = Table::with_head(["NODE", "STATUS", "ROLE", "ADDRESS"]);
    for node in &nodes.nodes {
        let addresses: Vec<&str> =
            node.rpc_interfaces.values().map(|one| one.published_address.as_str()).collect();
        let role = if node.primary { "primary" } else { "backup" };
        table.row([short(&node.node_id), &node.status, role, &addresses.join(" ")]);
    }
    table.to_string()
}
