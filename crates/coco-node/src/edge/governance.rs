//! `/gov`, reading: what governance's tables say as of the committed version, in CCF's shapes.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_api::{
    ErrorCode,
    gov::{
        EncryptedShare, JavascriptApp, JavascriptEndpoint, JavascriptModule, JoinPolicy, Jwk,
        JwtIssuer, JwtKey, Member, Organisation, Page, PublishedInterface, QuoteDetails, QuoteInfo,
        ServiceConfiguration, ServiceInfo, ServiceNode, StateDigest, TransactionStatus, User,
    },
};
use coco_attest::{Manifests, PlatformId};
use coco_governance::{
    GovernanceError, MemberId, ProposalId, ProposalView, WINDOW_DEFAULT,
    rows::{
        EndpointRow, JwtIssuerRow, JwtKeyRow, NodeRow, OrganisationRow, PAGE_ROWS_MAX, QuoteRow,
        Rows, ServiceRow, UserRow, parse,
    },
    tables::{
        self, AckRow, ConfigurationRow, MemberRow, MemberStatus, ProposalRow, RecoveryRole, Row,
    },
};
use coco_replica::{LedgerState, SharedLedgerState};
use coco_types::{Digest, Seqno, TxId};
use serde::{Deserialize, Serialize};

use super::{
    parameters::{self, AFTER, API_VERSION, CASE, LIMIT, LIMIT_MAX},
    respond::{self, Refused, Reply},
    route::{Names, Query},
    table::GovernanceRead,
};

/// Days for which a certificate is valid at most when members have not configured it: CCF's default.
const VALIDITY_DAYS_DEFAULT: u64 = 365;

/// Bytes of rows after which a list ends early.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Most rows of a table that is shown as a whole. Members write these tables themselves, a proposal at a time.
const WHOLE_ROWS_MAX: usize = 10_000;

/// A request to read.
pub(crate) struct Ask<'a> {
    pub(crate) names: &'a Names<'a>,
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query<'a>,
}

/// Answers a request from the rows as of the committed version.
pub(crate) fn answer(
    read: GovernanceRead,
    rows: &mut Rows,
    state: &SharedLedgerState,
    ask: &Ask<'_>,
) -> Reply {
    let answered = match read {
        GovernanceRead::Proposals => list(rows, ask, tables::PROPOSALS_INFO, |_, row| {
            Ok(ProposalView::new(ProposalId(key_id(row)?), parse(tables::PROPOSALS_INFO, row)?))
        }),
        GovernanceRead::Proposal => proposal(rows, ask),
        GovernanceRead::Actions => actions(rows, ask),
        GovernanceRead::Ballot => ballot(rows, ask),
        GovernanceRead::StateDigest => state_digest(rows, ask),
        GovernanceRead::EncryptedShare => encrypted_share(rows, ask),
        GovernanceRead::ServiceInfo => service_info(rows, state),
        GovernanceRead::Constitution => constitution(rows),
        GovernanceRead::Members => list(rows, ask, tables::MEMBERS_INFO, |rows, row| {
            member(rows, key_id(row)?, parse(tables::MEMBERS_INFO, row)?)
        }),
        GovernanceRead::Member => {
            one(rows, ask, "memberId", "member", tables::MEMBERS_INFO, |rows, id, row| {
                member(rows, id, parse(tables::MEMBERS_INFO, row)?)
            })
        }
        GovernanceRead::Users => {
            list(rows, ask, tables::USERS_CERTS, |rows, row| user(rows, key_id(row)?, row))
        }
        GovernanceRead::User => one(rows, ask, "userId", "user", tables::USERS_CERTS, user),
        GovernanceRead::Organisations => list(rows, ask, tables::ORGANISATIONS, organisation),
        GovernanceRead::Nodes => {
            list(rows, ask, tables::NODES_INFO, |rows, row| node(rows, key_id(row)?, row))
        }
        GovernanceRead::Node => one(rows, ask, "nodeId", "node", tables::NODES_INFO, node),
        GovernanceRead::JoinPolicy => join_policy(rows),
        GovernanceRead::Jwk => jwk(rows),
        GovernanceRead::JavascriptApp => javascript_app(rows, ask),
        GovernanceRead::JavascriptModules => list(rows, ask, tables::MODULES, |_, row| {
            Ok(JavascriptModule { module_name: text(&row.0) })
        }),
        GovernanceRead::JavascriptModule => module(rows, ask),
        GovernanceRead::Commit => {
            let state = state.read();
            Ok(transaction(&state, state.committed()))
        }
        GovernanceRead::Transaction => status(&state.read(), ask),
    };
    answered.unwrap_or_else(Refused::reply)
}

type Answered = Result<Reply, Refused>;

fn not_found(code: ErrorCode, message: String) -> Refused {
    respond::error(code, message).into()
}

fn proposal_id(ask: &Ask<'_>) -> Result<ProposalId, Refused> {
    parameters::id(ask.names.get("proposalId"), "proposal's id").map(ProposalId)
}

fn member_id(ask: &Ask<'_>) -> Result<MemberId, Refused> {
    parameters::id(ask.names.get("memberId"), "member's id").map(MemberId)
}

fn proposal_row(rows: &mut Rows, id: ProposalId) -> Result<ProposalRow, Refused> {
    let row = rows.read(tables::PROPOSALS_INFO, &id.key())?;
    row.ok_or_else(|| no_proposal(id))
}

fn no_proposal(id: ProposalId) -> Refused {
    not_found(ErrorCode::ProposalNotFound, format!("there is no proposal {id}"))
}

fn proposal(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let id = proposal_id(ask)?;
    let row = proposal_row(rows, id)?;
    Ok(respond::json(&ProposalView::new(id, row)))
}

fn actions(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let id = proposal_id(ask)?;
    let text = rows.get(tables::PROPOSALS, &id.key())?.ok_or_else(|| no_proposal(id))?;
    Ok(respond::json_text(text.to_vec()))
}

fn ballot(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let (id, member) = (proposal_id(ask)?, member_id(ask)?);
    let mut row = proposal_row(rows, id)?;
    match row.ballots.remove(&member.to_string()) {
        Some(ballot) => Ok(respond::script(ballot)),
        None => {
            let message = format!("the member {member} has not voted on the proposal {id}");
            Err(not_found(ErrorCode::VoteNotFound, message))
        }
    }
}

fn state_digest(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let id = member_id(ask)?;
    let row: Option<AckRow> = rows.read(tables::MEMBERS_ACKS, &id.key())?;
    let missing = || {
        let message = format!("no state digest waits for the member {id}");
        not_found(ErrorCode::ResourceNotFound, message)
    };
    let AckRow { state_digest, .. } = row.ok_or_else(missing)?;
    Ok(respond::json(&StateDigest { member_id: id.to_string(), state_digest }))
}

fn encrypted_share(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    #[derive(Deserialize)]
    struct Shares {
        encrypted_shares: BTreeMap<String, String>,
    }
    let member_id = member_id(ask)?.to_string();
    let shares: Option<Shares> = rows.one(tables::RECOVERY_SHARES)?;
    match shares.and_then(|mut shares| shares.encrypted_shares.remove(&member_id)) {
        Some(encrypted_share) => Ok(respond::json(&EncryptedShare { member_id, encrypted_share })),
        None => {
            let message = format!("the member {member_id} has no recovery share");
            Err(not_found(ErrorCode::ResourceNotFound, message))
        }
    }
}

fn service_info(rows: &mut Rows, state: &SharedLedgerState) -> Answered {
    let row: Option<ServiceRow> = rows.one(tables::SERVICE_INFO)?;
    let missing = || {
        let message = "nothing is known of the service yet".to_owned();
        not_found(ErrorCode::ResourceNotFound, message)
    };
    let row = row.ok_or_else(missing)?;
    let configuration: Option<ConfigurationRow> = rows.one(tables::SERVICE_CONFIG)?;
    let state = state.read();
    let first = || state.tx_id(FIRST).to_string();
    let previous = row.previous_service_identity_version;
    Ok(respond::json(&ServiceInfo {
        status: row.status,
        certificate: row.cert,
        recovery_count: row.recovery_count,
        creation_transaction_id: Some(row.current_service_create_txid.unwrap_or_else(first)),
        previous_service_creation_transaction_id: previous
            .map(|seqno| state.tx_id(Seqno(seqno)).to_string()),
        service_data: row.service_data,
        configuration: configuration.map(|row| ServiceConfiguration {
            recovery_threshold: row.recovery_threshold.unwrap_or(0),
            maximum_node_certificate_validity_days: row
                .maximum_node_certificate_validity_days
                .unwrap_or(VALIDITY_DAYS_DEFAULT),
            maximum_service_certificate_validity_days: row
                .maximum_service_certificate_validity_days
                .unwrap_or(VALIDITY_DAYS_DEFAULT),
            recent_cose_proposals_window_size: row
                .recent_cose_proposals_window_size
                .unwrap_or(WINDOW_DEFAULT as u64),
        }),
    }))
}

/// The entry that made a service that was never recovered.
const FIRST: Seqno = Seqno(1);

fn constitution(rows: &mut Rows) -> Answered {
    match rows.one::<String>(tables::CONSTITUTION)? {
        Some(text) => Ok(respond::script(text)),
        None => {
            let message = "there is no constitution".to_owned();
            Err(not_found(ErrorCode::ResourceNotFound, message))
        }
    }
}

fn pem(
    rows: &mut Rows,
    table: &'static str,
    key: &[u8],
) -> Result<Option<String>, GovernanceError> {
    Ok(rows.get(table, key)?.map(|pem| text(&pem)))
}

fn member(rows: &mut Rows, id: Digest, row: MemberRow) -> Result<Member, GovernanceError> {
    let key = MemberId(id).key();
    let certificate = pem(rows, tables::MEMBERS_CERTS, &key)?;
    let public_encryption_key = pem(rows, tables::MEMBERS_ENCRYPTION_KEYS, &key)?;
    let by_default = match public_encryption_key {
        Some(_) => RecoveryRole::Participant,
        None => RecoveryRole::NonParticipant,
    };
    Ok(Member {
        member_id: id.to_string(),
        status: match row.status {
            MemberStatus::Accepted => "Accepted",
            MemberStatus::Active => "Active",
        }
        .to_owned(),
        member_data: row.member_data.unwrap_or_default(),
        certificate,
        public_encryption_key,
        recovery_role: match row.recovery_role.unwrap_or(by_default) {
            RecoveryRole::NonParticipant => "NonParticipant",
            RecoveryRole::Participant => "Participant",
            RecoveryRole::Owner => "Owner",
        }
        .to_owned(),
    })
}

fn user(rows: &mut Rows, id: Digest, row: &Row) -> Result<User, GovernanceError> {
    let known: Option<UserRow> = rows.read(tables::USERS_INFO, &row.0)?;
    Ok(User {
        user_id: id.to_string(),
        certificate: text(&row.1),
        user_data: known.unwrap_or_default().user_data,
    })
}

fn organisation(rows: &mut Rows, row: &Row) -> Result<Organisation, GovernanceError> {
    let OrganisationRow { cert, user_data } = parse(tables::ORGANISATIONS, row)?;
    let revoked: Option<Vec<String>> = rows.read(tables::ORGANISATIONS_REVOCATIONS, &row.0)?;
    Ok(Organisation {
        name: text(&row.0),
        certificate: cert,
        user_data,
        revoked_serials: revoked.unwrap_or_default(),
    })
}

fn node(rows: &mut Rows, id: Digest, row: &Row) -> Result<ServiceNode, GovernanceError> {
    let known: NodeRow = parse(tables::NODES_INFO, row)?;
    let interfaces = known.rpc_interfaces.into_iter().map(|(name, interface)| {
        let published_address = interface.published_address;
        (name, PublishedInterface { published_address, protocol: interface.app_protocol })
    });
    Ok(ServiceNode {
        node_id: id.to_string(),
        status: known.status,
        node_data: known.node_data,
        certificate: pem(rows, tables::NODES_ENDORSED_CERTIFICATES, &row.0)?,
        retired_committed: known.retired_committed,
        quote_info: quote_info(known.quote_info, known.code_digest),
        rpc_interfaces: interfaces.collect(),
    })
}

fn quote_info(row: QuoteRow, code_digest: Option<String>) -> QuoteInfo {
    let QuoteRow { format, quote, endorsements, uvm_endorsements } = row;
    if format == PlatformId::Insecure.quote_format() {
        let details = code_digest.map(|measurement| QuoteDetails { measurement });
        return QuoteInfo {
            format,
            quote: None,
            endorsements: None,
            uvm_endorsements,
            raw_quote: Some(quote),
            details,
        };
    }
    QuoteInfo {
        format,
        quote: Some(quote),
        endorsements: Some(endorsements),
        uvm_endorsements,
        raw_quote: None,
        details: None,
    }
}

fn join_policy(rows: &mut Rows) -> Answered {
    let mut policy = JoinPolicy::default();
    policy.sgx.measurements = names_of(rows, tables::NODES_CODE_IDS)?;
    policy.without_hardware.measurements = names_of(rows, tables::VIRTUAL_MEASUREMENTS)?;
    policy.without_hardware.host_data = names_of(rows, tables::VIRTUAL_HOST_DATA)?;
    policy.snp.measurements = names_of(rows, tables::SNP_MEASUREMENTS)?;
    policy.snp.host_data = named(rows, tables::SNP_HOST_DATA)?;
    policy.snp.uvm_endorsements = named(rows, tables::SNP_UVM_ENDORSEMENTS)?;
    policy.snp.tcb_versions = named(rows, tables::SNP_TCB_VERSIONS)?;
    Ok(respond::json(&policy))
}

/// What members admit of platforms and programs.
pub(super) fn manifests(rows: &mut Rows) -> Result<Manifests, GovernanceError> {
    let measurements = whole(rows, tables::VIRTUAL_MEASUREMENTS)?;
    let virtual_measurements = measurements.iter().map(|(key, _)| key.to_vec()).collect();
    Ok(Manifests { virtual_measurements })
}

fn jwk(rows: &mut Rows) -> Answered {
    let issuers = named::<JwtIssuerRow>(rows, tables::JWT_ISSUERS)?.into_iter();
    let keys = named::<Vec<JwtKeyRow>>(rows, tables::JWT_KEYS)?.into_iter();
    let key = |row: JwtKeyRow| JwtKey {
        public_key: key_pem(&row.public_key),
        issuer: row.issuer,
        constraint: row.constraint,
    };
    Ok(respond::json(&Jwk {
        issuers: issuers
            .map(|(name, row)| {
                let JwtIssuerRow { auto_refresh, ca_cert_bundle_name, audience } = row;
                let audience = audience.map(|audience| audience.names().to_vec());
                (name, JwtIssuer { auto_refresh, ca_cert_bundle_name, audience })
            })
            .collect(),
        keys: keys.map(|(id, keys)| (id, keys.into_iter().map(key).collect())).collect(),
        ca_cert_bundles: named(rows, tables::CA_CERT_BUNDLES)?,
    }))
}

/// The PEM of a key in DER, in base64. What is no base64 stays as it is: the table is the members'.
fn key_pem(der: &str) -> String {
    let Ok(der) = STANDARD.decode(der) else { return der.to_owned() };
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap_or("")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn javascript_app(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let is_original = match ask.query.get(CASE.name) {
        None => false,
        Some("original") => true,
        Some(_) => {
            let message = "case may be original, or be left out";
            let code = ErrorCode::InvalidQueryParameterValue;
            return Err(respond::error(code, message).into());
        }
    };
    let mut app = JavascriptApp::default();
    for row in whole(rows, tables::ENDPOINTS)? {
        let key = text(&row.0);
        let (method, path) = key.split_once(' ').unwrap_or(("", &key));
        let shown = if is_original {
            parse(tables::ENDPOINTS, &row)?
        } else {
            let endpoint: EndpointRow = parse(tables::ENDPOINTS, &row)?;
            serde_json::to_value(endpoint_of(endpoint)).unwrap_or_default()
        };
        app.endpoints.entry(path.to_owned()).or_default().insert(method.to_owned(), shown);
    }
    Ok(respond::json(&app))
}

fn endpoint_of(row: EndpointRow) -> JavascriptEndpoint {
    JavascriptEndpoint {
        js_module: row.js_module,
        js_function: row.js_function,
        forwarding_required: row.forwarding_required,
        redirection_strategy: row.redirection_strategy,
        authn_policies: row.authn_policies,
        mode: row.mode,
        open_api: row.openapi,
    }
}

fn module(rows: &mut Rows, ask: &Ask<'_>) -> Answered {
    let asked = ask.names.get("moduleName");
    let Some(name) = parameters::percent_decoded(asked) else {
        let message = "the name of the module is not percent-encoded UTF-8";
        return Err(respond::error(ErrorCode::InvalidResourceName, message).into());
    };
    match rows.get(tables::MODULES, name.as_bytes())? {
        Some(module) => Ok(respond::script(module.to_vec())),
        None => {
            let name: String = name.chars().take(256).collect();
            let message = format!("there is no module {name:?}");
            Err(not_found(ErrorCode::ResourceNotFound, message))
        }
    }
}

fn status(state: &LedgerState, ask: &Ask<'_>) -> Answered {
    match ask.names.get("transactionId").parse() {
        Ok(id) => Ok(transaction(state, id)),
        Err(error) => {
            let error: coco_types::ParseIdError = error;
            let code = ErrorCode::InvalidQueryParameterValue;
            Err(respond::error(code, error.to_string()).into())
        }
    }
}

fn transaction(state: &LedgerState, id: TxId) -> Reply {
    let status = state.status(id).to_string();
    respond::json(&TransactionStatus { transaction_id: id.to_string(), status })
}

/// One row of a table, by the id in the path.
fn one<T: Serialize>(
    rows: &mut Rows,
    ask: &Ask<'_>,
    name: &str,
    what: &str,
    table: &'static str,
    show: impl FnOnce(&mut Rows, Digest, &Row) -> Result<T, GovernanceError>,
) -> Answered {
    let id = parameters::id(ask.names.get(name), &format!("{what}'s id"))?;
    let key = id.to_string().into_bytes().into_boxed_slice();
    match rows.get(table, &key)? {
        Some(value) => Ok(respond::json(&show(rows, id, &(key, value))?)),
        None => {
            let message = format!("there is no {what} {id}");
            Err(not_found(ErrorCode::ResourceNotFound, message))
        }
    }
}

/// As many rows of a table as the query asks for, and the way to those after them.
fn list<T: Serialize>(
    rows: &mut Rows,
    ask: &Ask<'_>,
    table: &'static str,
    mut show: impl FnMut(&mut Rows, &Row) -> Result<T, GovernanceError>,
) -> Answered {
    let limit = limit(ask.query)?;
    let after = ask.query.get(AFTER.name).map(|after| {
        parameters::percent_decoded(after).ok_or_else(|| {
            let message = "after is not percent-encoded UTF-8";
            Refused::from(respond::error(ErrorCode::InvalidQueryParameterValue, message))
        })
    });
    let mut after = after.transpose()?.map(String::into_bytes);
    let (mut value, mut bytes) = (Vec::new(), 0);
    for row in rows.page(table, after.as_deref(), limit)? {
        bytes += row.1.len();
        if bytes > LIST_BYTES_MAX && !value.is_empty() {
            break;
        }
        value.push(show(rows, &row)?);
        after = Some(row.0.into());
    }
    let has_more = !rows.page(table, after.as_deref(), 1)?.is_empty();
    let next_link = after.filter(|_| has_more).map(|after| next_link(ask, limit, &after));
    Ok(respond::json(&Page { value, next_link }))
}

fn next_link(ask: &Ask<'_>, limit: usize, after: &[u8]) -> String {
    let version = ask.query.get(API_VERSION.name).unwrap_or_default();
    let after = parameters::percent_encoded(after);
    let (path, version_name) = (ask.path, API_VERSION.name);
    format!("{path}?{version_name}={version}&{}={limit}&{}={after}", LIMIT.name, AFTER.name)
}

fn limit(query: &Query<'_>) -> Result<usize, Refused> {
    let Some(text) = query.get(LIMIT.name) else { return Ok(LIMIT_MAX) };
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("limit may be 1 to {LIMIT_MAX}");
        respond::error(ErrorCode::InvalidQueryParameterValue, message).into()
    })
}

/// A table that members keep small.
fn whole(rows: &mut Rows, table: &'static str) -> Result<Vec<Row>, GovernanceError> {
    let mut all: Vec<Row> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let page = rows.page(table, after.as_deref(), PAGE_ROWS_MAX)?;
        let is_last = page.len() < PAGE_ROWS_MAX;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
        if all.len() > WHOLE_ROWS_MAX {
            let message = format!("{table} has more than {WHOLE_ROWS_MAX} rows: read the ledger");
            return Err(GovernanceError::new(coco_governance::ErrorCode::InternalError, message));
        }
    }
}

fn names_of(rows: &mut Rows, table: &'static str) -> Result<Vec<String>, GovernanceError> {
    Ok(whole(rows, table)?.iter().map(|(key, _)| text(key)).collect())
}

fn named<T: serde::de::DeserializeOwned>(
    rows: &mut Rows,
    table: &'static str,
) -> Result<BTreeMap<String, T>, GovernanceError> {
    let rows = whole(rows, table)?;
    rows.iter().map(|row| Ok((text(&row.0), parse(table, row)?))).collect()
}

/// The id that a row has as its key.
fn key_id(row: &Row) -> Result<Digest, GovernanceError> {
    let id = str::from_utf8(&row.0).ok().and_then(|text| text.parse().ok());
    id.ok_or_else(|| {
        let message = format!("the key {:?} of a row is no id", text(&row.0));
        GovernanceError::new(coco_governance::ErrorCode::InternalError, message)
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
